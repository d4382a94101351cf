"""Parts of giant images: what is drawn apart is the whole image's result, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdflow import TiledEngine
from sdflow.geometry import Size
from sdflow.images.formats import Pixels
from sdflow.model.config import SMALL
from sdflow.tiling.parts import Part
from sdflow.worker.bicubic import BicubicEngine
from sdflow.worker.drawing import Drawer, DrawnImage
from sdflow.worker.limits import Limits
from sdflow.worker.photo import Drawing, Drawn, Photo, Within
from sdflow.worker.planning import PART_PX
from tests.model.seeded import TINY, photo, seeded_model

Task = Literal["upscale", "downscale"]
TASKS: tuple[Task, ...] = ("upscale", "downscale")
_REACHING = TiledEngine(seeded_model(SMALL), tile=24)
_BLENDING = TiledEngine(seeded_model(SMALL), tile=24, halo=4)
_TINY = TiledEngine(seeded_model(TINY), tile=16)
_TINY_BLENDING = TiledEngine(seeded_model(TINY), tile=16, halo=2, overlap=4)


class PartingEngine(Protocol):
    def parts(self, size: Size, task: Task, *, pixel_bytes: int = 3) -> tuple[Part, ...]: ...


def cut(
    engine: PartingEngine, key: str, pixels: Pixels, task: Task, max_px: int, *, scale: int = 4
) -> list[Photo]:
    """The parts of an image, each with a copy of its window and nothing else."""
    size = Size(*pixels.shape[:2])
    withins = [
        Within(size, part)
        for part in engine.parts(size, task, pixel_bytes=3 * PART_PX[task] // max_px)
    ]
    return [
        Photo(key, pixels[within.source(task, scale).slices].copy(), within) for within in withins
    ]


def put_together(
    photos: Sequence[Photo], pieces: Sequence[Pixels], task: Task, *, scale: int = 4
) -> Pixels:
    """The whole result; every one of its pixels comes from one part."""
    regions = [one.result(task, scale) for one in photos]
    shape = (max(r.bottom for r in regions), max(r.right for r in regions), pieces[0].shape[2])
    whole = np.zeros(shape, pieces[0].dtype)
    assert sum(region.size.pixels for region in regions) == shape[0] * shape[1]
    for region, piece in zip(regions, pieces, strict=True):
        whole[region.slices] = piece
    return whole


def _source(height: int, width: int, task: Task, *, deep: bool = False) -> Pixels:
    """An image whose last cells are not full when it is made smaller."""
    if task == "upscale":
        return photo(height, width, deep=deep)
    return photo(4 * height - 3, 4 * width - 1, deep=deep)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("engine", "height", "width"),
    [(_REACHING, 31, 260), (_BLENDING, 91, 117), (_TINY, 123, 91), (_TINY_BLENDING, 93, 121)],
    ids=["small", "small, blended", "tiny", "tiny, blended"],
)
def test_parts_of_the_network_are_the_whole_bit_for_bit(
    engine: TiledEngine, height: int, width: int, task: Task
) -> None:
    pixels = _source(height, width, task)
    drawing = Drawing(task, seed=5, tau=0.8, samples=(0, 2))
    photos = cut(engine, "k", pixels, task, 40 * 40)
    assert len(photos) > 2
    drawn: dict[int, Drawn] = {}
    for index, result in engine.draw(drawing, [*photos, Photo("k", pixels)]):
        assert isinstance(result, Drawn)
        drawn[index] = result
    whole = drawn.pop(len(photos)).samples
    assert not np.array_equal(whole[0], whole[1])
    for number, expected in enumerate(whole):
        pieces = [drawn[index].samples[number] for index in range(len(photos))]
        assert np.array_equal(put_together(photos, pieces, task), expected)


@pytest.mark.parametrize("task", TASKS)
def test_part_alone_is_as_among_others(task: Task) -> None:
    drawing = Drawing(task, seed=0, tau=0.8, samples=(0,))
    mixed = [
        *cut(_TINY, "a", _source(80, 60, task), task, 900),
        Photo("b", _source(70, 21, task, deep=True)),
        *cut(_TINY, "c", _source(61, 90, task, deep=True), task, 2000),
        Photo("d", _source(3, 5, task)),
    ]
    together = dict(_TINY.draw(drawing, mixed))
    assert together.keys() == set(range(len(mixed)))
    for index, one in enumerate(mixed):
        ((_, alone),) = _TINY.draw(drawing, [one])
        among = together[index]
        assert isinstance(alone, Drawn)
        assert isinstance(among, Drawn)
        assert np.array_equal(among.samples[0], alone.samples[0])
        assert alone.samples[0].dtype == one.pixels.dtype


@pytest.mark.parametrize("task", TASKS)
def test_parts_are_the_whole_where_tiles_had_to_shrink(task: Task) -> None:
    engine = TiledEngine(seeded_model(TINY), tile=48, limits=Limits(1, tile=16))
    pixels = _source(130, 141, task)
    photos = cut(engine, "k", pixels, task, 48 * 48)
    drawing = Drawing(task, seed=0, tau=0.8, samples=(0,))
    results = [result for one in photos for _, result in engine.draw(drawing, [one])]
    pieces = [result.samples[0] for result in results if isinstance(result, Drawn)]
    expected = getattr(engine, task)(pixels, key="k")
    assert len(pieces) > 1
    assert np.array_equal(put_together(photos, pieces, task), expected)


def test_pixels_of_another_part_are_refused() -> None:
    first, second, *_ = cut(_TINY, "k", photo(50, 100), "upscale", 700)
    wrong = Photo("k", first.pixels[1:], second.within)
    with pytest.raises(ValueError, match="are not those of"):
        list(_TINY.draw(Drawing("upscale", 0, 0.8, (0,)), [wrong]))


sides = st.integers(1, 130)


@settings(max_examples=30)
@given(
    height=sides,
    width=sides,
    max_px=st.sampled_from([1, 700, 3000]),
    task=st.sampled_from(TASKS),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    bands=st.integers(1, 4),
    scale=st.sampled_from([1, 4]),
    deep=st.booleans(),
)
def test_bicubic_parts_of_any_image_are_the_whole_bit_for_bit(
    height: int,
    width: int,
    max_px: int,
    task: Task,
    dtype: type,
    bands: int,
    scale: int,
    deep: bool,
) -> None:
    pixels = _see_through(height * (3 if task == "downscale" else 1), width, bands, dtype)
    engine = BicubicEngine(scale)
    drawing = Drawing(task, seed=0, tau=0.8, samples=(0,), deep=deep)
    photos = cut(engine, "k", pixels, task, max_px, scale=scale)
    *pieces, whole = _drawn(engine, drawing, [*photos, Photo("k", pixels)])
    assert np.array_equal(put_together(photos, pieces, task, scale=scale), whole)
    assert whole.dtype == (np.uint16 if deep else dtype)


@pytest.mark.parametrize("engine", [_TINY, _TINY_BLENDING], ids=["whole reach", "blended"])
@pytest.mark.parametrize("task", TASKS)
def test_transparent_parts_of_the_network_are_the_whole_bit_for_bit(
    engine: TiledEngine, task: Task
) -> None:
    finer = 4 if task == "downscale" else 1
    pixels = _see_through(finer * 90, finer * 110, 4, np.uint8)
    drawing = Drawing(task, seed=0, tau=0.8, samples=(0,))
    photos = cut(engine, "k", pixels, task, 48 * 48)
    *pieces, whole = _drawn(engine, drawing, [*photos, Photo("k", pixels)])
    assert len(photos) > 1
    assert np.array_equal(put_together(photos, pieces, task), whole)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", [Size(20_000, 20_000), Size(3_000, 100_000), Size(100_000, 900)])
def test_part_of_a_giant_stays_below_100_megabytes(size: Size, task: Task) -> None:
    paper = TiledEngine(seeded_model(TINY), tile=256, halo=96, overlap=0)
    for engine in (paper, BicubicEngine()):
        for part in engine.parts(size, task):
            within = Within(size, part)
            held = within.source(task).size.pixels + within.result(task).size.pixels
            assert 3 * held < 100 * 10**6
            assert part.core.size.pixels <= PART_PX[task]


def _see_through(height: int, width: int, bands: int, dtype: type) -> Pixels:
    """Noise, of which much is transparent in patches of all sizes, if there is alpha."""
    rng = np.random.default_rng(height * width)
    peak = int(np.iinfo(dtype).max)
    pixels: Pixels = rng.integers(0, peak, (height, width, bands), endpoint=True).astype(dtype)
    if bands in (2, 4):
        y, x = np.mgrid[:height, :width]
        waves = np.sin(y / 9) + np.cos(x / 17) + rng.normal(0, 0.1, (height, width))
        pixels[..., -1] = (np.clip(waves, 0, 1) * peak).astype(dtype)
    return pixels


def _drawn(engine: Any, drawing: Drawing, photos: Sequence[Photo]) -> list[Pixels]:  # noqa: ANN401  # either engine
    results = dict(Drawer(engine).draw(drawing, photos))
    outputs = []
    for index in range(len(photos)):
        result = results[index]
        assert isinstance(result, DrawnImage), result
        outputs += result.outputs
    return outputs
