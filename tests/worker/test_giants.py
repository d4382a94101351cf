"""Images in parts: the very bytes of the whole, whatever order, attempt or worker."""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from sdflow.images import codec, vips
from sdflow.images.encoding import encode
from sdflow.images.formats import ImageFormat, Metadata, WriteOptions
from sdflow.storage.memory import MemoryStore
from sdflow.work.handling import Handling
from sdflow.work.ledger import LedgerLine
from sdflow.work.names import parts_prefix
from sdflow.work.shard import ASSEMBLY, Shard, WorkItem
from sdflow.worker.bicubic import BicubicEngine
from sdflow.worker.codec import JobCodec
from sdflow.worker.giants import GiantWork
from sdflow.worker.photo import Drawn
from sdflow.worker.pipeline import Pipeline
from sdflow.worker.report import Ending, PartDone, Parted
from tests.worker.bench import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sdflow.errors import SdflowError
    from sdflow.geometry import Size
    from sdflow.images.formats import Pixels
    from sdflow.tiling.parts import Part
    from sdflow.work.parameters import PixelParameters, Task
    from sdflow.worker.photo import Drawing, Photo

_SIZE = (190, 230)
_SMALLER = 9  # times by two


class _SmallParts(BicubicEngine):
    """Bicubic in parts that suit small images; says what it had to give up."""

    note = ""

    def draw(
        self, drawing: Drawing, photos: Sequence[Photo]
    ) -> Iterator[tuple[int, Drawn | SdflowError]]:
        for index, drawn in super().draw(drawing, photos):
            assert isinstance(drawn, Drawn)
            yield index, replace(drawn, note=self.note)

    def parts(self, size: Size, task: Task, *, pixel_bytes: int = 3) -> tuple[Part, ...]:
        return super().parts(size, task, pixel_bytes=pixel_bytes << _SMALLER)


@dataclass
class _Job:
    """A source, a destination, and what a driver would do with the endings."""

    parameters: PixelParameters
    handling: Handling

    def __post_init__(self) -> None:
        self.source, self.target = MemoryStore(), MemoryStore()
        self.runs: list[str] = []

    def put(self, key: str, data: bytes) -> WorkItem:
        return WorkItem(key, self.source.put(key, data), len(data))

    def run(self, item: WorkItem) -> Ending:
        """Do one item, on a worker of its own."""
        pipeline, endings = self.pipeline(), list[Ending]()
        try:
            pipeline.work(pipeline.hold(1, Shard((item,))), endings.append)
        finally:
            pipeline.close()
        (ending,) = endings
        self.runs.append(item.name)
        return ending

    def pipeline(self) -> Pipeline:
        engine, codec = _SmallParts(), JobCodec(self.parameters, self.handling)
        giants = GiantWork(self.source, self.target, engine, codec)
        return Pipeline(self.source, self.target, engine, codec, giants=giants)

    def divide(self, item: WorkItem) -> list[WorkItem]:
        """The parts that are left, the assembly last."""
        outcome = self.run(item).outcome
        assert isinstance(outcome, Parted), outcome
        return [replace(item, part=number, pixels=px) for number, px in outcome.parts]

    def finish(self, item: WorkItem) -> LedgerLine:
        """Do an image in its parts, last things first."""
        *parts, assembly = self.divide(item)
        for part in reversed(parts):
            assert self.run(part).outcome == PartDone()
        line = self.run(assembly).outcome
        assert isinstance(line, LedgerLine)
        return line


def _photo(dtype: type = np.uint8, bands: int = 3) -> Pixels:
    height, width = _SIZE
    y, x, band = np.mgrid[0:height, 0:width, 0:bands]
    wave = np.sin(y / (3 + band)) + np.cos(x / (5 + 2 * band)) + np.sin(x * y / 700)
    pixels: Pixels = ((wave / 6 + 0.5) * np.iinfo(dtype).max).astype(dtype)
    return pixels


def _file(name: ImageFormat, pixels: Pixels, orientation: int = 1) -> bytes:
    exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes(
        (orientation, 0, 0, 0, 0, 0, 0, 0)
    )
    metadata = Metadata(exif=exif if orientation > 1 else None, dpi=(300.0, 300.0))
    return encode(pixels, metadata, WriteOptions(name), key="test")


def _with(**changes: object) -> PixelParameters:
    return replace(PARAMETERS, **changes)  # type: ignore[arg-type]  # fields by name


