"""Where in an XMP packet the properties stand that are to change, by one pass of an XML parser.

The parser knows namespaces, comments and where tags begin; so no prefix and no text can mislead,
and the work follows the length of the packet alone.
"""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING, NamedTuple
from xml.parsers import expat

from sdflow.images.formats import BrokenImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

RDF, META = "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "adobe:ns:meta/"
_SEPARATOR = "\n"  # the parser refuses namespaces that contain it
_TAG = re.compile(rb"""<(?:[^"'>]++|"[^"]*+"|'[^']*+')*+>""")
_TAG_NAME = re.compile(rb"<([^\s/>]++)")
_ATTRIBUTE = re.compile(rb"""\s++([^\s=]++)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)')""")


class Name(NamedTuple):
    """What a property is called.

    Attributes:
        namespace: Empty where there is none.
        local: Without its prefix.
        prefix: As the packet has it; empty for a default namespace.
    """

    namespace: str
    local: str
    prefix: str = ""


class Edit(NamedTuple):
    """Bytes to put in place of a range of the packet."""

    start: int
    end: int
    text: bytes = b""


class Place(NamedTuple):
    """An element that something can be put into, at its end.

    Attributes:
        name: Of the element.
        edit: What makes room: its text stands before what is put in.
        closing: What must stand behind.
    """

    name: Name
    edit: Edit
    closing: bytes = b""

    def filled(self, content: bytes) -> Edit:
        """The edit that puts something in."""
        return self.edit._replace(text=self.edit.text + content + self.closing)


class _Open(NamedTuple):
    """An element that has begun, and what becomes of it."""

    name: Name
    start: int
    tag_end: int
    is_empty: bool
    value: bytes | None


class Survey:
    """A packet, gone through once.

    Attributes:
        edits: What makes the packet as the rule wants it; they do not overlap.
        removed: Properties that the edits remove, with their values (of elements that hold more
            than text: None).
        about: What the first description says it is about.
        rdf: The first RDF element.
        meta: The first element around it.
    """

    def __init__(self, packet: bytes, rule: Callable[[Name], bytes | None]) -> None:
        """Go through a packet.

        Args:
            packet: UTF-8.
            rule: New value of a property, ``b""`` to remove it, None to leave it. A description
                that holds nothing but properties to remove goes as a whole.

        Raises:
            BrokenImageError: It is not well-formed, or defines entities.
        """
        self.edits: list[Edit] = []
        self.removed: dict[Name, str | None] = {}
        self.about: str | None = None
        self.rdf: Place | None = None
        self.meta: Place | None = None
        self._packet, self._rule = packet, rule
        self._open: list[_Open | None] = []
        self._closed_inside = 0  # elements that are removed or overwritten, with all inside
        self._parser = _new_parser()
        self._parser.StartElementHandler = self._begin
        self._parser.EndElementHandler = self._end
        _parse(self._parser, packet)

    def _begin(self, label: str, attributes: list[str]) -> None:
        if self._closed_inside:
            self._open.append(None)
            return
        name = _name(label)
        value = self._rule(name)
        is_place = (name.namespace == RDF and name.local == "RDF") or name.namespace == META
        if value is not None or is_place:
            start = self._parser.CurrentByteIndex
            end = self._tag_end(start)
            is_empty = self._packet[end - 2 : end] == b"/>"
            self._open.append(_Open(name, start, end, is_empty, value))
            self._closed_inside += value is not None
        else:
            self._open.append(None)
        if value is None and attributes:
            self._see_attributes(name, [*map(_name, attributes[::2])], attributes[1::2])

    def _end(self, _: str) -> None:
        element = self._open.pop()
        if element is None:
            return
        # The parser stands behind an empty element, but before the end tag of another.
        at = element.tag_end if element.is_empty else self._parser.CurrentByteIndex
        end = at if element.is_empty else self._packet.index(b">", at) + 1
        if element.value is None:
            self._see_place(element, at)
            return
        self._closed_inside -= 1
        is_text = self._packet.find(b"<", element.tag_end, at) < 0
        if not element.value or not is_text:
            self.edits.append(Edit(element.start, end))
            text = self._packet[element.tag_end : at].decode() if is_text else None
            self.removed[element.name] = None if text is None else unescape(text)
        elif not element.is_empty:
            self.edits.append(Edit(element.tag_end, at, element.value))

    def _see_place(self, element: _Open, at: int) -> None:
        place = Place(element.name, Edit(at, at))
        if element.is_empty:
            tag = _TAG_NAME.match(self._packet, element.start)
            closing = b"" if tag is None else b"</%b>" % tag[1]
            place = Place(element.name, Edit(at - 2, at, b">"), closing)
        if element.name.namespace == RDF:
            self.rdf = self.rdf or place
        else:
            self.meta = self.meta or place

    def _see_attributes(self, element: Name, names: list[Name], texts: list[str]) -> None:
        values = [self._rule(name) for name in names]
        is_about = [name.namespace == RDF and name.local == "about" for name in names]
        if self.about is None and any(is_about):
            self.about = texts[is_about.index(True)]
        if not any(value is not None for value in values):
            return
        rows = zip(names, texts, values, strict=True)
        gone = {name: text for name, text, value in rows if value == b""}
        self.removed |= gone
        start = self._parser.CurrentByteIndex
        end = self._tag_end(start)
        is_description = element.namespace == RDF and element.local == "Description"
        is_empty = self._packet[end - 2 : end] == b"/>"
        if is_description and is_empty and len(gone) + sum(is_about) == len(names):
            self.edits.append(Edit(start, end))
            return
        for found, value in zip(_attributes(self._packet[start:end]), values, strict=True):
            if value is not None:
                first, last = found.span(found.lastindex or 0) if value else found.span()
                self.edits.append(Edit(start + first, start + last, value))

    def _tag_end(self, start: int) -> int:
        found = _TAG.match(self._packet, start)
        if found is None:
            raise BrokenImageError("the XMP packet has a tag without an end")
        return found.end()


def check(packet: bytes) -> None:
    """Raise BrokenImageError unless a packet is well-formed and defines no entities."""
    _parse(_new_parser(), packet)


def edited(packet: bytes, edits: Iterable[Edit]) -> bytes:
    """The packet with edits that do not overlap."""
    parts, at = [], 0
    for start, end, text in sorted(edits):
        parts += [packet[at:start], text]
        at = end
    return b"".join((*parts, packet[at:]))


def _new_parser() -> expat.XMLParserType:
    parser = expat.ParserCreate("UTF-8", _SEPARATOR)
    parser.namespace_prefixes = True
    parser.ordered_attributes = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    return parser


def _parse(parser: expat.XMLParserType, packet: bytes) -> None:
    try:
        parser.Parse(packet, True)  # the C function takes no keywords
    except expat.ExpatError as error:
        raise BrokenImageError(f"the XMP packet is damaged ({error})") from error


def _refuse_doctype(*_: object) -> None:
    raise BrokenImageError("the XMP packet defines entities")


def _name(label: str) -> Name:
    """The parser's namespace, local name and prefix, of which it leaves out what is not there."""
    parts = label.split(_SEPARATOR)
    return Name("", label) if len(parts) == 1 else Name(*parts)


def _attributes(tag: bytes) -> Iterator[re.Match[bytes]]:
    """Yield the attributes of a start tag apart from declarations of namespaces."""
    name = _TAG_NAME.match(tag)
    at = 0 if name is None else name.end()
    while found := _ATTRIBUTE.match(tag, at):
        at = found.end()
        if found[1] != b"xmlns" and not found[1].startswith(b"xmlns:"):
            yield found
