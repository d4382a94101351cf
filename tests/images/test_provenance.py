"""What a result says about itself: nothing stale, nothing lost, and how it was made."""

import struct
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.geometry import Size
from sdflow.images import exif as exif_edit
from sdflow.images import ifd
from sdflow.images.formats import Metadata
from sdflow.images.metadata import finished
from sdflow.images.provenance import NAMESPACE, Provenance

from .samples import ICC, exif
from .written import IPTC, WHOLE, XMP, tags, with_maker_note

PROVENANCE = Provenance("sdflow 1.2.3", "abc123", "upscale", 0.8, 7, 2)
SIZE = Size(400, 300)
SOURCE = replace(WHOLE, exif=exif())


def keep(metadata: Metadata, provenance: Provenance | None = PROVENANCE) -> Metadata:
    done = finished(metadata, size=SIZE, provenance=provenance)
    assert done.note is None
    return done.metadata


def ours(packet: bytes | None) -> dict[str, str]:
    """Our properties, as an XML parser finds them."""
    assert packet is not None
    prefix = f"{{{NAMESPACE}}}"
    return {
        name.removeprefix(prefix): value
        for element in ElementTree.fromstring(packet).iter()  # noqa: S314  # our own
        for name, value in element.attrib.items()
        if name.startswith(prefix)
    }


def maker_note_at(stream: bytes) -> tuple[int, bytes]:
    found = ifd.read_stream(stream).children[ifd.EXIF_TAG].entries[exif_edit.MAKER_NOTE]
    order = "<" if stream.startswith(b"II") else ">"
    return struct.unpack(f"{order}I", found.raw[-4:])[0], found.value


def test_the_image_stands_upright_and_everything_else_stays() -> None:
    before, after = tags(SOURCE.exif or b""), tags(keep(SOURCE).exif or b"")
    assert (before["main"].pop(0x0112), after["main"].pop(0x0112)) == (6, 1)
    assert after["main"].pop(0x0131) == "sdflow 1.2.3"
    assert after == before
    assert after["gps"][2] == (47.0, 22.0, 30.5)


def test_sizes_that_are_stated_become_the_new_ones_and_no_others_appear() -> None:
    entries = {tag: ifd.Entry(ifd.SHORT, struct.pack("<H", 9)) for tag in (256, 257)}
    child = {tag: ifd.Entry(ifd.SHORT, struct.pack("<H", 9)) for tag in (40962, 40963)}
    stream = ifd.write_stream(ifd.Directory(entries, {ifd.EXIF_TAG: ifd.Directory(child)}))
    huge = Size(70_000, 300)
    found = finished(Metadata(exif=stream), size=huge, provenance=None).metadata.exif
    directory = ifd.read_stream(found or b"")
    below = directory.children[ifd.EXIF_TAG].entries
    assert [directory.entries[tag].integers() for tag in (256, 257)] == [[300], [70_000]]
    assert [below[tag].integers() for tag in (40962, 40963)] == [[300], [70_000]]
    plain = ifd.read_stream(keep(SOURCE).exif or b"")
    assert not plain.entries.keys() & {256, 257}


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_maker_note_keeps_its_bytes_its_place_and_its_order(order: str) -> None:
    stream = with_maker_note(order)
    result = keep(Metadata(exif=stream)).exif or b""
    assert result[:2] == stream[:2]
    assert maker_note_at(result) == maker_note_at(stream)
    assert maker_note_at(stream)[0] == 1234


def test_a_thumbnail_and_tags_about_other_pixels_go() -> None:
    first = ifd.write_stream(ifd.Directory({305: ifd.Entry(ifd.ASCII, b"Camera\0")}))
    thumbnail = ifd.Directory({513: ifd.Entry(ifd.LONG, bytes(4)), 259: ifd.Entry(3, b"\6\0")})
    at = len(first)
    link = 8 + 2 + 12
    stream = first[:link] + struct.pack("<I", at) + first[link + 4 :]
    stream += ifd.write_directory(thumbnail, at) + b"\xff\xd8 picture \xff\xd9"
    assert b"picture" not in (keep(Metadata(exif=stream)).exif or b"")
    layers = exif(tag_37724=1, tag_34377=1, tag_330=1, tag_33550=1)
    assert not ifd.read_stream(keep(Metadata(exif=layers)).exif or b"").entries.keys() & {
        *(37724, 34377, 330, 33550)
    }


def test_xmp_changes_where_it_speaks_of_the_pixels_and_nowhere_else() -> None:
    expected = XMP.decode()
    for old, new in (
        ('t:Orientation="6"', 't:Orientation="1"'),
        ("exif:PixelXDimension = '4000'", "exif:PixelXDimension = '300'"),
        ("<exif:PixelYDimension>3000<", "<exif:PixelYDimension>400<"),
        ("<t:ImageWidth>4000<", "<t:ImageWidth>300<"),
        ("<xmp:Thumbnails><rdf:Alt><rdf:li>old</rdf:li></rdf:Alt></xmp:Thumbnails>", ""),
    ):
        assert old in expected
        expected = expected.replace(old, new)
    assert keep(SOURCE, None).xmp == expected.encode()


