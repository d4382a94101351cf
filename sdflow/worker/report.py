"""What a worker says about its images: small, picklable, no pixels."""

from __future__ import annotations

from dataclasses import dataclass

from sdflow.work.ledger import LedgerLine
from sdflow.work.shard import WorkItem
from sdflow.worker.limits import Limits


@dataclass(frozen=True, slots=True)
class Totals:
    """Amounts that add up over images and workers.

    Attributes:
        done: Images.
        pixels_in: Of sources.
        pixels_out: Drawn.
        bytes_read: Of sources.
        bytes_written: Of results.
        busy_s: Seconds that engines computed.
        fetch_s: Seconds that threads read and decoded.
        encode_s: Seconds that threads encoded.
        upload_s: Seconds that threads wrote.
    """

    done: int = 0
    pixels_in: int = 0
    pixels_out: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    busy_s: float = 0.0
    fetch_s: float = 0.0
    encode_s: float = 0.0
    upload_s: float = 0.0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.done + other.done,
            self.pixels_in + other.pixels_in,
            self.pixels_out + other.pixels_out,
            self.bytes_read + other.bytes_read,
            self.bytes_written + other.bytes_written,
            self.busy_s + other.busy_s,
            self.fetch_s + other.fetch_s,
            self.encode_s + other.encode_s,
            self.upload_s + other.upload_s,
        )


NOTHING = Totals()


@dataclass(frozen=True, slots=True)
class Retry:
    """An image that failed in a way that may pass."""

    item: WorkItem
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Parted:
    """An image is too large to be done at once; whatever its parts need is durable.

    Attributes:
        item: The image.
        parts: What is yet to be done: number and pixels of every part, and at the end the assembly.
    """

    item: WorkItem
    parts: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class PartDone:
    """The result of one part of an image is durable."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of one item of a lease.

    Attributes:
        lease: Number of the lease.
        name: Of the item: the key of a whole image.
        outcome: The ledger line of an image that is done, durably, or given up; what became of an
            image that is done in parts, or of a part; a failure that may pass; None for an item
            that was handed back before its computation began.
        totals: Of what is done.
    """

    lease: int
    name: str
    outcome: LedgerLine | Parted | PartDone | Retry | None
    totals: Totals = NOTHING


@dataclass(frozen=True, slots=True)
class Progress:
    """A worker's answer to the question what is new.

    Attributes:
        sequence: Number of the last ending in here; the next question acknowledges it.
        endings: All that have not been acknowledged, in order.
        peak_rss_bytes: Largest memory the worker's process has had so far.
        limits: What the worker's engine has learnt of its memory; None without one.
    """

    sequence: int
    endings: tuple[Ending, ...]
    peak_rss_bytes: int = 0
    limits: Limits | None = None
