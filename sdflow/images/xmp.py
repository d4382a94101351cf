"""Changes to an XMP packet: what is not about the pixels keeps every byte (XMP, part 1).

A property is found as an attribute and as an element, under whatever prefix it has.
"""

from __future__ import annotations

import codecs
import re
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from sdflow.images.formats import BrokenImageError
from sdflow.images.provenance import NAMESPACE, PREFIX, PREVIOUS_SOFTWARE, PROPERTIES
from sdflow.images.xmp_edits import META, RDF, Name, Survey, check, edited

if TYPE_CHECKING:
    from sdflow.geometry import Size
    from sdflow.images.xmp_edits import Edit

_TIFF, _EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
_THUMBNAILS = ("http://ns.adobe.com/xap/1.0/", "Thumbnails")
_MAX_BYTES = 1 << 24
# By namespace, how the names begin that point at data which stood beside the image: the rest of
# the XMP, a gain map, a video.
_ABSENT = MappingProxyType(
    {
        "http://ns.adobe.com/xmp/note/": ("HasExtendedXMP",),
        "http://ns.google.com/photos/1.0/camera/": ("MicroVideo", "MotionPhoto"),
        "http://ns.google.com/photos/1.0/container/": ("Directory",),
        "http://ns.adobe.com/hdr-gain-map/1.0/": ("",),
        "http://ns.apple.com/HDRGainMap/1.0/": ("",),
    }
)
_NULS_AND_SPACE = "\0 \t\r\n"
_BOMS = (
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    ("<".encode("utf-16-le"), "utf-16-le"),
    ("<".encode("utf-16-be"), "utf-16-be"),
)
_DECLARATION = re.compile(r"\A<\?xml\s[^>]*>")
_EMPTY = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    f'<x:xmpmeta xmlns:x="{META}"></x:xmpmeta><?xpacket end="w"?>'
)


class Updated(NamedTuple):
    """A packet that holds for the new pixels.

    Attributes:
        packet: UTF-8.
        has_lost: Whether something was left out that points at data which is not there.
    """

    packet: bytes
    has_lost: bool


def updated(packet: bytes, size: Size, properties: dict[str, str]) -> Updated:
    """The same packet for upright pixels of another size, with properties of our own.

    Thumbnails go, and what points at extended XMP, a gain map or a video beside the image.

    Args:
        packet: UTF-8, or UTF-16 with its mark.
        size: Of the new pixels; it replaces the sizes that are stated.
        properties: By name, in our namespace, in place of those there; may be empty.

    Raises:
        BrokenImageError: No well-formed packet, or one above 16 MiB.
    """
    if len(packet) > _MAX_BYTES:
        raise BrokenImageError("an XMP packet above 16 MiB")
    text = _as_utf8(packet)
    width, height = str(size.width).encode(), str(size.height).encode()
    values = {
        (_TIFF, "Orientation"): b"1",
        (_TIFF, "ImageWidth"): width,
        (_TIFF, "ImageLength"): height,
        (_EXIF, "PixelXDimension"): width,
        (_EXIF, "PixelYDimension"): height,
        _THUMBNAILS: b"",
    }
    if properties:
        values |= {(NAMESPACE, name): b"" for name in PROPERTIES}

    def rule(name: Name) -> bytes | None:
        return b"" if _is_absent(name) else values.get(name[:2])

    survey = Survey(text, rule)
    edits = survey.edits
    if properties:
        former = {
            name.local: value
            for name, value in survey.removed.items()
            if name[:2] == (NAMESPACE, PREVIOUS_SOFTWARE) and value is not None
            if PREVIOUS_SOFTWARE not in properties
        }
        edits = [*edits, _addition(survey, properties | former)]
    result = edited(text, edits)
    check(result)
    return Updated(result, any(map(_is_absent, survey.removed)))


def new_packet(properties: dict[str, str]) -> bytes:
    """A packet that holds nothing but properties of our own."""
    packet = _EMPTY.encode()
    return edited(packet, [_addition(Survey(packet, lambda _: None), properties)])


def without_padding(packet: bytes) -> bytes:
    """The packet without the white space that is there for edits in place."""
    at = packet.rfind(b"<?xpacket end")
    return packet if at < 0 else packet[:at].rstrip() + b"\n" + packet[at:]


def _as_utf8(packet: bytes) -> bytes:
    """The packet without what stands around it; raises BrokenImageError."""
    packet = packet.lstrip(b" \t\r\n")
    coding = next((name for mark, name in _BOMS if packet.startswith(mark)), "utf-8")
    try:
        text = packet[: len(packet) & ~1 if coding != "utf-8" else None].decode(coding)
    except UnicodeDecodeError as error:
        raise BrokenImageError(f"the XMP packet is damaged ({error})") from error
    text = text.rstrip(_NULS_AND_SPACE).removeprefix("\ufeff").lstrip(_NULS_AND_SPACE)
    return (text if coding == "utf-8" else _DECLARATION.sub("", text)).encode()


def _is_absent(name: Name) -> bool:
    return name.local.startswith(_ABSENT.get(name.namespace, ()))


def _addition(survey: Survey, properties: dict[str, str]) -> Edit:
    """The edit that puts our properties in; BrokenImageError where there is no place for them."""
    values = "".join(f' {PREFIX}:{name}="{escape(text)}"' for name, text in properties.items())
    prefix = survey.rdf.name.prefix if survey.rdf else "rdf"
    declared = "" if prefix else f' xmlns:rdf="{RDF}"'
    prefix = prefix or "rdf"
    description = (
        f'<{prefix}:Description {prefix}:about="{escape(survey.about or "")}"'
        f' xmlns:{PREFIX}="{NAMESPACE}"{declared}{values}/>'
    )
    if survey.rdf is not None:
        return survey.rdf.filled(description.encode())
    if survey.meta is None:
        raise BrokenImageError("the XMP packet has no place for descriptions")
    return survey.meta.filled(f'<rdf:RDF xmlns:rdf="{RDF}">{description}</rdf:RDF>'.encode())
