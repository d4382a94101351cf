"""Images that are too large to be done at once: divided, drawn in parts, put together again."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import closing
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from sdflow.errors import NotFoundError, TooLargeError
from sdflow.geometry import Size
from sdflow.images.orientation import upright
from sdflow.images.windows import cut_windows
from sdflow.storage.ranged import RangedObject
from sdflow.storage.store import ObjectInfo
from sdflow.work.ledger import Output
from sdflow.work.names import parts_prefix, result_key
from sdflow.work.shard import ASSEMBLY
from sdflow.worker.assembler import Assembler
from sdflow.worker.codec import left_out
from sdflow.worker.fetched import Fetched, weight_px
from sdflow.worker.giant import Giant, drawn_size
from sdflow.worker.report import NOTHING, Parted, Totals
from sdflow.worker.results import Written
from sdflow.worker.scratch import GiantRecord, Scratch, read_record
from sdflow.worker.upload import Upload

if TYPE_CHECKING:
    from sdflow.geometry import Region
    from sdflow.images.formats import ImageInfo, OpenedImage, Pixels
    from sdflow.storage.store import Store
    from sdflow.work.shard import WorkItem
    from sdflow.worker.codec import JobCodec
    from sdflow.worker.drawing import Engine
    from sdflow.worker.report import PartDone
    from sdflow.worker.upload import NotDone

MAX_WHOLE_BYTES = 1 << 30
"""Memory that a file may take which can only be decoded as a whole."""
_KEPT = 4  # images of which a worker remembers what they are


class GiantWork:
    """What a worker does for images that are done in parts.

    Everything that is to outlive the worker lies in the destination: a part that is done there is
    never done again, whoever goes on with the image.

    Args:
        source: Where the sources are.
        target: Where results go, and until then the parts.
        engine: Says how images are divided.
        codec: Reads the sources and writes the results.
    """

    def __init__(self, source: Store, target: Store, engine: Engine, codec: JobCodec) -> None:
        self._source = source
        self._target = target
        self._engine = engine
        self._codec = codec
        self._task = codec.parameters.direction
        self._assembler = Assembler(target, codec)
        self._lock = Lock()
        self._known: OrderedDict[str, Giant] = OrderedDict()
        self._reading = Lock()
        self._opened: tuple[str, OpenedImage] | None = None

    def takes(self, info: ImageInfo) -> bool:
        """Whether an image, or its result, is too large to be done at once."""
        drawn = drawn_size(Size(info.height, info.width), self._task, self._engine.scale)
        result_bytes = self._codec.result_bytes(drawn.pixels, info.bands, info.dtype)
        most = max(info.decoded_bytes, result_bytes)
        return weight_px(most) > self._codec.handling.giant_pixels

    def do(self, item: WorkItem, attempt: int) -> tuple[Parted | PartDone | NotDone, Totals]:
        """Divide an image, or put one together; raises what :meth:`divide` and ``Assembler`` do."""
        if item.part is None:
            return self.divide(item)
        giant, given = self._find(item), self._codec.parameters
        notes = dict.fromkeys(filter(None, (giant.record.note, *giant.scratch.notes())))
        upload = Upload(item, attempt, NOTHING, count=given.samples, note="; ".join(notes))
        for sample in range(given.samples):
            numbered = sample if given.samples > 1 else None
            key = result_key(item, wanted=given.format, sample=numbered)
            output, note = self._assembler.assemble(giant, sample, key=key)
            upload.add_note(note)
            upload.add_written(sample, Written((output,)))
        return upload.ending(given)

    def divide(self, item: WorkItem) -> tuple[Parted, Totals]:
        """Divide an image, and have what its parts need in reach of every worker.

        Returns:
            The parts that are not done yet, and the assembly; what was read of the source.

        Raises:
            EncodeError: If the result could not be written; nothing is drawn in vain.
            TooLargeError: If the file can only be decoded as a whole, and is too large for that.
            DecodeError: If the file is damaged.
            StorageError: If reading or writing fails.
        """
        giant, totals = self._known_giant(item), NOTHING
        if giant is None:
            giant, totals = self._begin(item), Totals(bytes_read=item.size_bytes)
        have, samples = giant.scratch.parts(), range(self._codec.parameters.samples)
        left = [
            (part.number, giant.core_px(part))
            for part in giant.parts
            if any((part.number, sample) not in have for sample in samples)
        ]
        whole_px = len(samples) * giant.record.stored.pixels
        return Parted(item, (*left, (ASSEMBLY, whole_px))), totals

    def window_px(self, item: WorkItem) -> int:
        """What the window weighs that :meth:`fetch` brings."""
        giant = self._find(item)
        record = giant.record
        pixels = giant.window(giant.parts[item.part or 0]).size.pixels
        return weight_px(pixels * record.num_bands * record.dtype.itemsize)

    def fetch(self, item: WorkItem) -> Fetched:
        """The window of one part, upright."""
        giant = self._find(item)
        part, record = giant.parts[item.part or 0], giant.record
        window = giant.window(part)
        if record.has_windows:
            stored = giant.scratch.window(part.number, window.size, record)
        else:
            stored = self._read(item, window)
        pixels = np.ascontiguousarray(upright(stored, record.orientation))
        return Fetched(pixels, record.format, record.metadata, within=giant.within(part))

    def keep(self, item: WorkItem, sample: int, pixels: Pixels, *, note: str) -> Output:
        """Make the result of a part durable, with what had to be given up for it."""
        scratch = self._find(item).scratch
        if note:
            scratch.put_note(note)
        return Output(scratch.put_part(item.part or 0, sample, pixels), "", pixels.nbytes)

    def _find(self, item: WorkItem) -> Giant:
        """The image that a part belongs to."""
        prefix = parts_prefix(item, self._codec.parameters)
        with self._lock:
            known = self._known.get(prefix)
        if known is not None:
            return known
        giant = self._known_giant(item)
        if giant is None:
            raise NotFoundError(
                f"the parts of {item.key} are gone from {self._target.url}: run the job again",
                item=item.key,
            )
        with self._lock:
            self._known[prefix] = giant
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return giant

    def _known_giant(self, item: WorkItem) -> Giant | None:
        """What was begun of an image; None where nothing was.

        What another version has cut in another way is of no use, and is removed.
        """
        record = read_record(self._target, parts_prefix(item, self._codec.parameters))
        if record is None:
            return None
        giant = self._giant(item, record)
        if giant.layout == record.layout:
            return giant
        giant.scratch.clear()
        return None

    def _giant(self, item: WorkItem, record: GiantRecord) -> Giant:
        itemsize = 2 if self._codec.is_deep else record.dtype.itemsize
        pixel_bytes = max(3, record.num_bands) * itemsize
        parts = self._engine.parts(record.size, self._task, pixel_bytes=pixel_bytes)
        prefix = parts_prefix(item, self._codec.parameters)
        scale, is_deep = self._engine.scale, self._codec.is_deep
        return Giant(Scratch(self._target, prefix), record, parts, self._task, scale, is_deep)

    def _begin(self, item: WorkItem) -> Giant:
        opened = self._open(item)
        with closing(opened.reader):
            info = opened.info
            if info.whole_bytes > MAX_WHOLE_BYTES:
                raise TooLargeError(
                    f"{item.key} can only be decoded as a whole ({info.format}, {info.width} x "
                    f"{info.height}, {info.whole_bytes / 1e9:.1f} GB): save it as tiled TIFF",
                    item=item.key,
                )
            has_windows = not opened.reader.is_random
            record = GiantRecord.of(
                opened, note=left_out(info.frames, opened.note), has_windows=has_windows
            )
            giant = self._giant(item, record)
            self._codec.check(giant.drawn(()), record, key=item.key)
            if has_windows:
                windows = {part.number: giant.window(part) for part in giant.parts}
                for number, pixels in cut_windows(opened.reader, info, windows):
                    giant.scratch.put_window(number, pixels)
        giant.scratch.put_record(replace(record, layout=giant.layout))
        return giant

    def _open(self, item: WorkItem) -> OpenedImage:
        info = ObjectInfo(item.key, item.size_bytes, item.etag)
        return self._codec.open(RangedObject(self._source, info), key=item.key)

    def _read(self, item: WorkItem, window: Region) -> Pixels:
        """A window out of the source itself; its file stays open for the next one."""
        with self._reading:
            name = f"{item.key}\0{item.etag}"
            if self._opened is None or self._opened[0] != name:
                if self._opened is not None:
                    self._opened[1].reader.close()
                self._opened = name, self._open(item)
            return self._opened[1].reader.read(window)
