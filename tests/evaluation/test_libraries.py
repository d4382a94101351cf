from __future__ import annotations

import subprocess
import sys

import pytest

from sdflow.errors import UsageError
from sdflow.evaluation.libraries import library

_LIGHT = (
    "degradation",
    "fidelity",
    "intervals",
    "niqe",
    "niqe_fit",
    "perceptual",
    "samples",
)


def test_a_library_is_imported_by_name() -> None:
    assert library("scipy.special").gamma(5) == 24


@pytest.mark.parametrize(
    ("measure", "package"),
    [
        ("fidelity import ssim; ssim(image, image)", "scikit-image"),
        ("perceptual import haarpsi; haarpsi(image, image)", "scipy"),
    ],
)
def test_a_missing_library_is_named_with_the_extra_that_brings_it(
    measure: str, package: str
) -> None:
    done = _run(
        "import sys, numpy; sys.modules |= {'scipy': None, 'skimage': None}; "
        f"image = numpy.zeros((32, 32, 3)); from sdflow.evaluation.{measure}"
    )
    assert f"UsageError: measuring needs {package}: pip install 'sdflow[train]'" in done.stderr


def test_a_library_that_nobody_has_is_an_error_of_use() -> None:
    with pytest.raises(UsageError, match="measuring needs no_such_library"):
        library("no_such_library.part")


@pytest.mark.parametrize("module", _LIGHT)
def test_nothing_heavy_is_loaded_before_something_is_measured(module: str) -> None:
    done = _run(f"import sdflow.evaluation.{module}, sys; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    assert not {"scipy", "skimage", "torch"} & set(done.stdout.split())


def _run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
