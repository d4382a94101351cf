"""Runs whose pairs are published in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdflow.driver.night import Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdflow.work.ledger import LedgerLine
    from sdflow.work.parameters import PixelParameters


def run_of(
    parameters: PixelParameters,
    shard_bytes: int = 10**9,
    *,
    check: Callable[[], None] = lambda: None,
    forget: Callable[[LedgerLine], None] = lambda line: None,
) -> Run:
    """A run that has drawn one image in a second."""
    return Run(
        parameters=parameters,
        check=check,
        forget=forget,
        source="memory:",
        shard_bytes=shard_bytes,
        failed=0,
        done=1,
        seconds=1.0,
        mp_per_s=1.0,
        gpu_hours=0.0,
        worker_seconds={},
    )
