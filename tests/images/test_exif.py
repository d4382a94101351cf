"""EXIF of a result: what counts pixels counts the new ones, and nothing speaks of others."""

import struct
from dataclasses import replace

import pytest

from sdflow.geometry import Size
from sdflow.images import exif, ifd

SIZE = Size(800, 1200)
FOCAL = (41486, 41487, 41488)
PAIRS = ((41486, 40962), (41487, 40963))


def short(value: int) -> ifd.Entry:
    return ifd.Entry(ifd.SHORT, struct.pack("<H", value))


def ratio(above: int, below: int = 1) -> ifd.Entry:
    return ifd.Entry(ifd.RATIONAL, struct.pack("<II", above, below))


def photo(orientation: int = 1, **more: ifd.Entry) -> exif.Exif:
    """Of 300 x 100 stored pixels, 3000 and 2000 of them on an inch of the sensor."""
    child = {40962: short(300), 40963: short(100)}
    child |= {41486: ratio(3000), 41487: ratio(2000), 41488: short(2)}
    child |= {int(name.removeprefix("tag_")): entry for name, entry in more.items()}
    return exif.Exif(
        "<", ifd.Directory({274: short(orientation)}, {ifd.EXIF_TAG: ifd.Directory(child)})
    )


def inside(found: exif.Exif) -> dict[int, ifd.Entry]:
    return dict(found.directory.children[ifd.EXIF_TAG].entries)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [(1, (12_000, 16_000)), (3, (12_000, 16_000)), (6, (24_000, 8_000)), (8, (24_000, 8_000))],
)
def test_the_pixels_on_an_inch_of_the_sensor_follow_the_size(
    orientation: int, expected: tuple[float, float]
) -> None:
    found = inside(exif.updated(photo(orientation), SIZE, None))
    assert (found[41486].rationals(), found[41487].rationals()) == ([expected[0]], [expected[1]])
    assert found[41488].integers() == [2]
    # The sensor stays as large as it was.
    before, after = (
        sorted(one[stated].integers()[0] / one[dense].rationals()[0] for dense, stated in PAIRS)
        for one in (inside(photo(orientation)), found)
    )
    assert before == pytest.approx(after)


@pytest.mark.parametrize(
    ("tag", "entry"),
    [
        *((40962, None), (40963, None), (41486, None), (40962, short(0)), (41487, ratio(1, 0))),
        *((41486, ratio(0)), (41486, ratio(2**32 - 1)), (41487, short(7)), (40963, ratio(1))),
    ],
)
def test_an_unknown_size_of_the_sensor_is_not_stated(tag: int, entry: ifd.Entry | None) -> None:
    source = photo()
    entries = inside(source)
    entries.pop(tag)
    entries |= {} if entry is None else {tag: entry}
    children = {ifd.EXIF_TAG: ifd.Directory(entries)}
    source = replace(source, directory=replace(source.directory, children=children))
    assert not inside(exif.updated(source, SIZE, None)).keys() & {*FOCAL}


def test_places_in_other_pixels_go() -> None:
    source = photo(tag_37396=short(5), tag_41492=short(5), tag_33434=ratio(1, 60))
    found = inside(exif.updated(source, SIZE, None))
    assert found.keys() == {33434, 40962, 40963, *FOCAL}


@pytest.mark.parametrize(
    ("description", "stays"),
    [
        (b'{"shape": [5, 7, 3]}', False),
        (b'<?xml version="1.0"?><OME xmlns="u"></OME>', False),
        (b"ImageJ=1.11a\nimages=3\n", False),
        (b"A picture of the OME tower, not of ImageJ=1", True),
    ],
)
def test_a_description_of_stored_pixels_goes_and_one_for_people_stays(
    description: bytes, stays: bool
) -> None:
    source = exif.Exif("<", ifd.Directory({270: ifd.Entry(ifd.ASCII, description + b"\0")}))
    assert (270 in exif.updated(source, SIZE, None).directory.entries) == stays


@pytest.mark.parametrize("order", ["<", ">"])
def test_only_the_maker_note_of_exif_stands_where_it_was(order: str) -> None:
    note, other = bytes(range(200)), ifd.Entry(ifd.UNDEFINED, b"another note")
    child = ifd.Directory({exif.MAKER_NOTE: ifd.Entry(ifd.UNDEFINED, note)})
    main = ifd.Directory({exif.MAKER_NOTE: other}, {ifd.EXIF_TAG: child})
    stream = ifd.write_stream(main, order, placed={(ifd.EXIF_TAG, exif.MAKER_NOTE): (1234, note)})
    written = exif.write(exif.read(stream))
    found = exif.read(written).directory
    assert found.entries[exif.MAKER_NOTE].value == other.value
    assert found.children[ifd.EXIF_TAG].entries[exif.MAKER_NOTE].value == note
    assert written[1234 : 1234 + len(note)] == note
