"""The engine's laws: any size, no seams, and the same pixels whatever is around."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdflow import SDFlow, TiledEngine
from sdflow.errors import NonFiniteError, UsageError
from sdflow.images.formats import Pixels
from sdflow.model.calibration import Calibration, DirectionCalibration
from sdflow.model.config import SMALL
from sdflow.worker.photo import Drawing, Drawn, Photo
from sdflow.worker.precision import has_bf16, resolve_precision
from tests.model.seeded import TINY, paper_model, photo, seeded_model

_EXACT = seeded_model(TINY).double()
_FAST = seeded_model(TINY)


def _whole(model: SDFlow) -> TiledEngine:
    return TiledEngine(model, tile=1 << 20)


sides = st.integers(1, 70)


@settings(max_examples=15)
@given(sides, sides, st.integers(1, 40), st.integers(0, 9), st.integers(0, 3))
def test_tiled_upscale_equals_whole_with_halo_from_the_reach_up(
    height: int, width: int, tile: int, extra_halo: int, seed: int
) -> None:
    image = photo(height, width, seed=seed, deep=True)
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
    image = photo(4 * height - seed, 4 * width - seed, seed=seed, deep=True)
    halo = TINY.downscale.reach + extra_halo
    expected = _whole(_EXACT).downscale(image, key="k", seed=seed, tau=0.8)
    tiled = TiledEngine(_EXACT, tile=tile, halo=halo).downscale(image, key="k", seed=seed, tau=0.8)
    assert tiled.shape == (height, width, 3)
    assert np.abs(tiled.astype(int) - expected.astype(int)).max() <= 1  # of 65,535


@pytest.mark.parametrize("direction", ["upscale", "downscale"])
def test_float32_tiles_differ_by_a_level_at_the_most(direction: str) -> None:
    image = photo(4 * 100, 4 * 60) if direction == "downscale" else photo(100, 60)
    expected = getattr(_whole(_FAST), direction)(image, key="k")
    tiled = getattr(TiledEngine(_FAST, tile=32), direction)(image, key="k")
    assert np.abs(tiled.astype(int) - expected.astype(int)).max() <= 1


def test_default_halo_of_the_published_network_is_its_reach() -> None:
    model = paper_model(7).float()
    image = photo(2, 700)
    expected = _whole(model).upscale(image, key="k")
    tiled = TiledEngine(model, tile=200).upscale(image, key="k")
    assert np.abs(tiled.astype(int) - expected.astype(int)).max() <= 1


def test_small_halo_is_blended_instead_of_cut() -> None:
    image = photo(100, 100)
    reference = _whole(_FAST).upscale(image, key="k").astype(int)
    tiled = TiledEngine(_FAST, tile=32, halo=2).upscale(image, key="k").astype(int)
    assert 0 < np.abs(tiled - reference).max() < 64


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (2, 1), (3, 2), (5, 17)])
def test_any_size_keeps_its_depth(height: int, width: int, deep: bool) -> None:
    image = photo(height, width, deep=deep)
    engine = TiledEngine(_FAST)
    larger, smaller = engine.upscale(image, key="k"), engine.downscale(image, key="k")
    assert larger.shape == (4 * height, 4 * width, 3)
    assert smaller.shape == (-(-height // 4), -(-width // 4), 3)
    assert larger.dtype == smaller.dtype == image.dtype


def test_output_depends_on_seed_key_sample_and_tau_and_on_nothing_else() -> None:
    image, engine = photo(12, 14), TiledEngine(_FAST)
    first = engine.upscale(image, key="k", seed=1, tau=0.8, sample=2)
    engine.upscale(photo(30, 30), key="other")
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
    image, engine = photo(64, 64), TiledEngine(_FAST)
    drawn = [engine.downscale(image, key="k", sample=sample) for sample in range(3)]
    assert not np.array_equal(drawn[0], drawn[1])
    quiet = {engine.downscale(image, key="k", tau=0, sample=s).tobytes() for s in range(12)}
    assert 1 < len(quiet) <= TINY.mixture_components  # at tau 0 the component alone decides


def test_number_of_threads_changes_no_bit() -> None:
    threads = torch.get_num_threads()
    image, engine = photo(61, 83), TiledEngine(paper_model(7).float())
    try:
        results = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(engine.upscale(image, key="k"))
    finally:
        torch.set_num_threads(threads)
    assert all(np.array_equal(result, results[0]) for result in results)


def test_nan_is_an_error_and_never_a_pixel() -> None:
    model = seeded_model(TINY)
    model.encoder.conv_out2.bias.fill_(torch.nan)  # type: ignore[union-attr]  # it has a bias
    with pytest.raises(NonFiniteError, match=r"NaN or infinity for 'a/b\.jpg'"):
        TiledEngine(model).upscale(photo(4, 4), key="a/b.jpg")


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


@pytest.mark.parametrize("task", ["upscale", "downscale"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_neighbours_in_a_batch_and_their_order_change_no_byte(
    task: Literal["upscale", "downscale"], precision: str
) -> None:
    scale = 4 if task == "downscale" else 1
    sizes = [(20, 20), (9, 31), (20, 20), (70, 45), (20, 20), (70, 45), (1, 1)]
    photos = [
        Photo(f"{n}.png", photo(scale * height, scale * width, seed=n, deep=n % 3 == 2))
        for n, (height, width) in enumerate(sizes)
    ]
    drawing = Drawing(task, seed=3, tau=0.8, samples=(0, 2))
    engine = TiledEngine(seeded_model(SMALL), tile=24, halo=8, precision=precision)

    def draw(some: list[Photo]) -> dict[str, list[bytes]]:
        drawn = {}
        for index, result in engine.draw(drawing, some):
            assert isinstance(result, Drawn)
            drawn[some[index].key] = [sample.tobytes() for sample in result.samples]
        return drawn

    alone = {key: value for one in photos for key, value in draw([one]).items()}
    assert alone.keys() == {one.key for one in photos}
    assert draw(photos) == alone
    assert draw([photos[index] for index in (5, 2, 6, 0, 3, 1, 4)]) == alone
    assert draw(photos[2:5]) == {one.key: alone[one.key] for one in photos[2:5]}


def test_tile_that_overflows_in_half_precision_is_done_again_in_float32() -> None:
    model = seeded_model(TINY)
    # Past what float16 holds, and taken back before it reaches the content.
    model.encoder.conv_out1.bias.fill_(1e6)  # type: ignore[union-attr]  # it has a bias
    model.encoder.conv_out2.weight.mul_(1e-6)
    exact = TiledEngine(model, precision="fp32").upscale(photo(9, 9), key="k")
    half = TiledEngine(model, precision="fp16").upscale(photo(9, 9), key="k")
    assert np.array_equal(half, exact)


def test_image_with_nan_fails_alone() -> None:
    model = seeded_model(TINY)
    # Overflows for white alone; of what does not, nothing is left after the encoder.
    model.encoder.conv_in.weight.fill_(3e37)
    model.encoder.conv_out2.weight.zero_()
    grey, white = np.full((8, 8, 3), 127, np.uint8), np.full((8, 8, 3), 255, np.uint8)
    photos = [Photo("a", grey), Photo("b", white), Photo("c", grey)]
    drawing = Drawing("upscale", seed=0, tau=0.8, samples=(0,))
    results = dict(TiledEngine(model).draw(drawing, photos))
    assert isinstance(results[1], NonFiniteError)
    for index in (0, 2):
        alone = TiledEngine(model).upscale(grey, key=photos[index].key)
        drawn = results[index]
        assert isinstance(drawn, Drawn)
        assert np.array_equal(drawn.samples[0], alone)


def test_calibrated_halo_is_the_default_and_needs_no_blending() -> None:
    model = seeded_model(TINY)
    halo = model.config.upscale.reach
    model.calibration = Calibration(
        DirectionCalibration(halo, 60.0, 0.0), DirectionCalibration(2 * halo, 60.0, 0.0)
    )
    image = photo(100, 70)
    given = TiledEngine(seeded_model(TINY), tile=24, halo=halo).upscale(image, key="k")
    assert np.array_equal(TiledEngine(model, tile=24).upscale(image, key="k"), given)


@pytest.mark.parametrize(
    ("decibel", "seam", "expected"),
    [(None, 0.0, "fp32"), (44.9, 0.0, "fp32"), (45.1, 0.7, "bf16"), (45.1, 0.8, "fp32")],
)
def test_automatic_precision_refuses_what_costs_too_much(
    decibel: float | None, seam: float, expected: str
) -> None:
    cpu = torch.device("cpu")
    calibration = None
    if decibel is not None:
        direction = DirectionCalibration(8, decibel, seam)
        calibration = Calibration(DirectionCalibration(8, 80.0, 0.0), direction)
    wanted = expected if has_bf16(cpu) else "fp32"
    assert resolve_precision("auto", calibration, cpu) == wanted
    assert resolve_precision("fp16", calibration, cpu) == "fp16"
