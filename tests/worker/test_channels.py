"""Alpha, grey and depth around an engine: nothing shows at borders, nothing hidden is invented."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sdflow import TiledEngine
from sdflow.images.formats import Pixels
from sdflow.images.tensor import to_network
from sdflow.worker.bicubic import BicubicEngine
from sdflow.worker.drawing import Drawer, DrawnImage
from sdflow.worker.photo import Drawing, Photo
from tests.images.samples import images
from tests.model.seeded import TINY, photo, seeded_model

Task = Literal["upscale", "downscale"]
TASKS: tuple[Task, ...] = ("upscale", "downscale")
EVERY_KIND = [(bands, dtype) for bands in (1, 2, 3, 4) for dtype in (np.uint8, np.uint16)]


def _draw(engine: Any, pixels: Pixels, task: Task = "upscale", *, deep: bool = False) -> Pixels:  # noqa: ANN401  # either engine
    drawing = Drawing(task, seed=0, tau=0.8, samples=(0,), deep=deep)
    ((_, drawn),) = Drawer(engine).draw(drawing, [Photo("k", pixels)])
    assert isinstance(drawn, DrawnImage), drawn
    return drawn.outputs[0]


@given(pixels=images(*EVERY_KIND), threshold=st.integers(0, 255), task=st.sampled_from(TASKS))
def test_nothing_changes_at_scale_1(pixels: Pixels, threshold: int, task: Task) -> None:
    if pixels.shape[2] in (2, 4):  # much of it transparent, with any colours beneath
        pixels[..., -1][pixels[..., 0] >= threshold] = 0
    result = _draw(BicubicEngine(scale=1), pixels, task)
    assert result.dtype == pixels.dtype
    assert np.array_equal(result, pixels)
    if pixels.dtype == np.uint8:
        deep = _draw(BicubicEngine(scale=1), pixels, task, deep=True)
        assert deep.dtype == np.uint16
        visible = np.broadcast_to(pixels[..., -1:] > 0, pixels.shape)
        if pixels.shape[2] in (1, 3):
            visible = np.ones_like(visible)
        assert np.array_equal(deep[visible], (pixels.astype(np.uint16) * 257)[visible])


def _disc(side: int, colour: tuple[int, ...], dtype: type, *, hidden: str) -> Pixels:
    """A smooth-edged disc of one colour on full transparency."""
    peak = int(np.iinfo(dtype).max)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    cover = np.clip(side * 0.3 - np.hypot(y, x) + 0.5, 0, 1)
    bands = len(colour) + 1
    pixels: Pixels = np.zeros((side, side, bands), dtype)
    if hidden == "noise":
        pixels[:] = np.random.default_rng(0).integers(0, peak, pixels.shape, endpoint=True)
    pixels[..., -1] = np.rint(cover * peak)
    pixels[pixels[..., -1] > 0, :-1] = colour
    return pixels


def _over(colour: NDArray[np.float64], alpha: NDArray[Any], ground: float) -> NDArray[np.float64]:
    """Composited over a background, in levels of 255."""
    share = alpha[..., None] / np.iinfo(alpha.dtype).max
    return 255 * (share * colour + (1 - share) * ground)


@pytest.mark.parametrize("hidden", ["black", "noise"])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("colour", "dtype"),
    [
        ((250, 220, 120), np.uint8),
        ((10, 20, 30), np.uint8),
        ((230,), np.uint8),
        ((65000, 40000, 20000), np.uint16),
    ],
)
def test_no_edge_shows_at_alpha_borders(
    colour: tuple[int, ...], dtype: type, task: Task, hidden: str
) -> None:
    side = 40 if task == "upscale" else 160
    result = _draw(BicubicEngine(), _disc(side, colour, dtype, hidden=hidden), task)
    seen, alpha = result[..., :-1] / np.iinfo(dtype).max, result[..., -1]
    ideal = np.broadcast_to(np.array(colour) / np.iinfo(dtype).max, seen.shape)
    assert alpha.min() == 0
    assert alpha.max() == np.iinfo(dtype).max
    for ground in (0.0, 1.0, *ideal[0, 0]):  # black, white, and the colour itself
        difference = _over(seen, alpha, ground) - _over(ideal, alpha, ground)
        assert np.abs(difference).max() < 0.51


@pytest.mark.parametrize("task", TASKS)
def test_network_sees_no_hidden_colour_near_what_is_visible(task: Task) -> None:
    side = 60 if task == "upscale" else 240
    engine = TiledEngine(seeded_model(TINY))
    flat = (250, 220, 120)
    black, noisy = (
        _draw(engine, _disc(side, flat, np.uint8, hidden=hidden), task)
        for hidden in ("black", "noise")
    )
    whole = np.full((side, side, 3), flat, np.uint8)
    expected = _draw(engine, whole, task)
    solid = black[..., -1] == 255
    assert solid.any()
    # The filled rim is narrower than the network's reach, but most of what counts lies in it.
    for drawn in (black, noisy):
        difference = np.abs(drawn[solid][:, :-1].astype(int) - expected[solid].astype(int))
        assert difference.max() <= 1


@pytest.mark.parametrize("task", TASKS)
def test_hidden_colours_are_the_source_s_own(task: Task) -> None:
    pixels = _disc(80, (250, 220, 120), np.uint8, hidden="noise")
    engine = TiledEngine(seeded_model(TINY))
    result = _draw(engine, pixels, task)
    nearest = (
        pixels.repeat(4, axis=0).repeat(4, axis=1) if task == "upscale" else pixels[2::4, 2::4]
    )
    hidden = result[..., -1] == 0
    assert hidden.any()
    assert np.array_equal(result[hidden], np.where([1, 1, 1, 0], nearest[hidden], 0))


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_flat_alpha_stays_flat(level: int) -> None:
    pixels = photo(13, 17)
    alpha = np.full((13, 17, 1), level, np.uint8)
    assert (_draw(BicubicEngine(), np.concatenate((pixels, alpha), axis=2))[..., -1] == level).all()


def test_widened_pixels_are_the_same_numbers_to_the_network() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    wide = levels.astype(np.uint16) * np.uint16(257)
    shallow, deep = (to_network(some, device="cpu", dtype=torch.float32) for some in (levels, wide))
    assert torch.equal(shallow, deep)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("halo", [None, 2])
def test_deep_results_are_those_of_8_bits_before_rounding(task: Task, halo: int | None) -> None:
    engine = TiledEngine(seeded_model(TINY), tile=16, halo=halo)
    pixels = np.concatenate((photo(60, 60), photo(60, 60, seed=1)[..., :1]), axis=2)
    shallow, deep = _draw(engine, pixels, task), _draw(engine, pixels, task, deep=True)
    assert deep.dtype == np.uint16
    assert deep.shape == shallow.shape
    difference = np.abs(deep[..., :3] / 257 - shallow[..., :3])
    assert 0.4 < difference.max() < 0.51
    assert np.abs(deep[..., 3] / 257 - shallow[..., 3]).max() < 1.5  # Pillow rounds twice in 8 bits
    wide = pixels.astype(np.uint16) * np.uint16(257)
    assert np.array_equal(_draw(engine, wide, task), deep)
    assert np.array_equal(_draw(engine, wide, task, deep=True), deep)
