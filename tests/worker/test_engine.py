"""The engine's laws: any size, no seams, and the same pixels whatever is around."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdflow import SDFlow, TiledEngine
from sdflow.errors import NonFiniteError, UsageError
from sdflow.images.formats import Pixels
from tests.model.seeded import TINY, paper_model, seeded_model

_EXACT = seeded_model(TINY).double()
_FAST = seeded_model(TINY)


def _photo(height: int, width: int, *, seed: int = 0, deep: bool = False) -> Pixels:
    """Smooth shapes with some noise, so that no output is clipped everywhere."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.cos(x / period) for period in (5, 9, 13)], axis=2)
    base = 0.5 + 0.3 * np.sin(y / 7 + seed)[..., None] * waves
    noisy = np.clip(base + rng.normal(0, 0.05, (height, width, 3)), 0, 1)
    pixels: Pixels = (noisy * 65535).astype(np.uint16) if deep else (noisy * 255).astype(np.uint8)
    return pixels


def _whole(model: SDFlow) -> TiledEngine:
    return TiledEngine(model, tile=1 << 20)


sides = st.integers(1, 70)


@settings(max_examples=15)
@given(sides, sides, st.integers(1, 40), st.integers(0, 9), st.integers(0, 3))
def test_tiled_upscale_equals_whole_with_halo_from_the_reach_up(
    height: int, width: int, tile: int, extra_halo: int, seed: int
) -> None:
    image = _photo(height, width, seed=seed, deep=True)
    halo = TINY.upscale.reach + extra_halo
    expected = _whole(_EXACT).upscale(image, key="k", seed=seed, tau=0.8)
    tiled = TiledEngine(_EXACT, tile=tile, halo=halo).upscale(image, key="k", seed=seed, tau=0.8)
    assert tiled.shape == (4 * height, 4 * width, 3)
    assert np.abs(tiled.astype(int) - expected.astype(int)).max() <= 1  # of 65,535


@settings(max_examples=15)
@given(sides, sides, st.integers(1, 40), st.integers(0, 9), st.integers(0, 3))
def test_tiled_downscale_equals_whole_with_halo_from_the_reach_up(
    height: int, width: int, tile: int, extra_halo: int, seed: int
) -> None:
    image = _photo(4 * height - seed, 4 * width - seed, seed=seed, deep=True)
    halo = TINY.downscale.reach + extra_halo
    expected = _whole(_EXACT).downscale(image, key="k", seed=seed, tau=0.8)
    tiled = TiledEngine(_EXACT, tile=tile, halo=halo).downscale(image, key="k", seed=seed, tau=0.8)
    assert tiled.shape == (height, width, 3)
    assert np.abs(tiled.astype(int) - expected.astype(int)).max() <= 1  # of 65,535


@pytest.mark.parametrize("direction", ["upscale", "downscale"])
def test_float32_tiles_differ_by_a_level_at_the_most(direction: str) -> None:
    image = _photo(4 * 100, 4 * 60) if direction == "downscale" else _photo(100, 60)
    expected = getattr(_whole(_FAST), direction)(image, key="k")
    tiled = getattr(TiledEngine(_FAST, tile=32), direction)(image, key="k")
    assert np.abs(tiled.astype(int) - expected.astype(int)).max() <= 1


def test_default_halo_of_the_published_network_is_its_reach() -> None:
    model = paper_model(7).float()
    image = _photo(2, 700)
    expected = _whole(model).upscale(image, key="k")
    tiled = TiledEngine(model, tile=200).upscale(image, key="k")
    assert np.abs(tiled.astype(int) - expected.astype(int)).max() <= 1


def test_small_halo_is_blended_instead_of_cut() -> None:
    image = _photo(100, 100)
    reference = _whole(_FAST).upscale(image, key="k").astype(int)
    tiled = TiledEngine(_FAST, tile=32, halo=2).upscale(image, key="k").astype(int)
    assert 0 < np.abs(tiled - reference).max() < 64


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (2, 1), (3, 2), (5, 17)])
def test_any_size_keeps_its_depth(height: int, width: int, deep: bool) -> None:
    image = _photo(height, width, deep=deep)
    engine = TiledEngine(_FAST)
    larger, smaller = engine.upscale(image, key="k"), engine.downscale(image, key="k")
    assert larger.shape == (4 * height, 4 * width, 3)
    assert smaller.shape == (-(-height // 4), -(-width // 4), 3)
    assert larger.dtype == smaller.dtype == image.dtype


def test_output_depends_on_seed_key_sample_and_tau_and_on_nothing_else() -> None:
    image, engine = _photo(12, 14), TiledEngine(_FAST)
    first = engine.upscale(image, key="k", seed=1, tau=0.8, sample=2)
    engine.upscale(_photo(30, 30), key="other")
    again = TiledEngine(seeded_model(TINY)).upscale(image, key="k", seed=1, tau=0.8, sample=2)
    assert np.array_equal(first, again)
    changed = [
        engine.upscale(image, key="k", seed=2, tau=0.8, sample=2),
        engine.upscale(image, key="j", seed=1, tau=0.8, sample=2),
        engine.upscale(image, key="k", seed=1, tau=0.8, sample=0),
        engine.upscale(image, key="k", seed=1, tau=0.4, sample=2),
    ]
    assert not any(np.array_equal(other, first) for other in changed)


def test_downscaled_samples_differ_in_noise_and_component() -> None:
    image, engine = _photo(64, 64), TiledEngine(_FAST)
    drawn = [engine.downscale(image, key="k", sample=sample) for sample in range(3)]
    assert not np.array_equal(drawn[0], drawn[1])
    quiet = {engine.downscale(image, key="k", tau=0, sample=s).tobytes() for s in range(12)}
    assert 1 < len(quiet) <= TINY.mixture_components  # at tau 0 the component alone decides


def test_number_of_threads_from_two_up_changes_no_bit() -> None:
    threads = torch.get_num_threads()
    image, engine = _photo(61, 83), TiledEngine(paper_model(7).float())
    try:
        results = []
        for count in (2, 3, 5):
            torch.set_num_threads(count)
            results.append(engine.upscale(image, key="k"))
    finally:
        torch.set_num_threads(threads)
    assert all(np.array_equal(result, results[0]) for result in results)


def test_nan_is_an_error_and_never_a_pixel() -> None:
    model = seeded_model(TINY)
    model.encoder.conv_out2.bias.fill_(torch.nan)  # type: ignore[union-attr]  # it has a bias
    with pytest.raises(NonFiniteError, match=r"NaN or infinity for 'a/b\.jpg'"):
        TiledEngine(model).upscale(_photo(4, 4), key="a/b.jpg")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"RGB pixels \(H, W, 3\)"),
        (np.zeros((4, 4, 4), np.uint8), r"RGB pixels"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
    ],
)
def test_wrong_arrays_are_refused(image: Pixels, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TiledEngine(_FAST).upscale(image, key="k")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tile": 0}, "tile must be at least 1"),
        ({"halo": -1}, "halo must not be negative"),
        ({"precision": "int8"}, "precision 'int8'"),
    ],
)
def test_wrong_settings_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TiledEngine(_FAST, **arguments)  # type: ignore[arg-type]  # wrong on purpose
