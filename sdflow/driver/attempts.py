"""What follows an attempt that failed, as pure functions: another attempt, or a dead letter."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

from sdflow.driver.events import RecordDeadLetter
from sdflow.work.shard import Shard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdflow.work.shard import WorkItem
    from sdflow.worker.report import Retry

MAX_FAILURES = 6  # of an image, in ways that may pass, while others succeed
MAX_KILLS = 2  # of workers that held an image alone
MAX_LOSSES = 3  # with the node: at the last of them an image is suspected all the same
_PARTS = 16  # a suspect shard is searched in so many parts at once: bisection, but broader
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0

Sequel = tuple[list[Shard], list[RecordDeadLetter]]


def in_parts(items: Sequence[WorkItem], count: int) -> list[tuple[WorkItem, ...]]:
    """Cut images into at most so many parts of about equal number; none of nothing."""
    size = max(1, -(-len(items) // count))
    return [tuple(items[first : first + size]) for first in range(0, len(items), size)]


def after_loss(
    shard: Shard, items: Sequence[WorkItem], *, with_node: bool, was_alone: bool
) -> Sequel:
    """What becomes of images whose worker is gone.

    Those that went with their node are done again as they are. Where a worker died by itself one
    of them may have killed it: they are searched in parts, each alone on its worker, until the
    killer stands alone. An image that was alone on two workers that died is given up.

    Args:
        shard: The attempt.
        items: Images of it that had not ended, at least one.
        with_node: The node, or the connection to it, was lost.
        was_alone: The worker held no other lease.
    """
    again = replace(shard, items=tuple(items), attempt=shard.attempt + 1)
    if with_node and shard.losses + 1 < MAX_LOSSES:
        return [replace(again, losses=shard.losses + 1)], []
    if len(items) > 1:
        parts = in_parts(items, _PARTS)
        return [replace(again, items=part, is_suspect=True) for part in parts], []
    kills = shard.kills + was_alone
    if kills < MAX_KILLS:
        return [replace(again, is_suspect=True, kills=kills)], []
    message = f"a worker died or hung {kills} times while it had this image alone"
    return [], [RecordDeadLetter(items[0], "worker.crashed", message, shard.attempt)]


def after_failures(shard: Shard, failures: Sequence[Retry], *, counts: bool) -> Sequel:
    """What becomes of images that failed in a way that may pass, the worker living.

    Args:
        shard: The attempt.
        failures: Of its images.
        counts: Whether the attempt is held against the images: not while nothing succeeds at all.
    """
    failed = shard.failures + counts
    if failed >= MAX_FAILURES:
        return [], [
            RecordDeadLetter(failure.item, failure.error, failure.message, shard.attempt)
            for failure in failures
        ]
    items = tuple(failure.item for failure in failures)
    return [replace(shard, items=items, attempt=shard.attempt + 1, failures=failed)], []


def pause_s(shard: Shard) -> float:
    """Seconds before an attempt after failures: exponential, with jitter from the shard itself."""
    longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(shard.attempt - 2, 10))
    name = f"{shard.items[0].name}\0{shard.attempt}".encode("utf-8", "surrogateescape")
    return longest * (0.5 + zlib.crc32(name) / 2**33)
