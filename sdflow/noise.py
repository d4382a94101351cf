"""Gaussian noise that belongs to positions, not to tiles.

Every value is a function of (seed, key, sample, channel, y, x) alone, so any window of an image's
noise can be made anywhere, in any order, and overlapping tiles agree. The uniform bits come from
Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), a counter
based generator; they become normal deviates through Wichura's PPND7 (Algorithm AS 241, Applied
Statistics 37, 1988). Only operations that IEEE 754 rounds exactly are used, and never inside one
fused kernel, so that CPU and GPU give the same bits.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from sdflow.geometry import Region

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LANES = 4  # values that one counter gives
_CACHED_PX = 1 << 15  # keeps the intermediate tensors inside a processor's cache


@dataclass(frozen=True, slots=True)
class NoiseKey:
    """Whose noise it is.

    Attributes:
        seed: Seed of the job, any whole number.
        key: Source key relative to the job's prefix.
        sample: 0-based number of the output drawn for that image.
    """

    seed: int
    key: str
    sample: int

    def words(self, purpose: str) -> tuple[int, int]:
        """Two 32-bit words, independent for every purpose."""
        text = f"{purpose}\0{self.seed}\0{self.sample}\0{self.key}"
        digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


def component(owner: NoiseKey, num_components: int) -> int:
    """The degradation component of one image and sample, uniform over ``num_components``."""
    low, high = owner.words("component")
    return ((high << 32) | low) % num_components


def uniform(owner: NoiseKey, purpose: str) -> float:
    """A number in [0, 1) of one image and sample, independent for every purpose."""
    low, high = owner.words(purpose)
    return (((high << 32) | low) >> 11) * 2.0**-53  # as many bits as a float64 has


def gaussian_field(
    owner: NoiseKey, region: Region, channels: int, *, device: torch.device | str = "cpu"
) -> Tensor:
    """A window of an image's standard normal noise.

    Args:
        owner: Whose noise.
        region: Window on the latent grid; coordinates from 0 to 2^32 - 1.
        channels: Number of channels.
        device: Where the noise shall be made.

    Returns:
        Float32 tensor (channels, region.height, region.width), N(0, 1), |value| < 6.4.
    """
    out = torch.empty((channels, region.height, region.width), device=device)
    # A GPU takes longer to start a kernel than to run one over a few rows.
    on_cpu = out.device.type == "cpu"
    rows = max(1, _CACHED_PX // max(1, region.width) if on_cpu else region.height)
    key = owner.words("gaussian")
    for first in range(0, channels, _LANES):
        for top in range(0, region.height, rows):
            bottom = min(top + rows, region.height)
            band = Region(region.y + top, region.x, bottom - top, region.width)
            for lane, bits in enumerate(_philox(key, band, first // _LANES, device)):
                if first + lane < channels:
                    out[first + lane, top:bottom] = _normal(bits)
    return out


def _philox(
    key: tuple[int, int], region: Region, block: int, device: torch.device | str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10 of counters (x, y, block, 0): four int64 tensors of 32-bit words (H, W)."""
    x = torch.arange(region.x, region.right, dtype=torch.int64, device=device)
    y = torch.arange(region.y, region.bottom, dtype=torch.int64, device=device)
    c0, c1 = x.expand(region.height, -1), y[:, None].expand(-1, region.width)
    c2, c3 = torch.full_like(x, block).expand_as(c0), torch.zeros_like(x).expand_as(c0)
    k0, k1 = key
    for _ in range(_ROUNDS):
        # An int64 product wraps modulo 2^64, so its bit pattern is that of the unsigned product.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0 = ((p1 >> 32) & _WORD) ^ c1 ^ k0
        c2 = ((p0 >> 32) & _WORD) ^ c3 ^ k1
        c1, c3 = p1 & _WORD, p0 & _WORD
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return c0, c1, c2, c3


def _normal(bits: Tensor) -> Tensor:
    """Uniform 32-bit words to standard normal deviates by AS 241 PPND7, in float64."""
    p = (bits.double() + 0.5) * 2.0**-32
    q = p - 0.5
    r = 0.180625 - q * q
    central = q * _polynomial(r, _CENTRAL_NUMERATOR) / _polynomial(r, _CENTRAL_DENOMINATOR)
    r = (-_log(torch.minimum(p, 1.0 - p))).sqrt() - 1.6
    tail = _polynomial(r, _TAIL_NUMERATOR) / _polynomial(r, _TAIL_DENOMINATOR)
    return torch.where(q.abs() <= 0.425, central, torch.where(q < 0, -tail, tail)).float()


def _log(x: Tensor) -> Tensor:
    """Natural logarithm to 1e-10, relative, from exactly rounded operations alone.

    A library's logarithm may differ in the last bit between a vector loop and its remainder, and
    between devices. Here x = m 2^e with m in [0.7, 1.4], and log m = 2 artanh((m - 1) / (m + 1)).
    """
    mantissa, exponent = torch.frexp(x)
    low = mantissa < 0.7071067811865476
    mantissa = torch.where(low, mantissa * 2.0, mantissa)
    exponent = exponent - low.to(exponent.dtype)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    return 2.0 * s * _polynomial(s * s, _ARTANH) + exponent.double() * 0.6931471805599453


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Horner's rule, highest power first."""
    value = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


_CENTRAL_NUMERATOR = (59.109374720, 159.29113202, 50.434271938, 3.3871327179)
_CENTRAL_DENOMINATOR = (67.187563600, 78.757757664, 17.895169469, 1.0)
_TAIL_NUMERATOR = (0.17023821103, 1.3067284816, 2.7568153900, 1.4234372777)
_TAIL_DENOMINATOR = (0.12021132975, 0.73700164250, 1.0)
_ARTANH = (1 / 15, 1 / 13, 1 / 11, 1 / 9, 1 / 7, 1 / 5, 1 / 3, 1.0)
