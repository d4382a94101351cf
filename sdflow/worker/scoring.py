"""Which tile counts which part of an image's likelihood, so that none counts twice. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdflow.geometry import Region

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sdflow.tiling.grid import Span
    from sdflow.worker.planning import Plan


def plan_counted(plan: Plan) -> Iterator[Region | None]:
    """What every tile counts, in the grid's order, on the LR grid; None where that is nothing.

    It is the tile's core, without what the next one shares with it where neighbours are blended,
    and without what is no part of the result: padding, or another part's. All of it together is the
    result, each pixel once.

    Args:
        plan: Of a photo that is made smaller: its result lies on the LR grid.
    """
    for y, bottom in _owned(plan.grid.rows):
        for x, right in _owned(plan.grid.columns):
            yield Region(y, x, bottom - y, right - x).intersection(plan.result)


def sum_cells(values: NDArray[np.float64], counted: Region | None, window: Region) -> float:
    """Sum of what 2x2 cells of LR pixels have, in an order that depends on the region alone.

    Args:
        values: Of all cells of a window, (window.height / 2, window.width / 2).
        counted: The pixels whose cells count, from an even corner on; a cell that is cut by the
            image's border counts whole.
        window: Where ``values`` lies, on the LR grid; its corner is even.
    """
    if counted is None:
        return 0.0
    here, size = counted.relative_to(window), counted.size.divided(2)
    cells = Region(here.y // 2, here.x // 2, size.height, size.width)
    return float(np.ascontiguousarray(values[cells.slices]).sum())


def _owned(spans: tuple[Span, ...]) -> Iterator[tuple[int, int]]:
    """First pixel that belongs to a span and to none before it, and the next span's."""
    starts = [span.core_start for span in spans]
    return zip(starts, [*starts[1:], spans[-1].core_stop], strict=True)
