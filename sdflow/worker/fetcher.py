"""Fetching: an item's bytes from the store, and its pixels out of them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from sdflow.errors import TooLargeError
from sdflow.storage.ranged import RangedObject
from sdflow.storage.store import ObjectInfo
from sdflow.work.shard import ASSEMBLY
from sdflow.worker.fetched import Chore, weight_px

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from sdflow.images.formats import ByteSource, ImageInfo, Pixels
    from sdflow.storage.store import Store
    from sdflow.work.ledger import Output
    from sdflow.work.parameters import PixelParameters
    from sdflow.work.shard import WorkItem
    from sdflow.worker.budget import PixelBudget
    from sdflow.worker.fetched import Fetched
    from sdflow.worker.report import PartDone, Parted, Totals
    from sdflow.worker.upload import NotDone

_MAX_BYTES_PER_PIXEL = 16  # four uncompressed samples of 32 bits
_MAX_METADATA_BYTES = 64_000_000
_LARGE_BYTES = 16 << 20  # beyond this the header is looked at before the rest is read


class Codec(Protocol):
    """Files to pixels and back; see ``JobCodec``."""

    @property
    def parameters(self) -> PixelParameters:
        """What the results depend on."""

    @property
    def is_deep(self) -> bool:
        """Whether results are to be drawn in 16 bits."""

    def result_bytes(
        self, drawn_px: int, num_bands: int, dtype: np.dtype[np.uint8 | np.uint16]
    ) -> int:
        """Memory that a result takes."""

    def peek(self, data: ByteSource, *, key: str) -> ImageInfo:
        """What the header says."""

    def decode(self, data: bytes, *, key: str) -> Fetched:
        """Pixels and what is around them."""

    def encode(self, pixels: Pixels, image: Fetched, *, sample: int, key: str) -> tuple[bytes, str]:
        """A whole file, and what is left out of it, for people."""


class Giants(Protocol):
    """What is done for images that are too large to be done at once; see ``GiantWork``."""

    def takes(self, info: ImageInfo) -> bool:
        """Whether an image is one of them."""

    def do(self, item: WorkItem, attempt: int) -> tuple[Parted | PartDone | NotDone, Totals]:
        """Divide an image, or put one together."""

    def window_px(self, item: WorkItem) -> int:
        """What the window weighs that fetching a part brings."""

    def fetch(self, item: WorkItem) -> Fetched:
        """What a part is drawn from."""

    def keep(self, item: WorkItem, sample: int, pixels: Pixels, *, note: str) -> Output:
        """Make the result of a part durable, with what had to be given up for it."""


class Fetcher:
    """Fetches what is to be drawn, or finds out that something else is to be done.

    Args:
        source: Where the sources are.
        codec: Reads them.
        budget: Pixels that may be decoded and waiting; whoever gets them gives them back.
        giants: Does images that are too large for that; None: there are none.
    """

    def __init__(
        self, source: Store, codec: Codec, budget: PixelBudget, giants: Giants | None
    ) -> None:
        self._source = source
        self._codec = codec
        self._budget = budget
        self._giants = giants

    def fetch(self, item: WorkItem) -> Fetched | Chore:
        """Fetch an item.

        Raises:
            SdflowError: If the source cannot be read, decoded, or is too large.
        """
        giants = self._giants
        if item.part == ASSEMBLY:
            return Chore()
        if item.part is not None:
            if giants is None:
                raise ValueError(f"{item.name!r} is a part of an image, and there are none here")
            return self._admitted(giants.window_px(item), partial(giants.fetch, item))
        started = perf_counter()
        data = self._open(item)
        info = self._codec.peek(data, key=item.key)
        self._check(item, info)
        if giants is not None and giants.takes(info):
            if self._codec.parameters.pairs is not None:
                raise TooLargeError(
                    f"{item.key} has {info.width} x {info.height} pixels, more than pairs are made "
                    "of at once: cut it into smaller files, or raise --giant-pixels",
                    item=item.key,
                )
            return Chore()
        weight = weight_px(info.decoded_bytes)
        spent_s = perf_counter() - started  # waiting for memory, which follows, is no work
        return self._admitted(weight, partial(self._decode, data, item.key, spent_s))

    def _decode(self, data: ByteSource, key: str, spent_s: float) -> Fetched:
        started = perf_counter()
        whole = data if isinstance(data, bytes) else data[0 : len(data)]
        image = self._codec.decode(whole, key=key)
        return replace(image, fetch_s=spent_s + perf_counter() - started)

    def _open(self, item: WorkItem) -> ByteSource:
        if item.size_bytes > _LARGE_BYTES:
            return RangedObject(self._source, ObjectInfo(item.key, item.size_bytes, item.etag))
        return self._source.get(item.key, if_match=item.etag)

    def _check(self, item: WorkItem, info: ImageInfo) -> None:
        most = _MAX_BYTES_PER_PIXEL * info.num_pixels * info.frames + _MAX_METADATA_BYTES
        if item.size_bytes > most:
            raise TooLargeError(
                f"{item.key} has {item.size_bytes} bytes, more than {info.width} x {info.height} "
                "pixels can need: save the image anew",
                item=item.key,
            )

    def _admitted(self, pixels: int, decode: Callable[[], Fetched]) -> Fetched:
        self._budget.acquire(pixels)
        try:
            image = decode()
        except BaseException:
            self._budget.release(pixels)
            raise
        self._budget.release(pixels - image.weight_px)  # a header may tell less than the truth
        return image
