"""What an evaluation has found: a table's content, and the JSON of it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sdflow.evaluation.intervals import Interval, mean_interval, paired_difference
from sdflow.evaluation.measures import MEASURES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdflow.evaluation.upscaling import ImageScores

_BASELINE = "bicubic"


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured.

    Attributes:
        scores: Means with their intervals of 95 %, by method and measure.
        over_bicubic: Differences to bicubic's, image by image, likewise.
        bits: Bits per dimension by what they are of: ``hr``, ``lr``.
        num_images: How many were measured.
        images: Of each image, where measures are of images.
        num_real: Real images that sets were compared with.
    """

    scores: Mapping[str, Mapping[str, Interval]]
    over_bicubic: Mapping[str, Mapping[str, Interval]]
    bits: Mapping[str, Interval]
    num_images: int
    images: Sequence[ImageScores] = ()
    num_real: int = 0


def summarised(images: Sequence[ImageScores]) -> Result:
    """Give means over images.

    Args:
        images: At least one; all have the same methods.

    Raises:
        UsageError: scipy is missing.
    """
    methods = images[0].scores
    columns = {
        method: {
            name: [image.scores[method].get(name, math.nan) for image in images]
            for name in MEASURES
            if any(name in image.scores[method] for image in images)
        }
        for method in methods
    }
    scores = {
        method: {name: mean_interval(values) for name, values in measured.items()}
        for method, measured in columns.items()
    }
    baseline = columns[_BASELINE]
    over = {
        method: {
            name: paired_difference(values, baseline[name])
            for name, values in measured.items()
            if name in baseline
        }
        for method, measured in columns.items()
        if method != _BASELINE
    }
    kinds = dict.fromkeys(kind for image in images for kind in image.bits)
    bits = {
        kind: mean_interval([image.bits.get(kind, math.nan) for image in images]) for kind in kinds
    }
    return Result(scores, over, bits, len(images), images)


def to_json(result: Result, facts: Mapping[str, Any]) -> str:
    """Everything, with the facts of the run first. What has no value, or no finite one, is null.

    Args:
        result: What was measured.
        facts: What JSON takes.
    """
    content = {
        **facts,
        "num_images": result.num_images,
        "num_real": result.num_real,
        "measures": {
            name: {"label": one.label, "unit": one.unit, "better": one.better}
            for name, one in MEASURES.items()
            if any(name in scores for scores in result.scores.values())
        },
        "confidence": 0.95,
        "methods": {
            method: {
                "scores": _intervals(scores),
                "over_bicubic": _intervals(result.over_bicubic.get(method, {})),
            }
            for method, scores in result.scores.items()
        },
        "bits_per_dimension": _intervals(result.bits),
        "images": [
            {
                "key": image.key,
                "height": image.height,
                "width": image.width,
                "scores": image.scores,
                "bits_per_dimension": image.bits,
            }
            for image in result.images
        ],
    }
    return json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _intervals(scores: Mapping[str, Interval]) -> dict[str, Any]:
    return {name: asdict(interval) for name, interval in scores.items()}


def _finite(value: Any) -> Any:  # noqa: ANN401  # whatever JSON takes
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
