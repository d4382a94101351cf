"""What the chunks of a PNG file say beside its pixels (PNG specification, third edition)."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from sdflow.images.formats import BrokenImageError, Metadata
from sdflow.images.iptc import from_raw_profile

if TYPE_CHECKING:
    from typing import Final

MAX_BYTES: Final = 1 << 24
"""A profile or packet above 16 MiB, in the file or inflated, is an attack, not a profile."""
_XMP_START = b"XML:com.adobe.xmp\0"
_IPTC_START = b"Raw profile type iptc\0"
_COLOUR_BYTES = {b"cICP": 4, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"mDCV": 24, b"cLLI": 8}
_UNDER_A_PROFILE = frozenset({b"gAMA", b"cHRM", b"sRGB"})
_TEXTS = frozenset({b"iTXt", b"tEXt", b"zTXt"})
NAMES: Final = frozenset({b"iCCP", b"eXIf", b"pHYs", *_COLOUR_BYTES, *_TEXTS})
"""Chunks that are looked at."""
START_BYTES: Final = 64
"""As much of a chunk as ``lose`` wants to see."""
_KINDS = {b"iCCP": "ICC profile", b"eXIf": "EXIF", b"pHYs": "density"}
_METRES_PER_INCH = 0.0254


class PngMetadata:
    """Takes in chunks as they come by, of each kind the first one."""

    def __init__(self) -> None:
        self._found: dict[str, bytes | None] = {}
        self._colour: dict[bytes, bytes] = {}
        self._dpi: tuple[float, float] | None = None
        self._lost: dict[str, None] = {}

    @property
    def note(self) -> str:
        """What was left out, for people."""
        return "; ".join(f"damaged {what} left out" for what in self._lost)

    def lose(self, name: bytes, start: bytes = b"") -> None:
        """A chunk that begins so cannot be read: it counts as absent."""
        what = _kind(name, start)
        if what is not None or name not in _TEXTS:  # other texts are never kept
            self._lost[what or f"{name.decode('ascii')} chunk"] = None

    def see(self, name: bytes, body: bytes, *, behind: bool = False) -> None:
        """Take in a whole chunk; ``behind`` says that the pixels came before it.

        A second one of a kind is not looked at even if the first one was damaged: to inflate
        many of them would take for ever.
        """
        if name in _COLOUR_BYTES:
            if not behind and name not in self._colour:
                self._see_colour(name, body)
        elif name == b"pHYs":
            if len(body) == struct.calcsize(">IIB") and self._dpi is None:
                x, y, unit = struct.unpack(">IIB", body)
                self._dpi = (x * _METRES_PER_INCH, y * _METRES_PER_INCH) if unit == 1 else None
        else:
            what = _kind(name, body)
            if what is not None and what not in self._found:
                try:
                    self._found[what] = _content(name, body)
                except BrokenImageError:
                    self._found[what] = None
                    self._lost[what] = None

    def result(self) -> Metadata:
        """All of it."""
        icc, exif, xmp, iptc = map(self._found.get, ("ICC profile", "EXIF", "XMP", "IPTC"))
        colour = tuple(
            pair for pair in self._colour.items() if icc is None or pair[0] not in _UNDER_A_PROFILE
        )
        return Metadata(icc, exif, xmp, iptc, self._dpi, colour)

    def _see_colour(self, name: bytes, body: bytes) -> None:
        if len(body) == _COLOUR_BYTES[name]:
            self._colour[name] = body
        else:
            self.lose(name)


def _kind(name: bytes, body: bytes) -> str | None:
    """What a chunk holds, of the things that are kept."""
    if name == b"iTXt" and body.startswith(_XMP_START):
        return "XMP"
    if name in _TEXTS:
        return "IPTC" if body.startswith(_IPTC_START) else None
    return _KINDS.get(name)


def _content(name: bytes, body: bytes) -> bytes | None:
    """The profile or packet inside; raises BrokenImageError."""
    if name == b"iCCP":
        return _inflate(body.partition(b"\0")[2][1:])
    if name == b"eXIf":
        return body.removeprefix(b"Exif\0\0")
    if body.startswith(_XMP_START):
        return _text(body[len(_XMP_START) :])
    text = body[len(_IPTC_START) :]
    return from_raw_profile(_inflate(text[1:]) if name == b"zTXt" else text)


def _text(body: bytes) -> bytes:
    """The text of an iTXt chunk: compressed?, method, language, translation, text."""
    flags, fields = body[:2], body[2:].split(b"\0", 2)
    if len(fields) < 3:
        raise BrokenImageError("the packet is cut short")
    return _inflate(fields[2]) if flags[0] else fields[2]


def _inflate(body: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(body, MAX_BYTES)
    except zlib.error as error:
        raise BrokenImageError(f"the profile is damaged ({error})") from error
    if not inflater.eof:
        raise BrokenImageError("the profile is cut short or larger than 16 MiB")
    return text
