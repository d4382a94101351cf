"""NIQE: how far an image's statistics are from those of clean photos, without a reference.

Mittal, Soundararajan, Bovik: Making a "completely blind" image quality analyzer, IEEE Signal
Processing Letters 20(3), 2013. Scores of other parameters than one's own never compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from sdflow.errors import WeightsError
from sdflow.evaluation.natural import NUM_FEATURES, normalise_contrast, scene_features, tiled
from sdflow.evaluation.planes import GREY, Floats, Image, levels, mixed

PATCH_PX = 96
_SCALES = (1, 2)
_SIZE = NUM_FEATURES * len(_SCALES)
_SHIPPED = Path(__file__).with_name("niqe.safetensors")


@dataclass(frozen=True, eq=False, slots=True)
class NiqeModel:
    """A Gaussian over the features of patches of clean photos.

    Attributes:
        mean: (36,) float64.
        covariance: (36, 36) float64.
        num_images: Photos it was fitted to.
        num_patches: Their sharp patches.
    """

    mean: Floats
    covariance: Floats
    num_images: int
    num_patches: int


def score(image: Image, model: NiqeModel) -> float:
    """Give NIQE (eq. 10): the lower, the more natural.

    Args:
        image: At least two patches of 96 px; what does not fill a patch is left out.
        model: Of clean photos.

    Returns:
        At least 0; NaN where fewer than two patches have features.

    Raises:
        UsageError: scipy is missing.
    """
    features, _ = patch_statistics(image)
    features = features[np.isfinite(features).all(axis=1)]
    if len(features) < 2:
        return float("nan")
    away = features.mean(axis=0) - model.mean
    covariance = (np.cov(features, rowvar=False) + model.covariance) / 2
    return float(np.sqrt(away @ np.linalg.pinv(covariance, hermitian=True) @ away))


def patch_statistics(image: Image) -> tuple[Floats, Floats]:
    """Give features of patches of 96 px, and how sharp these are.

    Args:
        image: Any size.

    Returns:
        (patches, 36): 18 features at the full and 18 at half the size; NaN where there are none.
        (patches,): the mean local standard deviation, in levels.
    """
    grey = mixed(levels(image), GREY)[0]
    height, width = (side - side % PATCH_PX for side in grey.shape)
    if not height or not width:
        return np.empty((0, _SIZE)), np.empty(0)
    plane = grey[:height, :width]
    features = []
    sharpness = np.empty(0)
    for scale in _SCALES:
        coefficients, deviation = normalise_contrast(_reduced(plane, scale))
        features.append(scene_features(tiled(coefficients, PATCH_PX // scale)))
        if scale == 1:
            sharpness = tiled(deviation, PATCH_PX).mean(axis=(1, 2))
    return np.concatenate(features, axis=1), sharpness


def save(model: NiqeModel, path: Path) -> None:
    """Write a model as safetensors."""
    from safetensors.numpy import save_file

    counts = np.array((model.num_images, model.num_patches))
    arrays = {"mean": model.mean, "covariance": model.covariance, "counts": counts}
    save_file(arrays, path, metadata={"format": "sdflow-niqe-1"})


def load(path: Path) -> NiqeModel:
    """Read what ``save`` wrote.

    Raises:
        WeightsError: The file is missing, damaged or something else.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: missing, or no safetensors file", item=str(path)) from error
    shapes = {name: array.shape for name, array in arrays.items()}
    if shapes != {"mean": (_SIZE,), "covariance": (_SIZE, _SIZE), "counts": (2,)}:
        raise WeightsError(f"{path}: not the parameters of NIQE", item=str(path))
    for array in arrays.values():
        array.flags.writeable = False
    num_images, num_patches = map(int, arrays["counts"])
    return NiqeModel(arrays["mean"], arrays["covariance"], num_images, num_patches)


@cache
def default_model() -> NiqeModel:
    """The model in the package: of 434 clean photos under free licences (see ``niqe_fit``)."""
    return load(_SHIPPED)


def _reduced(plane: Floats, scale: int) -> Floats:
    """Bicubic with a kernel as wide as the step is; values are neither rounded nor clipped."""
    if scale == 1:
        return plane
    height, width = (side // scale for side in plane.shape)
    image = Pillow.fromarray(plane.astype(np.float32))
    return np.asarray(image.resize((width, height), Pillow.Resampling.BICUBIC), np.float64)
