"""The noise of a photo by frequency, where the photo itself shows least."""

from __future__ import annotations

import numpy as np

from sdflow.evaluation.libraries import library
from sdflow.evaluation.natural import tiled
from sdflow.evaluation.planes import PEAK, YCBCR, Floats, mixed

PATCH_PX = 32
_FLATTEST = 8  # patches of an image
_SIGMA_PX = 2.0  # of the low-pass: below 1/16 cycle per px little noise is left
_CLIPPED_SHARE = 0.02  # of a patch's values; more, and its noise is cut off
_ROUNDING = 1 / 12  # variance of 8 bits' own noise, so that flat patches have a level too

_EDGES = np.arange(2, PATCH_PX // 2 + 1) / PATCH_PX
FREQUENCIES: Floats = (_EDGES[:-1] + _EDGES[1:]) / 2
"""(14,) cycles per px: the middles of rings as wide as the patches resolve."""


def noise_spectrum(rgb: Floats) -> Floats | None:
    """Give the mean power of the noise in rings of frequency, over an image's flattest patches.

    The noise is what a Gaussian of 2 px takes away. Patches are chosen by what it leaves, so that
    much noise does not count as structure; those with clipped values are passed over.

    Args:
        rgb: (H, W, 3), 8-bit levels.

    Returns:
        (3, 14) dB of Y, Cb and Cr, where white noise of a variance of one level squared is 0 dB
        (but for what the low-pass keeps of it, and 1/12 of rounding added); None where there is
        no patch.
    """
    planes = mixed(rgb, YCBCR)
    smooth = library("scipy.ndimage").gaussian_filter(planes, (0, _SIGMA_PX, _SIGMA_PX))
    clipped = tiled(((rgb <= 0) | (rgb >= PEAK)).mean(axis=2), PATCH_PX).mean(axis=(1, 2))
    structure = tiled(smooth[0], PATCH_PX).std(axis=(1, 2))
    usable = np.flatnonzero(clipped <= _CLIPPED_SHARE)
    if not usable.size:
        return None
    flattest = usable[np.argsort(structure[usable], kind="stable")[:_FLATTEST]]
    powers = [_ring_power(tiled(plane, PATCH_PX)[flattest]) for plane in planes - smooth]
    decibels: Floats = 10 * np.log10(np.array(powers) + _ROUNDING)
    return decibels


def _ring_power(patches: Floats) -> Floats:
    """(14,) mean periodogram per px of (patches, 32, 32), with a Hann window."""
    hann = np.hanning(PATCH_PX + 1)[:-1]
    window = np.outer(hann, hann)
    spectra = np.abs(np.fft.fft2(patches * window)) ** 2 / np.sum(window**2)
    along = np.fft.fftfreq(PATCH_PX)
    ring = np.digitize(np.hypot(*np.meshgrid(along, along)), _EDGES) - 1
    mean = spectra.mean(axis=0)
    return np.array([mean[ring == number].mean() for number in range(len(FREQUENCIES))])
