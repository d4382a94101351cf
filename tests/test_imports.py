"""What a fresh process loads. A re-export can load torch while every import contract passes."""

from __future__ import annotations

import subprocess
import sys

import pytest

_TORCH_FREE = [
    "sdflow",
    "sdflow.errors",
    "sdflow.geometry",
    "sdflow.config",
    "sdflow.telemetry",
    "sdflow.tiling.grid",
    "sdflow.tiling.blend",
    "sdflow.tiling.parts",
    "sdflow.images.codec",
    "sdflow.images.color",
    "sdflow.storage.keys",
    "sdflow.storage.local",
    "sdflow.storage.location",
    "sdflow.storage.memory",
    "sdflow.storage.s3",
    "sdflow.evaluation.settings",
    "sdflow.training.settings",
    "sdflow.work.ledger",
    "sdflow.work.names",
    "sdflow.work.plan",
    "sdflow.worker.codec",
    "sdflow.worker.giants",
    "sdflow.worker.photo",
    "sdflow.worker.pipeline",
    "sdflow.worker.planning",
    "sdflow.driver.events",
    "sdflow.driver.job",
    "sdflow.driver.run",
    "sdflow.driver.state",
    "sdflow.driver.summary",
    "sdflow.driver.survey",
    "sdflow.worker.bicubic",
    "sdflow.worker.worker",
    "jobs.cli",
    "jobs.retry",
    "jobs.simulate",
    "jobs.status",
    "jobs.verify",
]


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    return done.stdout


def _loaded(statement: str) -> set[str]:
    return set(_run(f"{statement}; import sys; print(*sys.modules)").split())


@pytest.mark.parametrize("module", _TORCH_FREE)
def test_module_loads_no_torch(module: str) -> None:
    assert "torch" not in _loaded(f"import {module}")


def test_library_loads_neither_ray_nor_an_s3_client() -> None:
    loaded = _loaded("import sdflow; sdflow.SDFlow, sdflow.TiledEngine, sdflow.ModelConfig")
    assert "torch" in loaded
    assert not loaded & {"ray", "boto3", "botocore", "pydantic", "structlog", "safetensors"}


_WITHOUT_LIBRARIES = (
    "import sys; names = 'ray boto3 botocore pydantic pydantic_settings structlog safetensors "
    "pyvips tifffile imagecodecs scipy skimage tensorboardX rich'\n"
    "sys.modules.update(dict.fromkeys(names.split()))\n"
)


def test_training_steps_run_with_torch_numpy_and_pillow_alone() -> None:
    _run(
        f"{_WITHOUT_LIBRARIES}"
        "import dataclasses, numpy as np\n"
        "from sdflow.training.dataset import batches\n"
        "from sdflow.training.photos import PhotoSet\n"
        "from sdflow.training.recipe import RECIPES\n"
        "from sdflow.training.step import Trainer\n"
        "recipe = dataclasses.replace(RECIPES['tiny-test'], steps=1, batch=1, patch=32)\n"
        "photos = PhotoSet('ab', lambda _: np.zeros((40, 40, 3), np.uint8), complain=print)\n"
        "for batch in batches(recipe, photos, photos, first_step=0, rows=range(1), threads=1):\n"
        "    Trainer(recipe).run_step(batch)\n"
    )


def test_engine_runs_with_torch_numpy_and_pillow_alone() -> None:
    _run(
        f"{_WITHOUT_LIBRARIES}"
        "import numpy as np, torch\n"
        "from sdflow import ModelConfig, SDFlow, TiledEngine\n"
        "model = SDFlow(ModelConfig(flow_steps=1, hf_rrdbs=1, deg_rrdbs=1, encoder_blocks=1))\n"
        "model.hr_log_prob(torch.rand(1, 3, 16, 16)); model.lr_log_prob(torch.rand(1, 3, 8, 8))\n"
        "image = np.zeros((5, 3, 3), np.uint8)\n"
        "assert TiledEngine(model.eval()).upscale(image, key='k').shape == (20, 12, 3)\n"
    )


def test_unknown_name_is_no_attribute() -> None:
    import sdflow

    with pytest.raises(AttributeError, match="no attribute 'Upscaler'"):
        _ = sdflow.Upscaler
