"""The application segments of a JPEG file (JFIF: ITU-T T.871; Adobe: ITU-T T.872; EXIF 3.0)."""

from __future__ import annotations

import struct

from sdflow.images.formats import Metadata
from sdflow.images.iptc import find_iptc

_EXIF_PREFIX = b"Exif\0\0"
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
_ICC_PREFIX = b"ICC_PROFILE\0"
_PHOTOSHOP_PREFIX = b"Photoshop 3.0\0"
_ADOBE, _JFIF = b"Adobe", b"JFIF\0"
_APP0, _APP13, _APP14 = 0xE0, 0xED, 0xEE
_ADOBE_BYTES, _JFIF_BYTES = 12, 14  # shorter ones mean nothing to libjpeg
_TRANSFORMS = {3: (0, 1), 4: (0, 2)}  # by components: RGB or YCbCr, CMYK or YCCK
_CLEAN_JFIF = struct.pack(">HH5sHBHHBB", 0xFFE0, 16, _JFIF, 0x0102, 0, 1, 1, 0, 0)
_CM_PER_INCH = 2.54
_MOST_PARTS = 255


class JpegMetadata:
    """Takes in application segments as they come by."""

    def __init__(self) -> None:
        self._exif: list[bytes] = []
        self._icc: dict[bytes, bytes] = {}
        self._photoshop: list[bytes] = []
        self._xmp: bytes | None = None
        self._dpi: tuple[float, float] | None = None
        self._is_jfif = False
        self._transform: int | None = None

    @property
    def note(self) -> str:
        """What was left out, for people."""
        return "damaged ICC profile left out" if self._icc and self._profile() is None else ""

    def see(self, marker: int, body: bytes) -> None:
        """Take in a segment."""
        if marker == _APP0 and body.startswith(_JFIF):
            self._dpi = _density(body) or self._dpi
            self._is_jfif |= len(body) >= _JFIF_BYTES
        elif marker == _APP14 and body.startswith(_ADOBE) and len(body) >= _ADOBE_BYTES:
            self._transform = body[_ADOBE_BYTES - 1]
        elif marker == _APP13 and body.startswith(_PHOTOSHOP_PREFIX):
            self._photoshop.append(body[len(_PHOTOSHOP_PREFIX) :])
        elif body.startswith(_EXIF_PREFIX):
            self._exif.append(body[len(_EXIF_PREFIX) :])
        elif body.startswith(_XMP_PREFIX):
            self._xmp = body[len(_XMP_PREFIX) :]
        elif body.startswith(_ICC_PREFIX):
            self._icc[body[12:14]] = body[14:]

    def result(self) -> Metadata:
        """All of it, a profile only as a whole."""
        exif, iptc = b"".join(self._exif), find_iptc(b"".join(self._photoshop))
        return Metadata(self._profile(), exif or None, self._xmp, iptc, self._dpi)

    def colour_segments(self, bands: int) -> bytes:
        """What tells a decoder the colours of so many components, written anew.

        A transform that does not exist becomes the one that libjpeg assumes, with a warning.
        """
        parts = [_CLEAN_JFIF] if self._is_jfif else []
        if self._transform is not None:
            known = _TRANSFORMS.get(bands, (0,))
            parts.append(adobe_segment(self._transform if self._transform in known else known[-1]))
        return b"".join(parts)

    def _profile(self) -> bytes | None:
        """The profile, put together by its (number, count) labels; some writers count from 0."""
        count = len(self._icc)
        if not 0 < count <= _MOST_PARTS:
            return None
        for first in (1, 0):
            labels = [bytes((number, count)) for number in range(first, first + count)]
            if self._icc.keys() == set(labels):
                return b"".join(map(self._icc.__getitem__, labels))
        return None


def adobe_segment(transform: int) -> bytes:
    """Adobe's segment, which tells what the components are: 0 for RGB and CMYK, 1 for YCbCr."""
    return b"\xff\xee\0\x0e" + _ADOBE + struct.pack(">HHHB", 100, 0, 0, transform)


def _density(body: bytes) -> tuple[float, float] | None:
    if len(body) < 12:
        return None
    unit, x, y = struct.unpack_from(">BHH", body, 7)
    factor = {1: 1.0, 2: _CM_PER_INCH}.get(unit)
    return None if factor is None or not x or not y else (x * factor, y * factor)
