"""Photos downscaled in every way, and how far each set is from real small photos.

No result has a truth: the sets show different things, and only how they are degraded compares.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sdflow.errors import ImageError, UsageError
from sdflow.evaluation.degradation import Degradation, compare, describe
from sdflow.evaluation.intervals import Interval
from sdflow.evaluation.pairs import shrink
from sdflow.evaluation.upscaling import method_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.random import Generator

    from sdflow.evaluation.degradation import DegradationDistance
    from sdflow.evaluation.sampler import Sampler
    from sdflow.images.formats import Pixels

FLOOR = "real against real"
DISTANCES = ("noise_db", "patch", "frechet")
_DRAWS = 40
_NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True)
class Small:
    """One photo's results.

    Attributes:
        degradations: By method; of several samples together.
        pictures: Pixels by method, for a contact sheet: the first two at most, none of Lanczos.
    """

    degradations: Mapping[str, Degradation]
    pictures: Mapping[str, tuple[Pixels, ...]] = field(default_factory=dict)


def downscaled(key: str, photo: Pixels, sampler: Sampler | None) -> Small:
    """Make a photo small by interpolation and by the network, and describe all results.

    Args:
        key: Of the photo; part of the noise's identity.
        photo: (H, W, 1 or 3), uint8 or uint16, sides multiples of four.
        sampler: The network; None for interpolation alone.

    Raises:
        ImageError: A result is too small, flat or clipped to be described, or the network gave
            no numbers.
        OutOfMemoryError: The network does not fit.
    """
    results: dict[str, list[Pixels]] = {
        "bicubic": [shrink(photo, "bicubic")],
        "lanczos": [shrink(photo, "lanczos")],
    }
    if sampler is not None:
        for tau in sampler.taus:
            results[method_name(tau)] = sampler.draw("downscale", key, photo, tau)
    return Small(
        {name: described(key, images, made_by=name) for name, images in results.items()},
        {name: tuple(images[:2]) for name, images in results.items() if name != "lanczos"},
    )


def described(key: str, images: Sequence[Pixels], *, made_by: str = "") -> Degradation:
    """Describe a small image, or several that were made of one photo.

    Of several, each gives a share of the patches: distances shrink as patches grow in number, and
    a method must not gain from having been drawn more often.

    Args:
        key: Named in errors.
        images: Small ones.
        made_by: The method, named in errors.

    Raises:
        ImageError: ``featureless``: there is nothing to describe.
    """
    parts = []
    for image in images:
        with suppress(UsageError):  # one of several samples may be flat or clipped
            parts.append(describe([image]))
    if not parts:
        what = f"{key} by {made_by}" if made_by else key
        raise ImageError(
            f"{what} is too small, flat or clipped to see how it is degraded",
            item=key,
            code="featureless",
        )
    return Degradation(
        np.mean([part.spectrum_db for part in parts], axis=0),
        np.concatenate([part.features[first :: len(parts)] for first, part in enumerate(parts)]),
        1,
    )


def distances(
    generated: Mapping[str, Sequence[Degradation]], real: Sequence[Degradation], *, seed: int = 0
) -> tuple[dict[str, dict[str, Interval]], dict[str, dict[str, Interval]]]:
    """Measure how far each method's set is from the real one, and how well that is known.

    The intervals are those of a bootstrap over images of both sets (Efron, Tibshirani 1993,
    eq. 13.3: the distance and 1.96 standard deviations of it over 40 draws). All methods are drawn
    the same images, so that their difference to bicubic is known better than the distances are.
    The method ``FLOOR`` is one half of the real set, every other image, against the other half. It
    is a low one where real images are crops of the same photos.

    Args:
        generated: Photos' descriptions by method, in the same order for all.
        real: Of real photos.
        seed: Of the draws.

    Returns:
        Distances by method and name (``DISTANCES``, and ``feature.…`` for each feature), and
        their differences to bicubic's.

    Raises:
        UsageError: There are fewer than two real photos, or scipy is missing.
    """
    if len(real) < 2:
        raise UsageError("--real-lr needs at least two photos to compare with", item="--real-lr")
    rng = np.random.default_rng(seed)
    scores: dict[str, dict[str, Interval]] = {}
    differences: dict[str, dict[str, Interval]] = {}
    for sets, others in ((generated, real), ({FLOOR: real[::2]}, real[1::2])):
        found = _measured(sets, others)
        draws = [_measured(*_drawn(sets, others, rng)) for _ in range(_DRAWS)]
        num = len(next(iter(sets.values())))
        for method, values in found.items():
            scores[method] = {
                name: _interval(value, [draw[method][name] for draw in draws], num)
                for name, value in values.items()
            }
            if "bicubic" in found and method != "bicubic":
                differences[method] = {
                    name: _interval(
                        value - found["bicubic"][name],
                        [draw[method][name] - draw["bicubic"][name] for draw in draws],
                        num,
                    )
                    for name, value in values.items()
                }
    return scores, differences


def _drawn(
    sets: Mapping[str, Sequence[Degradation]], others: Sequence[Degradation], rng: Generator
) -> tuple[dict[str, list[Degradation]], list[Degradation]]:
    """As many images of both sides, drawn with replacement, the same ones of every method."""
    num = len(next(iter(sets.values())))
    chosen, kept = (rng.integers(count, size=count) for count in (num, len(others)))
    return (
        {name: [parts[index] for index in chosen] for name, parts in sets.items()},
        [others[index] for index in kept],
    )


def _measured(
    sets: Mapping[str, Sequence[Degradation]], others: Sequence[Degradation]
) -> dict[str, dict[str, float]]:
    real = _merged(others)
    return {name: _values(compare(_merged(parts), real)) for name, parts in sets.items()}


def _merged(parts: Sequence[Degradation]) -> Degradation:
    """What ``describe`` says of all images together, from what it says of each."""
    return Degradation(
        np.mean([part.spectrum_db for part in parts], axis=0),
        np.concatenate([part.features for part in parts]),
        len(parts),
    )


def _values(distance: DegradationDistance) -> dict[str, float]:
    values = {name: float(getattr(distance, name)) for name in DISTANCES}
    return values | {f"feature.{name}": value for name, value in distance.features.items()}


def _interval(value: float, draws: Sequence[float], num: int) -> Interval:
    half = _NORMAL_95 * float(np.std(draws, ddof=1)) if num > 1 else np.nan
    return Interval(value, value - half, value + half, num)
