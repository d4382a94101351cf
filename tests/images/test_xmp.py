"""XMP packets of any build are edited where they speak of the pixels, in time like their length."""

import re
from time import process_time
from xml.etree import ElementTree

import pytest

from sdflow.geometry import Size
from sdflow.images import xmp
from sdflow.images.formats import BrokenImageError, Metadata
from sdflow.images.metadata import finished
from sdflow.images.provenance import NAMESPACE

from .written import XMP

SIZE = Size(400, 300)
OURS = {"seed": "7"}
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
TIFF = "http://ns.adobe.com/tiff/1.0/"
SPACES = {
    "rdf": RDF,
    "tiff": TIFF,
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "GCamera": "http://ns.google.com/photos/1.0/camera/",
    "Container": "http://ns.google.com/photos/1.0/container/",
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
}


def packet(inside: str = "", attributes: str = "") -> bytes:
    spaces = " ".join(f'xmlns:{prefix}="{space}"' for prefix, space in SPACES.items())
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {spaces}><rdf:Description rdf:about=""'
        f"{attributes}>{inside}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def changed(source: bytes, properties: dict[str, str] | None = None) -> bytes:
    return xmp.updated(source, SIZE, properties or {}).packet


def seeds(source: bytes) -> list[str]:
    """Where our property is found by a parser: in descriptions right below RDF."""
    root = ElementTree.fromstring(source)  # noqa: S314  # our own
    found = [root] if root.tag == f"{{{RDF}}}RDF" else root.findall(f"{{{RDF}}}RDF")
    return [
        description.attrib[f"{{{NAMESPACE}}}seed"]
        for rdf in found
        for description in rdf.findall(f"{{{RDF}}}Description")
        if f"{{{NAMESPACE}}}seed" in description.attrib
    ]


def turned(pattern: str) -> tuple[str, str]:
    """With the orientation of a source, and with that of its result."""
    return pattern.format(6), pattern.format(1)


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("<xmp:Thumbnails/>a<xmp:Thumbnails>old</xmp:Thumbnails>b<xmp:Thumbnails/>c", "abc"),
        ("<xmp:Thumbnails />a<xmp:Thumbnails><xmp:Thumbnails/></xmp:Thumbnails >b", "ab"),
        ("<xmp:Thumbnails a='>'>old</xmp:Thumbnails>b", "b"),
        ("<!-- <xmp:Thumbnails> -->a<!-- </xmp:Thumbnails> -->",) * 2,
        ("<xmp:ThumbnailsOfMine>a</xmp:ThumbnailsOfMine>",) * 2,
        ("<tiff:Orientation>6<!-- turned --></tiff:Orientation>a", "a"),
        turned("<tiff:Orientation\n>{}</tiff:Orientation\n>"),
        turned(f"<Orientation xmlns='{TIFF}'>{{}}</Orientation>"),
        turned("<a tiff:Orientation = '{}' b='tiff:Orientation=\"6\"'/>"),
        ('<a xmlns:tiff="u:other" tiff:Orientation="6"/>',) * 2,
        ("<![CDATA[<tiff:Orientation>6</tiff:Orientation>]]>",) * 2,
    ],
)
def test_elements_and_attributes_are_told_from_text(inside: str, expected: str) -> None:
    assert changed(packet(inside)) == packet(expected)


@pytest.mark.parametrize(
    "one",
    [
        "<xmp:Thumbnails/>",
        "<xmp:Thumbnails>a</xmp:Thumbnails>",
        "<xmp:Thumbnails/>a<xmp:Thumbnails>b</xmp:Thumbnails>",
        "<a xmlns:b='http://ns.adobe.com/tiff/1.0/' b:Orientation='6'/>",
        "<tiff:Orientation>6</tiff:Orientation>",
        "<a b='" + " c:d=" * 20 + "'/>",
    ],
)
def test_the_time_follows_the_length(one: str) -> None:
    def seconds(count: int) -> float:
        source = packet(one * count)
        start = process_time()
        changed(source, OURS)
        return process_time() - start

    few = min(seconds(2_000) for _ in range(3))
    assert seconds(32_000) < 100 * few, "16 times in time, 256 in its square"


def test_white_space_in_a_tag_takes_no_longer_than_elsewhere() -> None:
    source = packet(attributes=" tiff:Orientation='6'" + " " * 3_000_000)
    assert b"tiff:Orientation='1'" in changed(source)


def test_a_packet_above_16_mebibytes_is_left_out_and_named() -> None:
    assert changed(packet(" " * (1 << 23)))
    with pytest.raises(BrokenImageError, match="16 MiB"):
        changed(packet(" " * (1 << 24)))
    done = finished(Metadata(xmp=packet(" " * (1 << 24))), size=SIZE, provenance=None)
    assert done.metadata == Metadata()
    assert "16 MiB" in (done.note or "")


