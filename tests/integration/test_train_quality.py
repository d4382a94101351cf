"""From nothing to something useful, on a processor, in minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.cli import main
from sdflow.flows.distributions import bits_per_dim
from sdflow.images.tensor import quantise
from sdflow.model.sdflow import SDFlow
from sdflow.storage.local import LocalStore
from sdflow.training.checkpoints import list_checkpoints, load_checkpoint
from sdflow.training.recipe import RECIPES
from tests.training.pictures import drawn_photo, save_photos

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

_HELD_OUT = range(1000, 1006)  # seeds of photos that no step sees


def _psnr_db(found: Tensor, truth: Tensor) -> float:
    error = (quantise(found, "uint8").double() - quantise(truth, "uint8").double()).square()
    return float(10 * torch.log10(255**2 / error.mean()))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_likelihood_rises_and_upscaling_comes_close_to_bicubic_or_beats_it(tmp_path: Path) -> None:
    save_photos(tmp_path / "hr", count=40, side=128)
    save_photos(tmp_path / "lr", count=40, side=48, first=500)
    run = tmp_path / "run"
    places = ("--hr", str(tmp_path / "hr"), "--lr", str(tmp_path / "lr"))
    pace = ("--checkpoint-every", "40", "--keep", "20")
    assert main(["train", str(run), *places, "--preset", "tiny-test", *pace]) == 0

    pixels = np.stack([drawn_photo(seed, 128) for seed in _HELD_OUT])
    small = np.stack(
        [
            np.asarray(Image.fromarray(one).resize((32, 32), Image.Resampling.BICUBIC))
            for one in pixels
        ]
    )
    large = np.stack(
        [
            np.asarray(Image.fromarray(one).resize((128, 128), Image.Resampling.BICUBIC))
            for one in small
        ]
    )
    hr, lr, bicubic = (
        torch.from_numpy(array.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1
        for array in (pixels, small, large)
    )
    model = SDFlow.load(run / "weights.safetensors")
    upscaled = model.upscale(lr, tau=0, noise=torch.zeros(len(lr), 45, 32, 32))
    assert _psnr_db(upscaled, hr) > _psnr_db(bicubic, hr) - 0.5

    early = SDFlow(RECIPES["tiny-test"].model).eval()
    store = LocalStore(run)
    early.load_state_dict(load_checkpoint(store, list_checkpoints(store)[0])["ema"])
    noisy = hr + (torch.rand(hr.shape, generator=torch.Generator().manual_seed(0)) - 0.5) / 127.5
    with torch.no_grad():
        before, after = (
            float(bits_per_dim(one.hr_log_prob(noisy), hr.shape).mean()) for one in (early, model)
        )
    assert after < before - 0.1
