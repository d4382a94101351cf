"""How alike two sets of photos are degraded, though they show different things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from sdflow.errors import UsageError
from sdflow.evaluation.libraries import library
from sdflow.evaluation.noise_spectrum import FREQUENCIES, noise_spectrum
from sdflow.evaluation.patch_features import FEATURES, patch_features
from sdflow.evaluation.planes import Floats, levels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdflow.evaluation.planes import Image

__all__ = ["FEATURES", "FREQUENCIES", "Degradation", "DegradationDistance", "compare", "describe"]

_LEAST_DEVIATION = 0.01  # of a feature that is the same in all real photos, as colour is in grey


@dataclass(frozen=True, eq=False, slots=True)
class Degradation:
    """What is kept of a set of photos.

    Attributes:
        spectrum_db: (3, 14), the mean of ``noise_spectrum`` over images, at ``FREQUENCIES``.
        features: (patches, 18), in the order of ``FEATURES``.
        num_images: Photos in the set.
    """

    spectrum_db: Floats
    features: Floats
    num_images: int


@dataclass(frozen=True, eq=False, slots=True)
class DegradationDistance:
    """How far a set is from the real one; all are at least 0, and the lower, the closer.

    None is 0 between two halves of one set: measure that as the floor.

    Attributes:
        noise_db: Root mean square difference of the mean noise spectra.
        features: Wasserstein-1 distance of every feature, in standard deviations of the real set.
        patch: The mean of ``features``.
        frechet: Fréchet distance of the features, squared as in FID, in the same units.
        num_patches: Of each set; equally many, since the distances shrink as they grow.
    """

    noise_db: float
    features: Mapping[str, float]
    patch: float
    frechet: float
    num_patches: int


def describe(images: Iterable[Image]) -> Degradation:
    """Measure a set of photos, one at a time.

    Args:
        images: Of at least 32 px; smaller ones say nothing.

    Raises:
        UsageError: There is none with a patch to measure, or scipy is missing.
    """
    spectra, features, num_images = [], [], 0
    for image in images:
        rgb = levels(image)
        num_images += 1
        features.append(patch_features(rgb))
        if (spectrum := noise_spectrum(rgb)) is not None:
            spectra.append(spectrum)
    if not spectra or sum(map(len, features)) < 2:
        raise UsageError(f"none of {num_images} images has patches of 32 px that are not flat")
    return Degradation(np.mean(spectra, axis=0), np.concatenate(features), num_images)


def compare(generated: Degradation, real: Degradation) -> DegradationDistance:
    """Measure how far a set is from the real one.

    Of the larger set, patches are drawn (always the same ones), so that both have as many.

    Args:
        generated: What was made.
        real: What it should look like; its deviations are the units.

    Raises:
        UsageError: scipy is missing.
    """
    num_patches = min(len(generated.features), len(real.features))
    scale = np.maximum(real.features.std(axis=0), _LEAST_DEVIATION)
    one, other = (_drawn(each.features, num_patches) / scale for each in (generated, real))
    wasserstein = library("scipy.stats").wasserstein_distance
    distances = {
        name: float(wasserstein(one[:, column], other[:, column]))
        for column, name in enumerate(FEATURES)
    }
    return DegradationDistance(
        noise_db=float(np.sqrt(np.mean((generated.spectrum_db - real.spectrum_db) ** 2))),
        features=MappingProxyType(distances),
        patch=float(np.mean(list(distances.values()))),
        frechet=frechet(one, other),
        num_patches=num_patches,
    )


def frechet(one: Floats, other: Floats) -> float:
    """Fréchet distance between Gaussians fitted to two sets of features, squared.

    Heusel et al., GANs trained by a two time-scale update rule, 2017, eq. 6. The trace of the
    root of C1 C2 is that of the root of the symmetric product A C2 A with A A = C1, whose
    eigenvalues are real and at least 0 even where features depend on each other.

    Args:
        one: (patches, features), at least two patches.
        other: (patches, features).

    Returns:
        In squared units of the features, at least 0.
    """
    first, second = (np.cov(features, rowvar=False) for features in (one, other))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    apart = np.sum((one.mean(axis=0) - other.mean(axis=0)) ** 2)
    return max(float(apart + np.trace(first) + np.trace(second) - 2 * shared), 0.0)


def _drawn(features: Floats, num_patches: int) -> Floats:
    if len(features) == num_patches:
        return features
    order = np.random.default_rng(0).permutation(len(features))
    return features[np.sort(order[:num_patches])]