def _content(job: _Job, key: str) -> object:
    """The file; of a PNG, which is compressed in another way when it is streamed, what it holds."""
    data = job.target.get(key)
    if not key.endswith(".png"):
        return data
    image = codec.decode(data, key=key, max_pixels=10**7)
    return image.pixels.dtype, image.pixels.tobytes(), image.metadata


_TIFF_TILES = {"tile": True, "tile_width": 64, "tile_height": 64}
_SOURCES: dict[str, Callable[[], bytes]] = {
    "photo.jpg": lambda: _file(ImageFormat.JPEG, _photo()),
    "grey.jpg": lambda: _file(ImageFormat.JPEG, _photo(bands=1)),
    "turned.jpg": lambda: _file(ImageFormat.JPEG, _photo(), 6),
    "mirrored.png": lambda: _file(ImageFormat.PNG, _photo(bands=4), 7),
    "deep.png": lambda: _file(ImageFormat.PNG, _photo(np.uint16, 4)),
    "strips.tif": lambda: vips.from_array(_photo(np.uint16, 3)).tiffsave_buffer(),
    "tiles.tif": lambda: vips.from_array(_photo()).tiffsave_buffer(**_TIFF_TILES),
    "photo.webp": lambda: _file(ImageFormat.WEBP, _photo(bands=4)),
}


@pytest.mark.parametrize("key", _SOURCES)
@pytest.mark.parametrize("task", ["upscale", "downscale"])
def test_parts_make_the_same_bytes_as_the_whole(key: str, task: Task) -> None:
    data = _SOURCES[key]()
    whole, parted = (
        _Job(_with(task=task), Handling(giant_pixels=limit)) for limit in (10**9, 1000)
    )
    line = whole.run(whole.put(key, data)).outcome
    assert isinstance(line, LedgerLine)
    assert line.status == "done", line
    item = parted.put(key, data)
    assert parted.finish(item).status == "done"
    assert len(parted.runs) > 4
    assert _content(parted, key) == _content(whole, key)


@pytest.mark.parametrize("outscale", [1.0, 2.5, 7.0])
@pytest.mark.parametrize("key", ["photo.jpg", "deep.png"])
def test_final_scale_is_the_same_in_parts(key: str, outscale: float) -> None:
    data = _SOURCES[key]()
    whole, parted = (
        _Job(_with(outscale=outscale), Handling(giant_pixels=limit)) for limit in (10**9, 1000)
    )
    whole.run(whole.put(key, data))
    parted.finish(parted.put(key, data))
    result = codec.decode(whole.target.get(key), key=key, max_pixels=10**7).pixels
    assert result.shape[:2] == tuple(int(side * outscale + 0.5) for side in _SIZE)
    assert result.dtype == (np.uint16 if key == "deep.png" else np.uint8)
    assert _content(parted, key) == _content(whole, key)


def test_what_is_done_is_not_done_again() -> None:
    job = _Job(_with(samples=2), Handling(giant_pixels=1000))
    item = job.put("a.jpg", _SOURCES["photo.jpg"]())
    first, second, *others, assembly = job.divide(item)
    for part in (second, first):
        job.run(part)
    left = job.divide(item)
    assert left == [*others, assembly]
    for part in left:
        ending = job.run(part)
    assert isinstance(ending.outcome, LedgerLine)
    assert [output.key for output in ending.outcome.outputs] == ["a.s0.jpg", "a.s1.jpg"]
    assert len(job.runs) == len(set(job.runs)) + 1  # it was divided twice


def test_pixels_are_counted_once() -> None:
    job = _Job(PARAMETERS, Handling(giant_pixels=1000))
    item = job.put("a.jpg", _SOURCES["photo.jpg"]())
    begun = job.run(item)
    assert isinstance(begun.outcome, Parted)
    parts = [replace(item, part=number, pixels=px) for number, px in begun.outcome.parts]
    endings = [begun, *(job.run(part) for part in parts)]
    height, width = _SIZE
    assert sum(ending.totals.pixels_in for ending in endings) == height * width
    assert sum(ending.totals.pixels_out for ending in endings) == 16 * height * width
    assert sum(ending.totals.bytes_read for ending in endings) == item.size_bytes
    assert [ending.totals.done for ending in endings] == [0] * len(parts) + [1]
    assert endings[-1].totals.bytes_written == len(job.target.get("a.jpg"))


