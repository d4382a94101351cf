"""Who is stuck, whose work could be shared, and how many workers are worth having.

Pure functions that the scheduler asks about once a second.
"""

from __future__ import annotations

from heapq import nlargest
from math import ceil
from typing import TYPE_CHECKING

from sdflow.driver.events import SplitShard

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdflow.driver.leases import Lease, Pace, WorkerState

EXPIRES_S = 60.0  # without a sign of life
_STALL_S = 600.0  # without an ending, whatever the size
_STALL_FACTOR = 10.0  # times what the pixels it holds should take
_SLOW_S_PER_PX = 1e-3  # assumed while no shard has ended: a processor with the published sizes
_WORTH_SPLITTING_S = 2.0
_ASK_AGAIN_S = 3.0
_STRAGGLES_S = 30.0
_STRAGGLES_FACTOR = 3.0
_HORIZON_S = 60.0  # a worker is worth starting for a backlog of so many seconds a worker


def find_silent(workers: Iterable[WorkerState], clock: float) -> list[WorkerState]:
    """Workers whose lease has run out because they gave no sign of life."""
    return [state for state in workers if clock - state.seen > EXPIRES_S]


def find_stalled(workers: Iterable[WorkerState], pace: Pace, clock: float) -> list[WorkerState]:
    """Workers that live but end no image, for much longer than their pixels should take."""
    return [
        state
        for state in workers
        if clock - state.progressed > _STALL_S  # cheap, and almost always no
        and state.leases
        and clock - state.progressed
        > _STALL_S + _STALL_FACTOR * pace.expected_s(state.remaining_px, otherwise=_SLOW_S_PER_PX)
    ]


def plan_return(leases: Iterable[Lease]) -> list[SplitShard]:
    """Orders to hand back everything whose computation has not begun."""
    return [
        SplitShard(lease.worker, lease.number, len(lease.remaining))
        for lease in leases
        if lease.remaining
    ]


def plan_splits(
    leases: Iterable[Lease], pace: Pace, clock: float, *, num_idle: int
) -> list[tuple[Lease, int]]:
    """Which running shards should be shared with how many of so many idle workers."""
    least_px = _WORTH_SPLITTING_S * (pace.px_per_s or 1.0)
    worth = [
        lease
        for lease in leases
        if lease.remaining_px >= least_px
        and len(lease.remaining) > 1
        and not lease.shard.is_suspect
        and lease.twin is None
        and (lease.split_at is None or clock - lease.split_at >= _ASK_AGAIN_S)
    ]
    if not worth or not num_idle:
        return []
    largest = nlargest(num_idle, worth, key=lambda lease: lease.remaining_px)
    helpers = max(1, num_idle // len(worth))
    return [(lease, min(helpers, len(lease.remaining) - 1)) for lease in largest]


def find_stragglers(
    leases: Iterable[Lease],
    workers: dict[str, WorkerState],
    pace: Pace,
    clock: float,
    num_idle: int,
) -> list[Lease]:
    """Leases that take so much longer than they should that a second worker may be faster."""
    if pace.px_per_s is None or num_idle <= 0:
        return []
    late = [
        lease
        for lease in leases
        if clock - lease.started > _STRAGGLES_S  # cheap, and rules most out
        and not lease.had_twin
        and not lease.is_assembly
        and not lease.shard.is_suspect
        and clock - max(lease.started, workers[lease.worker].progressed)
        > max(_STRAGGLES_S, _STRAGGLES_FACTOR * pace.expected_s(lease.remaining_px, otherwise=0.0))
    ]
    return nlargest(num_idle, late, key=lambda lease: lease.remaining_px)


def plan_scale(*, pixels: int, images: int, pace: Pace, between: tuple[int, int]) -> int:
    """How many workers the known backlog is worth.

    Args:
        pixels: Estimated, waiting and leased.
        images: At least so many are waiting or leased.
        pace: Of one worker.
        between: Fewest and most workers.
    """
    fewest, most = between
    wanted = min(images, most)
    if pace.px_per_s is not None:
        wanted = min(wanted, ceil(pixels / (pace.px_per_s * _HORIZON_S)))
    return max(wanted, fewest)