def test_provenance_is_added_to_the_packet_that_is_there() -> None:
    with_it, without = keep(SOURCE).xmp or b"", keep(SOURCE, None).xmp or b""
    start = with_it.index(b'<rdf:Description rdf:about="uuid:1" xmlns:sdflow=')
    end = with_it.index(b"/>", start) + 2
    assert with_it[:start] + with_it[end:] == without
    assert ours(with_it) == {
        "software": "sdflow 1.2.3",
        "weights": "abc123",
        "task": "upscale",
        "tau": "0.8",
        "seed": "7",
        "sample": "2",
    }


def test_provenance_makes_metadata_where_there_were_none() -> None:
    done = keep(Metadata())
    assert ours(done.xmp)["weights"] == "abc123"
    assert tags(done.exif or b"")["main"] == {0x0131: "sdflow 1.2.3"}
    assert keep(Metadata(), None) == Metadata()


def test_the_software_before_us_is_remembered_also_the_second_time() -> None:
    source = Metadata(exif=with_maker_note(), xmp=XMP)
    once = keep(source)
    assert ours(once.xmp)["previousSoftware"] == "Camera"
    assert keep(once) == once
    other = keep(once, replace(PROVENANCE, seed=8))
    assert ours(other.xmp) == ours(once.xmp) | {"seed": "8"}


def test_odd_names_of_software_do_not_break_the_packet() -> None:
    tags = ifd.read_stream(exif()).entries
    name = 'A<&>"\x01\x02B\xff'.encode("latin-1") + b"\0"
    stream = ifd.write_stream(ifd.Directory({**tags, 305: ifd.Entry(ifd.ASCII, name)}))
    assert ours(keep(Metadata(exif=stream, xmp=XMP)).xmp)["previousSoftware"].startswith('A<&>"B')


def test_our_properties_are_found_where_another_program_has_put_them() -> None:
    packet = XMP.replace(
        b"<exif:PixelY",
        b'<x:seed xmlns:x="urn:sdflow:provenance:1">99</x:seed><exif:PixelY',
    )
    result = keep(Metadata(xmp=packet)).xmp or b""
    assert b">99<" not in result
    assert ours(result)["seed"] == "7"


@pytest.mark.parametrize(
    "packet",
    [
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"></x:xmpmeta>',
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/">more</x:xmpmeta>\0\0',
        b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></r:RDF>',
    ],
)
def test_a_packet_of_another_build_is_completed(packet: bytes) -> None:
    assert ours(keep(Metadata(xmp=packet)).xmp)["seed"] == "7"


@pytest.mark.parametrize(
    "packet",
    [
        *(b"", b"no XML", XMP[:-300], XMP.replace(b"</rdf:RDF>", b""), XMP + b"<more/>"),
        *(b"<a/>", b"\xff\xfe" + XMP.decode().encode("utf-16-be")),
        b'<!DOCTYPE a [<!ENTITY b "b">]><a>&b;</a>',
        b"<a>" + bytes(1 << 24) + b"</a>",
    ],
)
def test_damaged_xmp_is_replaced_and_noted(packet: bytes) -> None:
    done = finished(Metadata(xmp=packet), size=SIZE, provenance=PROVENANCE)
    assert "XMP left out" in (done.note or "")
    assert ours(done.metadata.xmp)["seed"] == "7"


def test_damaged_tags_are_left_out_alone() -> None:
    stream = bytearray(exif())
    at = stream.index(b"\x01\x32\x00\x02")  # the date, of an unknown type
    stream[at + 2 : at + 4] = b"\x00\x63"
    done = finished(Metadata(exif=bytes(stream)), size=SIZE, provenance=PROVENANCE)
    assert "damaged tags" in (done.note or "")
    found = tags(done.metadata.exif or b"")
    assert found["main"] == {0x010F: "Maker", 0x0112: 1, 0x0131: "sdflow 1.2.3"}
    assert found["gps"][2] == (47.0, 22.0, 30.5)


@given(st.data())
def test_no_metadata_make_an_image_fail(data: st.DataObject) -> None:
    def mangled(whole: bytes) -> bytes:
        changed = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
        for _ in range(data.draw(st.integers(0, 4)) if changed else 0):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        return bytes(changed)

    source = Metadata(exif=mangled(exif()), xmp=mangled(XMP))
    done = finished(source, size=SIZE, provenance=PROVENANCE).metadata
    assert ours(done.xmp)["seed"] == "7"
    assert ifd.read_stream(done.exif or b"").entries[305].value == b"sdflow 1.2.3\0"


def test_strip_keeps_what_the_colours_depend_on_and_nothing_else() -> None:
    colour = ((b"gAMA", b"\0\1\x86\xa0"),)
    source = replace(SOURCE, png_colour=colour)
    done = finished(source, size=SIZE, provenance=PROVENANCE, mode="strip")
    assert done.metadata == Metadata(icc=ICC, png_colour=colour)


def test_other_fields_pass_as_they_are() -> None:
    done = keep(SOURCE)
    assert (done.icc, done.iptc, done.dpi) == (ICC, IPTC, (300.0, 150.0))
