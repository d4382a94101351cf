"""What becomes of drawn samples: objects of their own, or parts of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from sdflow.work.ledger import Output
from sdflow.work.names import result_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdflow.images.formats import Pixels
    from sdflow.storage.store import Store
    from sdflow.work.shard import WorkItem
    from sdflow.worker.fetched import Fetched
    from sdflow.worker.fetcher import Codec
    from sdflow.worker.photo import Draw


@dataclass(frozen=True, slots=True)
class Sample:
    """One output of an image.

    Attributes:
        number: From 0.
        pixels: As they were drawn, at the scale of the direction.
        draw: What they were drawn from; None where nobody asked.
    """

    number: int
    pixels: Pixels
    draw: Draw | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What is durable of an image.

    Attributes:
        outputs: The objects.
        note: What is left out, for people; "" if nothing.
        pairs: How many were cut.
        shape: Height, width and channels of their HR images.
        identity: What their names have in common.
        encode_s: Seconds that encoding took.
        upload_s: Seconds that writing took.
    """

    outputs: tuple[Output, ...]
    note: str = ""
    pairs: int = 0
    shape: str = ""
    identity: str = ""
    encode_s: float = 0.0
    upload_s: float = 0.0


class ResultWriter(Protocol):
    """Makes samples of an image durable."""

    @property
    def wants_all(self) -> bool:
        """Whether it is to be given all samples of an image at once; else one by one."""

    def write(self, item: WorkItem, image: Fetched, samples: Sequence[Sample]) -> Written:
        """Make samples durable.

        Raises:
            SdflowError: If one cannot be encoded or stored.
        """


class ImageWriter:
    """Every sample is an image of its own.

    Args:
        target: Where results go.
        codec: Writes them.
    """

    wants_all = False

    def __init__(self, target: Store, codec: Codec) -> None:
        self._target = target
        self._codec = codec

    def write(self, item: WorkItem, image: Fetched, samples: Sequence[Sample]) -> Written:
        """As ``ResultWriter.write``."""
        (sample,) = samples
        given = self._codec.parameters
        numbered = sample.number if given.samples > 1 else None
        key = result_key(item, wanted=given.format, sample=numbered)
        started = perf_counter()
        data, note = self._codec.encode(sample.pixels, image, sample=sample.number, key=key)
        encoded = perf_counter()
        output = Output(key, self._target.put(key, data), len(data))
        return Written(
            (output,), note, encode_s=encoded - started, upload_s=perf_counter() - encoded
        )
