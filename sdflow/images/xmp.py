"""Changes to an XMP packet, as text: what is not about the pixels keeps every byte (XMP, part 1).

A packet is checked to be well-formed before and after, and only then edited with expressions
that look for a property as an attribute and as an element, under whatever prefix it has.
"""

from __future__ import annotations

import re
from html import escape, unescape
from typing import TYPE_CHECKING
from xml.parsers import expat

from sdflow.images.formats import BrokenImageError
from sdflow.images.provenance import NAMESPACE, PREFIX, PREVIOUS_SOFTWARE, PROPERTIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdflow.geometry import Size

_TIFF, _EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
_RDF, _META = "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "adobe:ns:meta/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_MOST_PREFIXES = 16  # for one namespace: the packet is searched for each
_EMPTY = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    f'<x:xmpmeta xmlns:x="{_META}"></x:xmpmeta><?xpacket end="w"?>'
)
_OURS = re.compile(
    rf'<\w+:Description \w+:about="[^"]*" xmlns:{PREFIX}="{NAMESPACE}"'
    rf'(?: {PREFIX}:\w+="[^"]*")*/>'
)


def updated(packet: bytes, size: Size, properties: dict[str, str]) -> bytes:
    """The same packet for upright pixels of another size, with properties of our own.

    Args:
        packet: UTF-8.
        size: Of the new pixels; it replaces the sizes that are stated.
        properties: By name, in our namespace, in place of those there; may be empty.

    Raises:
        BrokenImageError: No well-formed packet.
    """
    text = _checked(packet.rstrip(b"\0"))
    values = {(_TIFF, "Orientation"): "1"}
    values |= {(_TIFF, "ImageWidth"): str(size.width), (_TIFF, "ImageLength"): str(size.height)}
    values[_EXIF, "PixelXDimension"] = str(size.width)
    values[_EXIF, "PixelYDimension"] = str(size.height)
    for (namespace, name), value in values.items():
        text = _with_value(text, _prefixes(text, namespace), name, value)
    for prefix in _prefixes(text, _XMP):
        name = f"{prefix}:Thumbnails"
        text = re.sub(rf"<{name}\b[^<>]*>.*?</{name}\s*>", "", text, flags=re.DOTALL)
    if properties:
        former = {} if PREVIOUS_SOFTWARE in properties else _remembered(text)
        text = _with_properties(_without_ours(text), properties | former)
    result = text.encode()
    _checked(result)
    return result


def new_packet(properties: dict[str, str]) -> bytes:
    """A packet that holds nothing but properties of our own."""
    return _with_properties(_EMPTY, properties).encode()


def without_padding(packet: bytes) -> bytes:
    """The packet without the white space that is there for edits in place."""
    at = packet.rfind(b"<?xpacket end")
    return packet if at < 0 else packet[:at].rstrip() + b"\n" + packet[at:]


def _checked(packet: bytes) -> str:
    parser = expat.ParserCreate("UTF-8")
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(packet, True)  # the C function takes no keywords
        return packet.decode("utf-8")
    except (expat.ExpatError, UnicodeDecodeError) as error:
        raise BrokenImageError(f"the XMP packet is damaged ({error})") from error


def _refuse_doctype(*_: object) -> None:
    raise BrokenImageError("the XMP packet defines entities")


def _prefixes(text: str, namespace: str) -> list[str]:
    """What a namespace is called in the packet, expressions of their own."""
    found = re.findall(rf"""xmlns:([\w.-]+)\s*=\s*["']{re.escape(namespace)}["']""", text)
    prefixes = [re.escape(prefix) for prefix in dict.fromkeys(found)]
    if len(prefixes) > _MOST_PREFIXES:
        raise BrokenImageError(f"the XMP packet has {len(prefixes)} names for {namespace}")
    return prefixes


def _with_value(text: str, prefixes: Iterable[str], name: str, value: str) -> str:
    for prefix in prefixes:
        attribute = rf"""(\s{prefix}:{name}\s*=\s*(["']))[^"'<]*(?=\2)"""
        element = rf"(<{prefix}:{name}\b[^<>]*>)[^<]*(?=</{prefix}:{name}\s*>)"
        text = re.sub(attribute, rf"\g<1>{value}", text)
        text = re.sub(element, rf"\g<1>{value}", text)
    return text


def _without_ours(text: str) -> str:
    text = _OURS.sub("", text)
    for prefix in _prefixes(text, NAMESPACE):  # put elsewhere by another program
        for name in PROPERTIES:
            name_there = f"{prefix}:{name}"
            text = re.sub(rf"""\s{name_there}\s*=\s*("[^"]*"|'[^']*')""", "", text)
            text = re.sub(rf"<{name_there}\b[^<>]*>[^<]*</{name_there}\s*>", "", text)
    return text


def _remembered(text: str) -> dict[str, str]:
    """The software of the time before ours, where we have noted it."""
    found = re.search(rf'\s{PREFIX}:{PREVIOUS_SOFTWARE}="([^"<]*)"', text)
    return {PREVIOUS_SOFTWARE: unescape(found[1])} if found else {}


def _with_properties(text: str, properties: dict[str, str]) -> str:
    rdf = next(iter(_prefixes(text, _RDF)), None)
    about = None if rdf is None else re.search(rf"""{rdf}:about\s*=\s*["']([^"'<]*)["']""", text)
    values = "".join(f' {PREFIX}:{name}="{escape(text)}"' for name, text in properties.items())
    description = (
        f'<{rdf or "rdf"}:Description {rdf or "rdf"}:about="{about[1] if about else ""}"'
        f' xmlns:{PREFIX}="{NAMESPACE}"{values}/>'
    )
    at = text.rfind(f"</{rdf}:RDF") if rdf else -1
    if at < 0 and not re.search(rf"<{rdf}:RDF\b", text):
        description = f'<rdf:RDF xmlns:rdf="{_RDF}">{description}</rdf:RDF>'
        meta = next(iter(_prefixes(text, _META)), None)
        at = text.rfind(f"</{meta}:") if meta else -1
    if at < 0:
        raise BrokenImageError("the XMP packet has no place for descriptions")
    return text[:at] + description + text[at:]
