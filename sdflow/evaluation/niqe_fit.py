"""Parameters of NIQE from clean photos (``python -m jobs.fit_niqe``).

The file in the package was fitted to 434 crops of 448 px of photos made half as large, under CC0,
the public domain, or the licences of Unsplash and Pexels, from the backgrounds of Budgie and
elementary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdflow.errors import UsageError
from sdflow.evaluation.niqe import NiqeModel, patch_statistics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdflow.evaluation.planes import Floats, Image

_SHARP = 0.75  # of the sharpest patch of a photo


def fit(images: Iterable[Image]) -> NiqeModel:
    """Fit the Gaussian to the patches of every photo that are nearly as sharp as its sharpest.

    Args:
        images: Clean photos with at least one patch of 96 px; read one at a time.

    Raises:
        UsageError: There are fewer patches than a covariance needs, or scipy is missing.
    """
    kept = [_sharp_patches(image) for image in images]
    features = np.concatenate(kept) if kept else np.empty((0, 0))
    num_patches, size = features.shape
    if num_patches <= size or not size:
        raise UsageError(
            f"NIQE is fitted to more sharp patches than these {num_patches}: give more photos"
        )
    return NiqeModel(features.mean(axis=0), np.cov(features, rowvar=False), len(kept), num_patches)


def _sharp_patches(image: Image) -> Floats:
    features, sharpness = patch_statistics(image)
    sharp = sharpness > _SHARP * sharpness.max(initial=0)
    kept: Floats = features[sharp & np.isfinite(features).all(axis=1)]
    return kept
