"""IPTC records where other formats keep them: among Photoshop's image resources."""

from __future__ import annotations

import struct

from sdflow.images.formats import BrokenImageError

_IPTC_RESOURCE = 0x0404


def find_iptc(resources: bytes) -> bytes | None:
    """The IPTC records among image resources, or None; from damage on, nothing is looked at."""
    at = 0
    while resources[at : at + 4] == b"8BIM" and at + 12 <= len(resources):
        (number,) = struct.unpack_from(">H", resources, at + 4)
        size_at = at + 6 + (resources[at + 6] // 2 + 1) * 2  # after a name of an even length
        if size_at + 4 > len(resources):
            return None
        (size,) = struct.unpack_from(">I", resources, size_at)
        if number == _IPTC_RESOURCE:
            return resources[size_at + 4 : size_at + 4 + size] or None
        at = size_at + 4 + size + size % 2
    return None


def from_raw_profile(text: bytes) -> bytes | None:
    """The IPTC records in the text that ImageMagick and ExifTool write into PNG, or None.

    It has a line with a name, one with a length and then hexadecimal digits; raises
    BrokenImageError where there are others.
    """
    _, _, digits = text.lstrip().partition(b"\n")
    _, _, digits = digits.lstrip().partition(b"\n")
    try:
        resources = bytes.fromhex(digits.decode("ascii"))
    except ValueError as error:
        raise BrokenImageError("the IPTC profile has no hexadecimal digits") from error
    return find_iptc(resources) if resources.startswith(b"8BIM") else resources or None
