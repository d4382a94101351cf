"""An object that is read like bytes in memory, but by ranges from where it lies."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future
from itertools import groupby
from threading import Lock
from typing import TYPE_CHECKING

from sdflow.errors import PreconditionError

if TYPE_CHECKING:
    from sdflow.storage.store import ObjectInfo, Store

_BLOCK_BYTES = 4 * 2**20
_NUM_BLOCKS = 8
_MOST_BLOCKS_AT_ONCE = 4


class RangedObject:
    """One version of one object, as ``len()`` bytes that slices read. Safe for many threads.

    The blocks read last are kept. A slice asks for what it misses of them with one request for
    each gap; a block that two threads want at once is asked for once. A slice of more than four
    blocks is one request of its own and leaves the kept blocks alone: whoever reads so much at
    once will not want it again.

    Nothing is read ahead: with blocks of 4 MiB the waiting between requests is small beside the
    decoding of what they bring.

    Args:
        store: Where it lies.
        info: Which object and version: what a listing or ``head`` said.
        block_bytes: What is read and kept at once.
        num_blocks: How many blocks are kept; their memory is at most their product.

    Raises:
        PreconditionError: From a read that finds another version of the object.
        StorageError: Whatever else ``Store.get`` raises.
    """

    def __init__(
        self,
        store: Store,
        info: ObjectInfo,
        *,
        block_bytes: int = _BLOCK_BYTES,
        num_blocks: int = _NUM_BLOCKS,
    ) -> None:
        self._store = store
        self._info = info
        self._block_bytes = block_bytes
        self._num_blocks = num_blocks
        self._blocks: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return self._info.size_bytes

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop, step = part.indices(len(self))
        if step != 1:
            raise ValueError(f"{part}: an object is read forwards, byte by byte")
        if start >= stop:
            return b""
        size = self._block_bytes
        numbers = range(start // size, -(-stop // size))
        if len(numbers) > _MOST_BLOCKS_AT_ONCE:
            return self._read(start, stop)
        first = numbers[0] * size
        blocks = self._wanted(numbers)
        if len(blocks) == 1:
            return blocks[0][start - first : stop - first]
        blocks[-1] = blocks[-1][: stop - numbers[-1] * size]
        blocks[0] = blocks[0][start - first :]
        return b"".join(blocks)

    def _wanted(self, numbers: range) -> list[bytes]:
        """Successive blocks, kept or read."""
        with self._lock:
            missing = [number for number in numbers if number not in self._blocks]
            for number in missing:
                self._blocks[number] = Future()
            for number in numbers:
                self._blocks.move_to_end(number)
            futures = [self._blocks[number] for number in numbers]
            while len(self._blocks) > self._num_blocks:
                self._blocks.popitem(last=False)
        self._fill({number: futures[number - numbers[0]] for number in missing})
        return [future.result() for future in futures]

    def _fill(self, missing: dict[int, Future[bytes]]) -> None:
        """Read blocks, successive ones with one request; those who wait get its error as well."""
        size = self._block_bytes
        try:
            for _, gap in groupby(enumerate(missing), lambda pair: pair[1] - pair[0]):
                numbers = [number for _, number in gap]
                first, stop = numbers[0] * size, min((numbers[-1] + 1) * size, len(self))
                data = self._read(first, stop)
                for number in numbers:
                    start = number * size - first
                    missing[number].set_result(data[start : start + size])
        except BaseException as error:
            self._give_up(missing, error)
            raise

    def _give_up(self, missing: dict[int, Future[bytes]], error: BaseException) -> None:
        """Forget the blocks that could not be read: whoever wants them next tries again."""
        for number, future in missing.items():
            if not future.done():
                with self._lock:
                    if self._blocks.get(number) is future:
                        del self._blocks[number]
                future.set_exception(error)

    def _read(self, start: int, stop: int) -> bytes:
        key, etag = self._info.key, self._info.etag
        data = self._store.get(key, start=start, stop=stop, if_match=etag)
        if len(data) != stop - start:
            message = f"'{key}' has not the {len(self)} bytes that were announced"
            raise PreconditionError(message, item=key)
        return data
