from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from jobs.fit_niqe import main
from sdflow.errors import UsageError, WeightsError
from sdflow.evaluation.niqe import NiqeModel, default_model, load, patch_statistics, save, score
from sdflow.evaluation.niqe_fit import fit
from tests.evaluation.pictures import as_jpeg, blurred, fractal, noisy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_UNSEEN = fractal(288, 100)


@pytest.fixture(scope="module")
def fitted() -> NiqeModel:
    return fit(fractal(288, seed) for seed in range(12))


def test_a_fitted_model_knows_what_it_was_fitted_to(fitted: NiqeModel) -> None:
    assert fitted.num_images == 12
    assert 36 < fitted.num_patches <= 12 * 9
    values = np.linalg.eigvalsh(fitted.covariance)
    assert values.min() > -1e-9


@pytest.mark.parametrize(
    ("worse", "amounts"),
    [(noisy, (4, 8, 16, 32)), (blurred, (0.7, 1, 2)), (as_jpeg, (30, 10, 5))],
)
def test_the_more_is_done_to_a_picture_the_less_natural_it_is(
    fitted: NiqeModel, worse: Callable[..., np.ndarray], amounts: tuple[float, ...]
) -> None:
    found = [score(_UNSEEN, fitted), *(score(worse(_UNSEEN, amount), fitted) for amount in amounts)]
    assert found == sorted(found)


def test_the_score_is_the_distance_of_two_gaussians(fitted: NiqeModel) -> None:
    features, _ = patch_statistics(_UNSEEN)
    away = features.mean(axis=0) - fitted.mean
    pooled = (np.cov(features.T) + fitted.covariance) / 2
    expected = math.sqrt(away @ np.linalg.solve(pooled, away))
    assert score(_UNSEEN, fitted) == pytest.approx(expected, rel=1e-4)


def test_the_shipped_model_is_one_of_many_photos_and_finds_degraded_ones() -> None:
    model = default_model()
    assert (model.num_images, model.num_patches) == (434, 1970)
    assert model.covariance == pytest.approx(model.covariance.T)
    clean = score(_UNSEEN, model)
    assert score(blurred(_UNSEEN, 2), model) > clean
    assert score(noisy(_UNSEEN, 30), model) > clean


def test_only_sharp_patches_are_fitted_to() -> None:
    half_blurred = [fractal(288, seed) for seed in range(14)]
    for picture in half_blurred:
        picture[:, :192] = blurred(picture, 4)[:, :192]
    assert 36 < fit(half_blurred).num_patches <= 14 * 3


def test_features_are_of_two_scales_of_every_whole_patch() -> None:
    features, sharpness = patch_statistics(_UNSEEN[:200, :287])
    assert features.shape == (4, 36)
    assert sharpness.shape == (4,)
    whole, _ = patch_statistics(_UNSEEN[:192, :192])
    assert features == pytest.approx(whole)


def test_what_has_less_than_two_patches_has_no_score() -> None:
    model = default_model()
    assert math.isnan(score(_UNSEEN[:95], model))
    assert math.isnan(score(_UNSEEN[:96, :191], model))
    assert math.isfinite(score(_UNSEEN[:96, :192], model))
    assert math.isnan(score(np.full((288, 288), 255, np.uint8), model))


def test_a_model_comes_back_from_its_file(fitted: NiqeModel, tmp_path: Path) -> None:
    path = tmp_path / "niqe.safetensors"
    save(fitted, path)
    back = load(path)
    assert np.array_equal(back.mean, fitted.mean)
    assert np.array_equal(back.covariance, fitted.covariance)
    assert (back.num_images, back.num_patches) == (fitted.num_images, fitted.num_patches)


def test_the_shared_model_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        default_model().mean[0] = 0


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "niqe.safetensors"
    with pytest.raises(WeightsError, match="missing"):
        load(path)
    path.write_bytes(b"not tensors at all")
    with pytest.raises(WeightsError, match="no safetensors"):
        load(path)
    save_file({"mean": np.zeros(35)}, path)
    with pytest.raises(WeightsError, match="not the parameters of NIQE"):
        load(path)


@pytest.mark.parametrize("num", [0, 1])
def test_too_few_photos_are_refused(num: int) -> None:
    with pytest.raises(UsageError, match="more photos"):
        fit([_UNSEEN] * num)


def test_the_command_fits_to_a_folder_of_photos(tmp_path: Path) -> None:
    for number in range(5):
        pixels = np.random.default_rng(number).normal(128, 40, (384, 384, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{number}.png")
    out = tmp_path / "niqe.safetensors"
    assert main([str(tmp_path), str(out)]) == 0
    assert load(out).num_images == 5
    assert main([str(tmp_path / "nowhere"), str(out)]) == 1
    assert main([]) == 2
