"""A whole evaluation: every photo in turn, one in memory at a time, then the summary."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sdflow.errors import ImageError
from sdflow.evaluation import niqe
from sdflow.evaluation.downscaling import described, distances, downscaled
from sdflow.evaluation.intervals import mean_interval
from sdflow.evaluation.pairs import (
    Pair,
    cropped_pair,
    cut_to_cells,
    matched_pair,
    middle,
    references_by_source,
    shrunk_pair,
)
from sdflow.evaluation.photos import LeftOut, Photos, each_measured, find_photos
from sdflow.evaluation.result import Result, summarised
from sdflow.evaluation.sheet import SheetRow, downscaled_row, upscaled_row
from sdflow.evaluation.upscaling import ImageScores, Instruments, measure_upscaling
from sdflow.worker.photo import SCALE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sdflow.evaluation.degradation import Degradation
    from sdflow.evaluation.likelihood import Likelihood
    from sdflow.evaluation.sampler import Sampler
    from sdflow.evaluation.settings import EvaluateSettings
    from sdflow.storage.store import Store

_ANY_PIXELS = 1_000_000_000  # of an image of which the middle alone is measured


@dataclass(frozen=True, eq=False, slots=True)
class Findings:
    """What came of an evaluation.

    Attributes:
        result: What was measured.
        sheet: Rows of the contact sheet.
        left_out: Images that could not be measured.
    """

    result: Result
    sheet: tuple[SheetRow, ...]
    left_out: tuple[LeftOut, ...]


def compare_upscaling(
    settings: EvaluateSettings,
    stores: Mapping[str, Store],
    *,
    sampler: Sampler | None,
    likelihood: Likelihood | None,
) -> Findings:
    """Upscale photos by interpolation and by the network, and measure the results.

    Args:
        settings: Checked ones.
        stores: ``src``, and ``reference`` if there is one.
        sampler: The network; None for interpolation alone.
        likelihood: Of the same network.

    Raises:
        UsageError: There is no photo, or a library is missing.
        ImageError: Not one could be measured.
        StorageError: A store refuses.
        WeightsError: A file of LPIPS is wrong.
    """
    instruments = _instruments(settings)
    photos, read = _pairs(settings, stores)
    left_out: list[LeftOut] = []
    sheet: list[SheetRow] = []

    def measure(key: str) -> ImageScores:
        pair = read(key)
        if settings.crop is not None:
            pair = cropped_pair(pair, settings.crop)
        scores = measure_upscaling(pair, instruments, sampler=sampler, likelihood=likelihood)
        if len(sheet) < settings.sheet:
            sheet.append(upscaled_row(key, pair.lr, scores.pictures, side=settings.sheet_px))
        return replace(scores, pictures={})

    images = list(each_measured(photos, measure, left_out))
    return Findings(summarised(images), tuple(sheet), tuple(left_out))


def compare_downscaling(
    settings: EvaluateSettings,
    stores: Mapping[str, Store],
    *,
    sampler: Sampler | None,
    likelihood: Likelihood | None,
) -> Findings:
    """Downscale photos by interpolation and by the network, and compare with real small photos.

    Args:
        settings: Checked ones.
        stores: ``src`` and ``real_lr``.
        sampler: The network; None for interpolation alone.
        likelihood: Of the same network.

    Raises:
        UsageError: There is no photo in one of the sets, or a library is missing.
        ImageError: Not one could be measured.
        StorageError: A store refuses.
    """
    photos = _found(settings, stores["src"], settings.max_pixels)
    small = find_photos(stores["real_lr"], max_pixels=settings.max_pixels)
    left_out: list[LeftOut] = []
    sheet: list[SheetRow] = []
    bits: dict[str, list[float]] = {"hr": [], "lr": []}

    def measure_real(key: str) -> Degradation:
        pixels = small.read(key)
        degradation = described(key, [pixels])
        if likelihood is not None:
            bits["lr"].append(likelihood.lr_bits(pixels, key))
        return degradation

    def measure(key: str) -> Mapping[str, Degradation]:
        photo = photos.read(key)
        if settings.crop is not None:
            photo = middle(photo, settings.crop, multiple_of=SCALE)
        photo = cut_to_cells(photo)
        results = downscaled(key, photo, sampler)
        if likelihood is not None:
            bits["hr"].append(likelihood.hr_bits(photo, key))
        if len(sheet) < settings.sheet:
            example = small.read(examples[len(sheet) * len(examples) // settings.sheet])
            side = settings.sheet_px
            sheet.append(downscaled_row(key, photo, results.pictures, real=example, side=side))
        return results.degradations

    real = list(each_measured(small, measure_real, left_out))
    unreadable = {one.key for one in left_out}
    examples = [key for key in small.keys if key not in unreadable]
    made = list(each_measured(photos, measure, left_out))
    scores, over_bicubic = distances(
        {method: [one[method] for one in made] for method in made[0]}, real, seed=settings.seed
    )
    known = {kind: mean_interval(values) for kind, values in bits.items() if values}
    result = Result(scores, over_bicubic, known, len(made), num_real=len(real))
    return Findings(result, tuple(sheet), tuple(left_out))


def _found(settings: EvaluateSettings, store: Store, max_pixels: int) -> Photos:
    return find_photos(
        store,
        max_pixels=max_pixels if settings.crop is None else _ANY_PIXELS,
        include=settings.include,
        exclude=settings.exclude,
        limit=settings.limit,
    )


def _pairs(
    settings: EvaluateSettings, stores: Mapping[str, Store]
) -> tuple[Photos, Callable[[str], Pair]]:
    """The sources, and what reads one of them beside its truth."""
    if settings.shrink:
        full_size = _found(settings, stores["src"], settings.max_pixels)
        return full_size, lambda key: shrunk_pair(key, full_size.read(key))
    photos = _found(settings, stores["src"], settings.max_pixels // SCALE**2)
    if "reference" not in stores:
        return photos, lambda key: Pair(key, photos.read(key))
    true_ones = find_photos(stores["reference"], max_pixels=_ANY_PIXELS)
    reference_of = references_by_source(photos.keys, true_ones.keys)

    def read(key: str) -> Pair:
        if key not in reference_of:
            raise ImageError(
                f"{key} has no reference in {true_ones.store.url}: they are named alike, apart "
                "from the extension and an ending like _HR or _LR4",
                item=key,
                code="pair.missing",
            )
        name = reference_of[key]
        return matched_pair(key, photos.read(key), true_ones.read(name), name=name)

    return photos, read


def _instruments(settings: EvaluateSettings) -> Instruments:
    clean = niqe.default_model()
    if settings.lpips_backbone is None or settings.lpips_heads is None:
        return Instruments(clean)
    from sdflow.evaluation.lpips import Lpips

    files = Path(settings.lpips_backbone), Path(settings.lpips_heads)
    return Instruments(clean, Lpips.load(settings.lpips_net, *files))
