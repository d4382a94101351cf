"""What a simulation has found, and how it is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figures:
    """The outcome of a simulation.

    Attributes:
        images: In the archive.
        deadly: Of those, images that kill their workers.
        done: Results recorded.
        dead_lettered: Images given up.
        twice: Endings recorded of images that had ended before.
        counts_add_up: Every image has one ending; the deadly ones are the dead letters.
        simulated_s: On the simulated clock.
        events: That the scheduler has handled.
        events_per_s: Of process time inside the scheduler.
        peak_mb: Memory beyond the start, without the bit an image that the check of the counts
            takes: scheduler, planner and simulated workers.
        utilization: Share of the workers' places times seconds that went into images that
            counted, from the first ready worker until the last planned shard was leased.
        utilization_all: The same, tail included.
        computed_in_vain: Share until the tail that went into images that were lost or done twice.
        restarting: Share until the tail that passed from deaths until the replacements were ready.
        shards: Planned.
        shard_s: Seconds of computation of a mean one.
        tail_s: From when the last planned shard was leased to the end.
        tail_in_shards: The same, by ``shard_s``.
        duplicated: Share of computed pixels whose result was not recorded.
        kills: Workers that died of a deadly image.
        accidents: Workers that died of something else, with or without their node.
        retries: Images tried again.
        splits: Shards asked in the tail to hand something back.
        twins: Second attempts beside running ones.
        seconds: That the simulation took.
    """

    images: int
    deadly: int
    done: int
    dead_lettered: int
    twice: int
    counts_add_up: bool
    simulated_s: float
    events: int
    events_per_s: float
    peak_mb: float
    utilization: float
    utilization_all: float
    computed_in_vain: float
    restarting: float
    shards: int
    shard_s: float
    tail_s: float
    tail_in_shards: float
    duplicated: float
    kills: int
    accidents: int
    retries: int
    splits: int
    twins: int
    seconds: float


class Usage:
    """Where the workers' seconds go."""

    def __init__(self) -> None:
        self.useful_s = 0.0
        self.vain_s = 0.0
        self.vain_px = 0.0
        self.num_alive = 0
        self._alive_s = 0.0
        self._at = 0.0

    def count_alive(self, change: int, now: float) -> None:
        """So many more workers live."""
        self._alive_s = self.alive_s(now)
        self._at = now
        self.num_alive += change

    def alive_s(self, now: float) -> float:
        """Seconds of all workers' lives."""
        return self._alive_s + self.num_alive * (now - self._at)

    def add_useful(self, seconds: float) -> None:
        """Count computation that was recorded."""
        self.useful_s += seconds

    def add_vain(self, seconds: float, px_per_s: float) -> None:
        """Count computation that was not."""
        self.vain_s += seconds
        self.vain_px += seconds * px_per_s
