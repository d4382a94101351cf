"""What is simulated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scenario:
    """An archive, a cluster, and their misfortunes.

    Attributes:
        images: In the archive.
        workers: That do them.
        loss_per_hour: Share of the workers that die in an hour; half of them with their node.
        poison: Share of images that kill whoever computes them.
        mp_per_s: Speed of a worker; one in a hundred is three times slower.
        median_mp: Median size of an image.
        seed: Chooses the archive and the accidents.
    """

    images: int = 1_000_000
    workers: int = 10_000
    loss_per_hour: float = 0.01
    poison: float = 0.001
    mp_per_s: float = 8.0
    median_mp: float = 8.0
    seed: int = 0
