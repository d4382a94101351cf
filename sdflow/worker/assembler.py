"""Putting the parts of an image together, band by band, into its final file."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from os import SEEK_END
from pathlib import Path
from tempfile import NamedTemporaryFile, gettempdir
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from sdflow.errors import StorageError
from sdflow.work.ledger import Output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdflow.images.formats import Pixels
    from sdflow.storage.store import Store
    from sdflow.tiling.parts import Part
    from sdflow.worker.codec import JobCodec
    from sdflow.worker.giant import Giant

_BAND_BYTES = 32_000_000
_BANDS_AHEAD = 2
_READS_AT_ONCE = 8
_CHUNK_BYTES = 4_000_000


class Assembler:
    """Makes the results of images whose parts are all done.

    A result is written to this machine's temporary folder (``TMPDIR``) and uploaded from there, so
    that memory holds a few bands, however large it is.

    Args:
        target: Where results go.
        codec: Writes the files.
    """

    def __init__(self, target: Store, codec: JobCodec) -> None:
        self._target = target
        self._codec = codec

    def assemble(self, giant: Giant, sample: int, *, key: str) -> tuple[Output, str]:
        """Make one result durable; returns it, and what is left out of it, for people.

        Args:
            giant: The image.
            sample: Number of the result.
            key: Of the result.

        Raises:
            EncodeError: If the format cannot hold it.
            StorageError: If a part cannot be read, the result not be written, or the disk is full.
        """
        with NamedTemporaryFile(prefix="sdflow-", delete=False) as named:
            file = cast("BinaryIO", named)
            Path(named.name).unlink()  # at once, so that the file never outlives the process
            try:
                bands = giant.drawn(_rows(giant, sample))
                note = self._codec.write(bands, giant.record, sample=sample, key=key, file=file)
            except OSError as error:
                raise StorageError(
                    f"{gettempdir()}: {error.strerror}: {key} does not fit; give TMPDIR a larger "
                    "disk",
                    item=key,
                ) from error
            size_bytes = file.seek(0, SEEK_END)
            file.seek(0)
            etag = self._target.put_stream(key, iter(lambda: file.read(_CHUNK_BYTES), b""))
            return Output(key, etag, size_bytes), note


def _rows(giant: Giant, sample: int) -> Iterator[Pixels]:
    """What was drawn, from top to bottom, read a few bands ahead."""
    waiting: deque[list[Future[Pixels]]] = deque()
    with ThreadPoolExecutor(_READS_AT_ONCE, thread_name_prefix="assemble") as pool:
        for band in _bands(giant):
            waiting.append(
                [pool.submit(_read, giant, part, sample, top, bottom) for part, top, bottom in band]
            )
            if len(waiting) > _BANDS_AHEAD:
                yield _beside(waiting.popleft())
        while waiting:
            yield _beside(waiting.popleft())


def _bands(giant: Giant) -> Iterator[list[tuple[Part, int, int]]]:
    """Parts that lie beside each other, cut into bands whose rows are counted within a part."""
    most = max(1, _BAND_BYTES // giant.drawn(()).row_bytes)
    for _, group in groupby(giant.parts, key=lambda part: part.core.y):
        parts = list(group)
        height = giant.result(parts[0]).height
        for top in range(0, height, most):
            yield [(part, top, min(height, top + most)) for part in parts]


def _read(giant: Giant, part: Part, sample: int, top: int, bottom: int) -> Pixels:
    width, num_bands = giant.result(part).width, giant.record.num_bands
    row_bytes = width * num_bands * giant.dtype.itemsize
    data = giant.scratch.part_bytes(part.number, sample, top * row_bytes, bottom * row_bytes)
    pixels: Pixels = np.frombuffer(data, giant.dtype)
    return pixels.reshape(bottom - top, width, num_bands)


def _beside(reads: list[Future[Pixels]]) -> Pixels:
    return np.concatenate([read.result() for read in reads], axis=1)
