import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.images import ifd
from sdflow.images.formats import BrokenImageError

POINTERS = (ifd.EXIF_TAG, ifd.GPS_TAG, 40965)
TAGS = st.integers(1, 65535).filter(lambda tag: tag not in POINTERS)


@st.composite
def entries(draw: st.DrawFn) -> ifd.Entry:
    kind = draw(st.sampled_from([1, 2, 3, 4, 5, 7, 9, 10, 12]))
    size = draw(st.integers(1, 9)) * ifd.element_bytes(kind)
    return ifd.Entry(kind, draw(st.binary(min_size=size, max_size=size)))


LEAVES = st.dictionaries(TAGS, entries(), max_size=6).map(ifd.Directory)
TREES = st.builds(
    ifd.Directory,
    st.dictionaries(TAGS, entries(), max_size=6),
    st.dictionaries(st.sampled_from(POINTERS[:2]), LEAVES),
)


def values(directory: ifd.Directory) -> dict[int, object]:
    """What counts: types, values and children, without where they stood."""
    plain = {tag: (entry.kind, entry.value) for tag, entry in directory.entries.items()}
    return {**plain, **{tag: values(child) for tag, child in directory.children.items()}}


@given(TREES)
def test_what_is_written_is_read(tree: ifd.Directory) -> None:
    assert values(ifd.read_stream(ifd.write_stream(tree))) == values(tree)


@given(TREES)
def test_writing_again_gives_the_same_bytes(tree: ifd.Directory) -> None:
    data = ifd.write_stream(tree)
    assert ifd.write_stream(ifd.read_stream(data)) == data


def one(kind: int, count: int, value: bytes, order: str = "<") -> bytes:
    """A stream with tag 305 alone."""
    mark = b"II" if order == "<" else b"MM"
    entry = struct.pack(f"{order}HHI4s", 305, kind, count, value)
    return mark + struct.pack(f"{order}HIH", 42, 8, 1) + entry + bytes(4)


def test_big_endian_numbers_become_little_endian() -> None:
    entry = ifd.read_stream(one(3, 2, b"\x01\x02\x03\x04", ">")).entries[305]
    assert entry.integers() == [0x0102, 0x0304]
    assert entry.count == 2


def test_rationals_skip_a_zero_below() -> None:
    assert ifd.Entry(ifd.RATIONAL, struct.pack("<4I", 3, 2, 1, 0)).rationals() == [1.5]
    assert ifd.Entry(ifd.SHORT, b"ab").rationals() == []


@pytest.mark.parametrize(
    "data",
    [
        b"XX*\0\x08\0\0\0",
        b"II+\0\x08\0\0\0",
        b"II*\0\0\0\0\0",
        one(99, 1, b"abcd"),
        one(2, 1000, b"\x08\0\0\0"),
        one(4, 2**32 - 1, b"\x08\0\0\0"),
        one(2, 5, struct.pack("<I", 10**6)),
    ],
)
def test_a_directory_that_is_not_whole_raises(data: bytes) -> None:
    with pytest.raises(BrokenImageError):
        ifd.read_stream(data)


def test_values_that_overlap_cannot_blow_a_small_file_up() -> None:
    count, size = 200, 2000
    table = b"".join(struct.pack("<HHII", 1 + tag, 7, size, 8) for tag in range(count))
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", count) + table + bytes(4)
    with pytest.raises(BrokenImageError, match="longer than the file"):
        ifd.read_stream(data)


def test_a_number_of_another_type_is_refused() -> None:
    with pytest.raises(BrokenImageError, match="type 2"):
        ifd.Entry(2, b"12").integers()


@pytest.mark.parametrize("kind", [16, 17, 18])
def test_numbers_of_8_bytes_stand_in_a_bigtiff_alone(kind: int) -> None:
    leaf = ifd.Directory({65000: ifd.Entry(kind, bytes(8)), 305: ifd.Entry(ifd.ASCII, b"a\0")})
    tree = ifd.Directory(leaf.entries, {ifd.EXIF_TAG: leaf})
    found = ifd.read_stream(ifd.write_stream(tree))
    assert values(found) == {305: (2, b"a\0"), ifd.EXIF_TAG: {305: (2, b"a\0")}}
    big = ifd.write_directory(tree, 16, ifd.BIG)
    start = b"II" + struct.pack("<HHHQ", 43, 8, 0, 16)
    assert values(ifd.read_directory(start + big, 16, ifd.BIG)) == values(tree)