def test_what_was_given_up_for_a_part_is_on_the_line_of_the_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = _Job(PARAMETERS, Handling(giant_pixels=1000))
    pages = BytesIO()
    with tifffile.TiffWriter(pages) as writer:
        for page in (_photo(), _photo()):
            writer.write(page, photometric="rgb", metadata=None)
    first, *parts, assembly = job.divide(job.put("a.tif", pages.getvalue()))
    for part in parts:
        job.run(part)
    monkeypatch.setattr(_SmallParts, "note", "tiles were smaller")
    job.run(first)
    line = job.run(assembly).outcome
    assert isinstance(line, LedgerLine)
    assert line.note == "the first of 2 images in the file; tiles were smaller"


@pytest.mark.parametrize(
    ("key", "outscale", "weight"),
    [
        ("photo.jpg", 4.0, 16),
        ("grey.jpg", 4.0, 16),  # three channels are drawn
        ("photo.jpg", 2.0, 32),  # in 16 bits, because it is resampled
        ("photo.jpg", 8.0, 64),
        ("strips.tif", 4.0, 32),
        ("deep.png", 4.0, 16 * 8 / 3),
    ],
)
def test_images_are_as_large_as_the_memory_they_take(
    key: str, outscale: float, weight: float
) -> None:
    limit = int(_SIZE[0] * _SIZE[1] * weight)
    for giant_pixels, is_parted in ((limit - 2, True), (limit + 2, False)):
        job = _Job(_with(outscale=outscale), Handling(giant_pixels=giant_pixels))
        outcome = job.run(job.put(key, _SOURCES[key]())).outcome
        assert isinstance(outcome, Parted) is is_parted


def test_parts_that_were_cut_in_another_way_are_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = _Job(PARAMETERS, Handling(giant_pixels=1000))
    item = job.put("a.jpg", _SOURCES["photo.jpg"]())
    for part in job.divide(item)[:3]:
        job.run(part)
    monkeypatch.setattr("tests.worker.test_giants._SMALLER", 8)
    assert job.finish(item).status == "done"
    whole = _Job(PARAMETERS, Handling())
    whole.run(whole.put("a.jpg", _SOURCES["photo.jpg"]()))
    assert job.target.get("a.jpg") == whole.target.get("a.jpg")


def test_giants_that_wait_can_be_handed_back() -> None:
    job = _Job(PARAMETERS, Handling(giant_pixels=1000))
    items = tuple(job.put(f"{n}.jpg", _SOURCES["photo.jpg"]()) for n in range(5))
    pipeline, endings = job.pipeline(), list[Ending]()
    held = pipeline.hold(1, Shard(items))

    def emit(ending: Ending) -> None:
        endings.append(ending)
        if len(endings) == 1:
            assert len(held.give_back(5)) == 4

    pipeline.work(held, emit)
    pipeline.close()
    assert len(endings) == 1


def test_other_versions_have_other_parts() -> None:
    item = WorkItem("a.jpg", "v1", 1)
    names = {
        parts_prefix(item, PARAMETERS),
        parts_prefix(replace(item, part=3), PARAMETERS),
        parts_prefix(replace(item, etag="v2"), PARAMETERS),
        parts_prefix(replace(item, key="b.jpg"), PARAMETERS),
        parts_prefix(item, _with(tau=0.5)),
    }
    assert len(names) == 4


def test_what_cannot_be_written_is_refused_before_anything_is_drawn() -> None:
    job = _Job(_with(format="jpeg"), Handling(giant_pixels=1000))
    line = job.run(job.put("a.png", _SOURCES["mirrored.png"]())).outcome
    assert isinstance(line, LedgerLine)
    assert (line.status, line.error) == ("failed", "encode.unsupported")
    assert list(job.target.list()) == []


def test_damaged_giant_is_a_dead_letter() -> None:
    job = _Job(PARAMETERS, Handling(giant_pixels=1000))
    line = job.run(job.put("a.png", _SOURCES["deep.png"]()[:-4000])).outcome
    assert isinstance(line, LedgerLine)
    assert (line.status, line.error) == ("failed", "decode.truncated")


def test_parts_that_are_gone_are_begun_anew_by_the_next_run() -> None:
    job = _Job(PARAMETERS, Handling(giant_pixels=1000))
    item = job.put("a.jpg", _SOURCES["photo.jpg"]())
    *parts, assembly = job.divide(item)
    assert assembly.part == ASSEMBLY
    for part in parts:
        job.run(part)
    (gone, *_) = job.target.list(parts_prefix(item, PARAMETERS) + "part-")
    job.target.delete(gone.key)
    line = job.run(assembly).outcome
    assert isinstance(line, LedgerLine)
    assert line.error == "storage.not_found"
    assert not line.settles(item.etag, PARAMETERS.hash)
    assert len(job.divide(item)) == 2
