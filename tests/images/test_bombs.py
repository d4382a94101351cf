"""Small files that would become large, or take for ever."""

import struct
import tracemalloc
import zlib

import imagecodecs
import pytest

from sdflow.errors import DecodeError, TooLargeError
from sdflow.images.codec import ImageFormat, peek

from .ranged import Ranged
from .samples import noise, png, read, tiff, write


def bomb() -> bytes:
    """A PNG of 20,000 x 20,000 one-bit pixels."""
    return png((20_000, 20_000), 1, 0, bytes(2_501 * 20_000))


BOMB = bomb()


def test_bomb_is_refused_by_its_header() -> None:
    assert len(BOMB) < 1 << 20
    tracemalloc.start()
    source = Ranged(BOMB)
    with pytest.raises(TooLargeError, match=r"20000 x 20000 = 400000000.*1000000.*--max-pixels"):
        read(source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert source.read_bytes < 1 << 10
    assert peak < 1 << 20
    assert peek(BOMB, key="k").num_pixels == 400_000_000


@pytest.mark.parametrize(
    "header",
    [
        tiff(b"abc", tag_256=60_000, tag_257=60_000),
        write(noise(1, 1, 3), ImageFormat.JPEG).replace(
            b"\xff\xc0\0\x11\x08\0\x01\0\x01", b"\xff\xc0\0\x11\x08\xff\xff\xff\xff"
        ),
    ],
)
def test_other_formats_are_refused_by_their_header_too(header: bytes) -> None:
    with pytest.raises(TooLargeError) as caught:
        read(header)
    assert (caught.value.code, caught.value.item) == ("too_large", "a/b.img")


def test_a_strip_that_unpacks_without_end_is_stopped() -> None:
    bomb = bytes(imagecodecs.zlib_encode(bytes(1 << 24)))
    tags = {"tag_258": 8, "tag_262": 1, "tag_277": 1, "tag_259": 8}
    tracemalloc.start()
    with pytest.raises(DecodeError, match="damaged"):
        read(tiff(bomb, **tags))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 22


ENDLESS = {
    "JPEG segments": b"\xff\xd8" + b"\xff\xe5\0\2" * 10_001,
    "JPEG restart marks": b"\xff\xd8" + b"\xff\xd0" * 10_001,
    "WebP chunks": b"RIFF\xff\xff\xff\x7fWEBPVP8L\5\0\0\0\x2f\0\0\0\0\0"
    + b"junk\0\0\0\0" * 100_001,
    "entries of a directory": struct.pack("<4sHHQQ", b"II+\0", 8, 0, 16, 65_537),
    "pieces of an item": b"\0\0\0\x10ftypavif\0\0\0\0"
    + struct.pack(">I4sI", 36, b"meta", 0)
    + struct.pack(">I4sIHHHHH", 24, b"iloc", 0, 0, 1, 1, 0, 65_535)
    + bytes(2),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_parts_without_end_are_not_followed(name: str) -> None:
    with pytest.raises(DecodeError, match=r"more than|a directory of|many pieces") as caught:
        read(ENDLESS[name])
    assert caught.value.code == "decode.corrupt"


def test_only_the_first_profile_of_a_png_is_inflated() -> None:
    profiles = [(b"iCCP", b"name\0\0" + zlib.compress(text)) for text in (b"first", b"second")]
    data = png((1, 1), 8, 0, b"\0\0", *profiles, (b"iCCP", b"name\0\0junk"))
    assert read(data).metadata.icc == b"first"


def test_a_strip_that_claims_the_whole_file_is_not_read() -> None:
    packed = bytes(imagecodecs.zlib_encode(b"\7" * 4)).ljust(1 << 17, b"\0")
    tags = {"tag_256": 4, "tag_258": 8, "tag_262": 1, "tag_277": 1, "tag_259": 8}
    tags |= {"tag_257": 4, "tag_278": 1}
    start = [8] * 4
    whole = tiff(packed[:999], **tags, tag_273=start, tag_279=[99] * 4)
    assert read(whole).pixels.shape == (4, 4, 1)
    with pytest.raises(DecodeError, match="much longer than its pixels"):
        read(tiff(packed[:65_535], **tags, tag_273=start, tag_279=[65_535] * 4))
