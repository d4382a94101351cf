"""What the chunks of a PNG say of its colours (PNG specification, third edition, 11.3.2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SRGB_CODE_POINTS = bytes((1, 13, 0, 1))  # of ITU-T H.273: primaries, curve, no matrix, full range
_SRGB_GAMMA, _GAMMA_TOLERANCE = (45_455,), 500
# White, red, green and blue, x and y each.
_SRGB_PRIMARIES = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
_PRIMARY_TOLERANCE = 500


def says_srgb(chunks: Iterable[tuple[bytes, bytes]], *, has_profile: bool) -> bool:
    """Whether the chunks say no more than what is taken for granted where there are none.

    Args:
        chunks: Names and contents (``Metadata.png_colour``).
        has_profile: Whether an ICC profile goes along: it stands above all but ``cICP``.
    """
    found = dict(chunks)
    if b"cICP" in found:
        return found[b"cICP"] == _SRGB_CODE_POINTS
    if has_profile or b"sRGB" in found:
        return True
    return (
        _is_near(found, b"gAMA", _SRGB_GAMMA, _GAMMA_TOLERANCE)
        and _is_near(found, b"cHRM", _SRGB_PRIMARIES, _PRIMARY_TOLERANCE)
        and not found.keys() & {b"mDCV", b"cLLI"}
    )


def _is_near(
    found: Mapping[bytes, bytes], name: bytes, expected: tuple[int, ...], tolerance: int
) -> bool:
    """Whether a chunk is missing or holds such numbers, in units of 1 / 100,000."""
    body = found.get(name)
    if body is None:
        return True
    if len(body) != 4 * len(expected):
        return False
    numbers = struct.unpack(f">{len(expected)}I", body)
    return all(abs(a - b) <= tolerance for a, b in zip(numbers, expected, strict=True))
