"""Images in parts without a driver: what one would do with the endings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sdflow.images import codec, vips
from sdflow.images.encoding import encode
from sdflow.images.formats import ImageFormat, Metadata, WriteOptions
from sdflow.storage.memory import MemoryStore
from sdflow.work.handling import Handling
from sdflow.work.ledger import LedgerLine
from sdflow.work.shard import Shard, WorkItem
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
from sdflow.worker.results import ImageWriter

SIZE = (190, 230)
SMALLER = 9  # times by two


class SmallParts(BicubicEngine):
    """Bicubic in parts that suit small images; says what it had to give up."""

    note = ""

    def draw(
        self, drawing: Drawing, photos: Sequence[Photo]
    ) -> Iterator[tuple[int, Drawn | SdflowError]]:
        for index, drawn in super().draw(drawing, photos):
            assert isinstance(drawn, Drawn)
            yield index, replace(drawn, note=self.note)

    def parts(self, size: Size, task: Task, *, pixel_bytes: int = 3) -> tuple[Part, ...]:
        return super().parts(size, task, pixel_bytes=pixel_bytes << SMALLER)


@dataclass
class Job:
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
        engine, codec = SmallParts(), JobCodec(self.parameters, self.handling)
        giants = GiantWork(self.source, self.target, engine, codec)
        return Pipeline(self.source, ImageWriter(self.target, codec), engine, codec, giants=giants)

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


def photo(dtype: type = np.uint8, bands: int = 3) -> Pixels:
    height, width = SIZE
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


def with_parameters(**changes: object) -> PixelParameters:
    return replace(PARAMETERS, **changes)  # type: ignore[arg-type]  # fields by name


def content(job: Job, key: str) -> object:
    """The file; of a PNG, which is compressed in another way when it is streamed, what it holds."""
    data = job.target.get(key)
    if not key.endswith(".png"):
        return data
    image = codec.decode(data, key=key, max_pixels=10**7)
    return image.pixels.dtype, image.pixels.tobytes(), image.metadata


_TIFF_TILES = {"tile": True, "tile_width": 64, "tile_height": 64}
SOURCES: dict[str, Callable[[], bytes]] = {
    "photo.jpg": lambda: _file(ImageFormat.JPEG, photo()),
    "grey.jpg": lambda: _file(ImageFormat.JPEG, photo(bands=1)),
    "turned.jpg": lambda: _file(ImageFormat.JPEG, photo(), 6),
    "mirrored.png": lambda: _file(ImageFormat.PNG, photo(bands=4), 7),
    "deep.png": lambda: _file(ImageFormat.PNG, photo(np.uint16, 4)),
    "strips.tif": lambda: vips.from_array(photo(np.uint16, 3)).tiffsave_buffer(),
    "tiles.tif": lambda: vips.from_array(photo()).tiffsave_buffer(**_TIFF_TILES),
    "photo.webp": lambda: _file(ImageFormat.WEBP, photo(bands=4)),
}
