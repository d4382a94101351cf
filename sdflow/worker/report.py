"""What a worker says about a shard it has finished: small, picklable, no pixels."""

from __future__ import annotations

from dataclasses import dataclass

from sdflow.work.ledger import LedgerLine
from sdflow.work.shard import WorkItem
from sdflow.worker.limits import Limits


@dataclass(frozen=True, slots=True)
class Totals:
    """Amounts that add up over images, shards and workers."""

    done: int = 0
    pixels_in: int = 0
    pixels_out: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    busy_s: float = 0.0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.done + other.done,
            self.pixels_in + other.pixels_in,
            self.pixels_out + other.pixels_out,
            self.bytes_read + other.bytes_read,
            self.bytes_written + other.bytes_written,
            self.busy_s + other.busy_s,
        )


@dataclass(frozen=True, slots=True)
class Retry:
    """An image that failed in a way that may pass."""

    item: WorkItem
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class ShardReport:
    """The end of one shard's attempt; the ledger has it already.

    Attributes:
        totals: Of the images that are done.
        failed: Images given up on.
        retries: Images to be tried again.
        limits: What the worker's engine has learnt of its memory; None without one.
        peak_rss_bytes: Largest memory the worker's process has had so far.
    """

    totals: Totals
    failed: tuple[LedgerLine, ...]
    retries: tuple[Retry, ...]
    peak_rss_bytes: int
    limits: Limits | None = None
