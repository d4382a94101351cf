from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sdflow import TiledEngine
from sdflow.errors import ImageError, UsageError
from sdflow.evaluation.degradation import Degradation, compare, describe
from sdflow.evaluation.downscaling import FLOOR, described, distances, downscaled
from sdflow.evaluation.pairs import shrink
from sdflow.evaluation.sampler import Sampler
from sdflow.worker.drawing import Drawer
from tests.evaluation.networks import mild_model
from tests.model.seeded import photo


def _noisy(seed: int, deviation: float) -> NDArray[np.uint8]:
    """A photo of 96 px with noise of so many levels."""
    noise = np.random.default_rng(seed).normal(0, deviation, (96, 96, 3))
    smooth = photo(96, 96, seed=seed).astype(np.float64)
    return np.clip(0.7 * smooth + 40 + noise, 1, 254).astype(np.uint8)


_REAL = [described(str(seed), [_noisy(seed, 8)]) for seed in range(12)]


def _set(deviation: float) -> list[Degradation]:
    return [described(str(seed), [_noisy(seed, deviation)]) for seed in range(20, 28)]


def test_the_method_with_the_noise_of_real_photos_is_the_closest() -> None:
    generated = {"bicubic": _set(1), "tau 0.8": _set(8), "lanczos": _set(16)}
    scores, over = distances(generated, _REAL)
    assert list(scores) == ["bicubic", "tau 0.8", "lanczos", FLOOR]
    for name in ("noise_db", "patch", "frechet"):
        best = scores["tau 0.8"][name]
        assert best.mean < min(scores[other][name].mean for other in ("bicubic", "lanczos"))
        assert scores[FLOOR][name].mean < scores["bicubic"][name].mean
        assert best.low < best.mean < best.high
        gain = over["tau 0.8"][name]
        assert gain.high < 0
        assert gain.mean == pytest.approx(best.mean - scores["bicubic"][name].mean)


def test_distances_are_those_of_the_sets_as_a_whole() -> None:
    images = [_noisy(seed, 3) for seed in range(20, 26)]
    whole = compare(describe(images), describe([_noisy(seed, 8) for seed in range(12)]))
    parts = [described("k", [image]) for image in images]
    scores, _ = distances({"bicubic": parts}, _REAL)
    assert scores["bicubic"]["noise_db"].mean == pytest.approx(whole.noise_db)
    assert scores["bicubic"]["patch"].mean == pytest.approx(whole.patch)
    assert scores["bicubic"]["frechet"].mean == pytest.approx(whole.frechet)
    for name, value in whole.features.items():
        assert scores["bicubic"][f"feature.{name}"].mean == pytest.approx(value)


def test_the_same_sets_give_the_same_intervals() -> None:
    generated = {"bicubic": [described(str(seed), [_noisy(seed, 2)]) for seed in range(3)]}
    assert distances(generated, _REAL) == distances(generated, _REAL)


def test_one_photo_has_no_interval_and_one_real_photo_is_too_few() -> None:
    one = {"bicubic": [described("a", [_noisy(20, 2)])]}
    scores, _ = distances(one, _REAL)
    assert np.isnan(scores["bicubic"]["patch"].low)
    with pytest.raises(UsageError, match="at least two"):
        distances(one, _REAL[:1])


def test_several_samples_give_as_many_patches_as_one() -> None:
    single = described("a", [_noisy(0, 8)])
    several = described("a", [_noisy(0, 8), _noisy(0, 8), _noisy(0, 8)])
    assert len(several.features) == len(single.features)
    assert np.allclose(several.spectrum_db, single.spectrum_db)


def test_a_sample_that_shows_nothing_leaves_the_others() -> None:
    blank = np.full((96, 96, 3), 255, np.uint8)
    several = described("a", [blank, _noisy(0, 8)])
    assert np.array_equal(several.features, described("a", [_noisy(0, 8)]).features)


@pytest.mark.parametrize("pixels", [np.full((96, 96, 3), 255, np.uint8), _noisy(0, 8)[:20]])
def test_what_shows_nothing_is_refused_with_its_method(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match=r"a\.png by tau 0 is too small, flat or clipped"):
        described("a.png", [pixels], made_by="tau 0")


def test_every_method_is_made_of_the_same_photo() -> None:
    engine = TiledEngine(mild_model())
    source = photo(256, 256) // 2 + 64
    sampler = Sampler(Drawer(engine), taus=(0.1,), num_samples=3, seed=1)
    found = downscaled("a.png", source, sampler)
    assert list(found.degradations) == ["bicubic", "lanczos", "tau 0.1"]
    first, second = found.pictures["tau 0.1"]
    assert np.array_equal(first, engine.downscale(source, key="a.png", seed=1, tau=0.1))
    assert np.array_equal(second, engine.downscale(source, key="a.png", seed=1, tau=0.1, sample=1))
    assert np.array_equal(found.pictures["bicubic"][0], shrink(source, "bicubic"))
    for name in ("bicubic", "lanczos"):
        expected = describe([shrink(source, name)])
        assert np.array_equal(found.degradations[name].features, expected.features)
