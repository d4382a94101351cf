"""One image upscaled in every way, and measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sdflow.evaluation import fidelity, niqe, samples
from sdflow.evaluation.pairs import enlarge, shrink
from sdflow.evaluation.perceptual import haarpsi

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdflow.evaluation.likelihood import Likelihood
    from sdflow.evaluation.lpips import Lpips
    from sdflow.evaluation.niqe import NiqeModel
    from sdflow.evaluation.pairs import Pair
    from sdflow.evaluation.sampler import Sampler
    from sdflow.images.color import Resample
    from sdflow.images.formats import Pixels

TRUTH = "truth"


@dataclass(frozen=True, slots=True)
class Instruments:
    """What measures with parameters of its own.

    Attributes:
        niqe: Of clean photos.
        lpips: None where its files were not given.
    """

    niqe: NiqeModel
    lpips: Lpips | None = None


@dataclass(frozen=True, slots=True)
class ImageScores:
    """What was measured of one image.

    Attributes:
        key: Of the source.
        height: Of the source, as it went in.
        width: Likewise.
        scores: Values by method and measure; NaN where an image is too small for one.
        bits: Bits per dimension of the photos themselves: ``hr`` of the truth, ``lr`` of the
            source.
        pictures: Pixels by method, for a contact sheet: the first two results at most, and
            none of Lanczos.
    """

    key: str
    height: int
    width: int
    scores: Mapping[str, Mapping[str, float]]
    bits: Mapping[str, float] = field(default_factory=dict)
    pictures: Mapping[str, tuple[Pixels, ...]] = field(default_factory=dict)


def method_name(tau: float) -> str:
    """What results of the network at a temperature are called."""
    return f"tau {tau:g}"


def measure_upscaling(
    pair: Pair,
    instruments: Instruments,
    *,
    sampler: Sampler | None = None,
    likelihood: Likelihood | None = None,
) -> ImageScores:
    """Upscale an image by interpolation and by the network, and measure all results.

    Values of a temperature are means over its samples.

    Args:
        pair: The image, and what it should become, if that is known.
        instruments: What to measure with.
        sampler: The network; None for interpolation alone.
        likelihood: Of the same network.

    Raises:
        ImageError: The network gave no numbers.
        OutOfMemoryError: The network does not fit.
        UsageError: scipy or scikit-image is missing.
    """
    baselines: dict[Resample, Pixels] = {
        "bicubic": enlarge(pair.lr, "bicubic"),
        "lanczos": enlarge(pair.lr, "lanczos"),
    }
    scores: dict[str, dict[str, float]] = {
        name: _of_image(image, pair, instruments) for name, image in baselines.items()
    }
    pictures: dict[str, tuple[Pixels, ...]] = {"bicubic": (baselines["bicubic"],)}
    if sampler is not None:
        for tau in sampler.taus:
            drawn = sampler.draw("upscale", pair.key, pair.lr, tau)
            pictures[method_name(tau)] = tuple(drawn[:2])
            scores[method_name(tau)] = _of_samples(drawn, pair, instruments, sampler)
    bits: dict[str, float] = {}
    if pair.truth is not None:
        scores[TRUTH] = {"niqe": niqe.score(pair.truth, instruments.niqe)}
        pictures[TRUTH] = (pair.truth,)
    if likelihood is not None:
        bits["lr"] = likelihood.lr_bits(pair.lr, pair.key)
        if pair.truth is not None:
            bits["hr"] = likelihood.hr_bits(pair.truth, pair.key)
    height, width = pair.lr.shape[:2]
    return ImageScores(pair.key, height, width, scores, bits, pictures)


def _of_image(image: Pixels, pair: Pair, instruments: Instruments) -> dict[str, float]:
    values = {
        "niqe": niqe.score(image, instruments.niqe),
        "lr_psnr": fidelity.consistency(shrink(image, "bicubic"), pair.lr),
    }
    truth = pair.truth
    if truth is None:
        return values
    image = _fitted(image, truth)
    values |= {
        "psnr_y": fidelity.psnr(image, truth),
        "ssim_y": fidelity.ssim(image, truth),
        "psnr_rgb": fidelity.psnr(image, truth, channel="rgb"),
        "ssim_rgb": fidelity.ssim(image, truth, channel="rgb"),
        "ms_ssim_y": fidelity.ms_ssim(image, truth),
        "haarpsi": haarpsi(image, truth),
    }
    if instruments.lpips is not None:
        values["lpips"] = instruments.lpips.distance(image, truth)
    return values


def _of_samples(
    drawn: list[Pixels], pair: Pair, instruments: Instruments, sampler: Sampler
) -> dict[str, float]:
    each = [_of_image(image, pair, instruments) for image in drawn]
    values = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
    if sampler.goes_down:  # the first sample alone: going back costs as much as a sample does
        (back,) = sampler.draw("downscale", pair.key, drawn[0], 0.0)
        values["lr_psnr_own"] = fidelity.consistency(back, pair.lr)
    if len(drawn) > 1:
        values["diversity"] = samples.diversity(drawn)
        if pair.truth is not None:
            fitted = [_fitted(image, pair.truth) for image in drawn]
            values["mean_gain"] = samples.mean_gain(fitted, pair.truth)
    return values


def _fitted(image: Pixels, truth: Pixels) -> Pixels:
    """The part of a result that there is a truth for."""
    height, width = truth.shape[:2]
    return image[:height, :width]
