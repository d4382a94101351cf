"""A result as a table in Markdown that can be read on a terminal: a column for every method."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sdflow.evaluation.measures import MEASURES, Measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdflow.evaluation.intervals import Interval
    from sdflow.evaluation.result import Result

_ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}
_BITS = Measure("bits per dimension", "", "lower", 2)


def score_table(result: Result) -> str:
    """Means with half of their interval of 95 %, ``28.43 ± 4.68``.

    An arrow says which values are better. Measures that no method has are left out. Where some
    images are too small for a measure, the number of the others follows in brackets.
    """
    methods = list(result.scores)
    rows = [["", *methods]]
    for name, measure in MEASURES.items():
        scores = [result.scores[method].get(name) for method in methods]
        if not any(score and score.num for score in scores):
            continue
        unit = f", {measure.unit}" if measure.unit else ""
        label = f"{measure.label}{unit}{_ARROWS[measure.better]}"
        num = result.num_images
        rows.append([label, *(_shown(score, measure, num) for score in scores)])
        gains = [result.over_bicubic.get(method, {}).get(name) for method in methods]
        if measure.compared and any(gain and gain.num for gain in gains):
            signed = (_shown(gain, measure, num, sign="+") for gain in gains)
            rows.append([f"{measure.label} over bicubic", *signed])
    return "\n".join(_aligned(rows))


def bits_line(result: Result) -> str:
    """Bits per dimension of the photos; "" where they were not measured."""
    found = [
        f"{_shown(result.bits[kind], _BITS, result.bits[kind].num)} for {photos}"
        for kind, photos in (("hr", "full-size photos"), ("lr", "small photos"))
        if kind in result.bits and result.bits[kind].num
    ]
    return f"bits per dimension: {', '.join(found)}" if found else ""


def count_line(result: Result) -> str:
    """How many images the table is of, and how to read it."""
    plural = "" if result.num_images == 1 else "s"
    real = f", {result.num_real} real ones" if result.num_real else ""
    return f"{result.num_images} image{plural}{real}; ± is half of a 95 % interval"


def _shown(interval: Interval | None, measure: Measure, num: int, *, sign: str = "") -> str:
    if interval is None or not interval.num:
        return ""
    text = f"{interval.mean:{sign}.{measure.digits}f}"
    if not math.isnan(interval.low):
        text += f" ± {interval.high - interval.mean:.{measure.digits}f}"
    return f"{text} ({interval.num})" if interval.num < num else text


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of Markdown; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| "
        + " | ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in rows
    ]
    rule = "|".join(
        "-" * (width + 1) + (":" if number else "-") for number, width in enumerate(widths)
    )
    return [lines[0], f"|{rule}|", *lines[1:]]
