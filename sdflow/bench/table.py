"""Measurements as tables in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdflow.bench.measure import Row
    from sdflow.bench.tiles import TileRow

_HEAD = (
    "| case | form | LR px/s | source MP/s | GFLOP/s | of roofline | against plain | peak MB | dB |"
)


def case_table(rows: Sequence[Row]) -> str:
    """Every form of every case, a line each."""
    lines = [_HEAD, "|---|---|--:|--:|--:|--:|--:|--:|--:|"]
    for row in rows:
        speedup = f"{row.speedup:.2f}x" if row.speedup else ""
        memory = f"{row.peak_bytes / 1e6:,.0f}" if row.peak_bytes else ""
        quality = f"{row.psnr_db:.1f}" if row.psnr_db else ""
        lines.append(
            f"| {row.case} | {row.form} | {row.px_per_s:,.0f} | {row.source_mp_per_s:.4f} | "
            f"{row.gflop_per_s:,.0f} | {row.roofline:.0%} | {speedup} | {memory} | {quality} |"
        )
    return "\n".join(lines)


def sample_line(rows: Sequence[Row]) -> str:
    """What several samples of an image cost against one, for every form that ran both."""
    one = {row.form: row.seconds for row in rows if row.samples == 1}
    several = [row for row in rows if row.samples > 1 and row.form in one]
    return "; ".join(
        f"{row.samples} samples cost {row.seconds / one[row.form]:.2f} x one ({row.form})"
        for row in several
    )


def step_table(rows: Sequence[Row]) -> str:
    """What each step brought: a line for each form, a pair of columns for each case."""
    cases = list(dict.fromkeys(row.case for row in rows))
    lines = ["| form |" + "".join(f" {case}, LR px/s | against plain |" for case in cases)]
    lines.append("|---|" + "--:|--:|" * len(cases))
    for form in dict.fromkeys(row.form for row in rows):
        cells = [
            f" {row.px_per_s:,.0f} | {row.speedup or 0:.2f}x |" for row in rows if row.form == form
        ]
        lines.append(f"| {form} |" + "".join(cells))
    return "\n".join(lines)


def tile_table(rows: Sequence[TileRow]) -> str:
    """What every tile yields, its halo included, and whether it shows."""
    lines = [
        "| direction | form | tile | halo | overhead | LR px/s computed | LR px/s used | seam |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row.task} | {row.precision} | {row.tile} | {row.halo} | {row.overhead:.2f} | "
        f"{row.computed_px_per_s:,.0f} | {row.px_per_s:,.0f} | {row.seam} |"
        for row in rows
    ]
    return "\n".join(lines)