@pytest.mark.parametrize(
    ("inside", "attributes"),
    [
        ("", ' xmpNote:HasExtendedXMP="0123"'),
        ("<xmpNote:HasExtendedXMP>0123</xmpNote:HasExtendedXMP>", ""),
        ("", ' GCamera:MicroVideo="1" GCamera:MicroVideoOffset="99" GCamera:MotionPhoto=\'1\''),
        ("<GCamera:MotionPhotoVersion>1</GCamera:MotionPhotoVersion>", ""),
        ("<Container:Directory><rdf:Seq><rdf:li/></rdf:Seq></Container:Directory>", ""),
        ("<hdrgm:GainMapMax><rdf:Seq><rdf:li>1</rdf:li></rdf:Seq></hdrgm:GainMapMax>", ""),
        ("", ' hdrgm:Version="1.0" hdrgm:GainMapMin="0"'),
    ],
)
def test_what_points_at_data_that_is_not_there_goes_and_is_named(
    inside: str, attributes: str
) -> None:
    rest = '<a GCamera:Mode="3"/>'
    source = packet(rest + inside, attributes)
    done = finished(Metadata(xmp=source), size=SIZE, provenance=None)
    assert done.metadata.xmp == packet(rest)
    assert "motion video" in (done.note or "")
    again = finished(done.metadata, size=SIZE, provenance=None)
    assert again.note is None


TEXT = XMP.decode()
BARE = f"<rdf:RDF xmlns:rdf='{RDF}'"


@pytest.mark.parametrize(
    "source",
    [
        XMP + b"\0 \n\0\r\n \0",
        b"\n \xef\xbb\xbf" + XMP,
        b" \n" + XMP,
        f'<?xml version="1.0"?>{BARE}/>'.encode(),
        f"{BARE}/>".encode(),
        f"{BARE} a='/>'\n/>".encode(),
        b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>",
        b"<x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk='a tool' />",
        f"<RDF xmlns='{RDF}'></RDF>".encode(),
        f"<RDF xmlns='{RDF}'/>".encode(),
        f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><RDF xmlns='{RDF}'> </RDF></x:xmpmeta>".encode(),
        f"{BARE}></rdf:RDF><!-- </rdf:RDF> -->".encode(),
        f"{BARE}><!-- </rdf:RDF> --></rdf:RDF >".encode(),
        XMP.replace(b"</x:xmpmeta>", b"<!-- </rdf:RDF> --></x:xmpmeta>"),
        b"\xff\xfe" + TEXT.encode("utf-16-le"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        b" \xfe\xff" + TEXT.encode("utf-16-be") + bytes(5),
        TEXT.encode("utf-16-le") + bytes(2),
        b"\xff\xfe" + ('<?xml version="1.0" encoding="UTF-16"?>' + TEXT).encode("utf-16-le"),
    ],
)
def test_a_packet_of_any_valid_build_is_kept_and_completed(source: bytes) -> None:
    done = xmp.updated(source, SIZE, OURS)
    assert not done.has_lost
    assert seeds(done.packet) == ["7"]
    assert xmp.updated(done.packet, SIZE, OURS) == done
    if b"Z" in source:
        assert "Zürich &amp; more" in done.packet.decode()
        assert 't:Orientation="1"' in done.packet.decode()


def test_utf16_becomes_the_utf8_of_the_same_packet() -> None:
    source = TEXT.encode("utf-16")
    assert changed(source, OURS) == changed(XMP, OURS)


def test_only_what_is_ours_goes_from_a_description_of_others() -> None:
    theirs = f'<rdf:Description rdf:about="" xmlns:s="{NAMESPACE}" s:seed="9"'
    mixed = packet().replace(b"<rdf:Desc", f'{theirs} tiff:Make="a"/><rdf:Desc'.encode(), 1)
    alone = packet().replace(b"<rdf:Desc", f"{theirs}/><rdf:Desc".encode(), 1)
    assert seeds(changed(mixed, OURS)) == seeds(changed(alone, OURS)) == ["7"]
    assert b'tiff:Make="a"' in changed(mixed, OURS)
    assert changed(alone, OURS) == changed(packet(), OURS)


def test_the_software_of_before_is_remembered_as_an_element_too() -> None:
    inside = f'<s:previousSoftware xmlns:s="{NAMESPACE}">A &amp; B</s:previousSoftware>'
    found = changed(packet(inside), OURS)
    assert re.findall(rb"previousSoftware[^ ]*.[^/]*", found) == [b'previousSoftware="A &amp; B"']
