"""Files of other libraries: the pixels that were written are the pixels that are read."""

from dataclasses import asdict

import numpy as np
import pytest

from sdflow.errors import DecodeError
from sdflow.geometry import Region
from sdflow.images.codec import decode, open_image, peek
from sdflow.images.formats import ImageFormat, Pixels
from sdflow.images.orientation import upright

from .encodings import ENCODINGS, Encoding
from .ranged import Ranged

EACH = pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda encoding: encoding.name)


def assert_close(found: Pixels, encoding: Encoding, expected: Pixels) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if encoding.is_lossless:
        np.testing.assert_array_equal(found, expected)
    else:
        difference = np.abs(found.astype(int) - expected.astype(int))
        assert difference.mean() <= encoding.tolerance
        assert difference.max() <= 30 * encoding.tolerance


@EACH
def test_what_was_written_is_read(encoding: Encoding) -> None:
    data = encoding.make()
    first = encoding.frames > 1
    image = decode(data, key="k", max_pixels=10_000, first_frame=first)
    assert_close(image.pixels, encoding, encoding.expected)
    assert image.pixels.flags.writeable
    assert image.pixels.flags.c_contiguous
    found = asdict(image.metadata)
    for name, value in asdict(encoding.metadata).items():
        if name == "dpi" and value is not None:
            assert found[name] == pytest.approx(value, rel=1e-3)
        elif value is not None:
            assert found[name] == value, name


@EACH
def test_the_header_tells_what_will_be_read(encoding: Encoding) -> None:
    info = peek(encoding.make(), key="k", first_frame=True)
    height, width, bands = encoding.pixels.shape
    if info.format is ImageFormat.AVIF and encoding.orientation > 4:
        height, width = width, height
    assert (info.height, info.width, info.bands) == (height, width, bands)
    assert info.dtype == encoding.pixels.dtype
    assert (info.frames, info.refusal) == (encoding.frames, None)


@EACH
def test_pieces_of_a_file_read_by_ranges_are_the_whole(encoding: Encoding) -> None:
    data = encoding.make()
    whole = decode(data, key="k", max_pixels=10_000, first_frame=True)
    opened = open_image(Ranged(data), key="k", max_pixels=10_000, first_frame=True)
    height, width = opened.info.height, opened.info.width
    bands = [Region(y, 0, min(11, height - y), width) for y in range(0, height, 11)]
    found = np.concatenate([opened.reader.read(band) for band in bands])
    np.testing.assert_array_equal(upright(found, opened.orientation), whole.pixels)
    assert opened.metadata == whole.metadata
    if opened.reader.is_random:
        window = Region(7, 13, 19, 9)
        np.testing.assert_array_equal(opened.reader.read(window), found[window.slices])
    opened.reader.close()


ANIMATIONS = [
    encoding for encoding in ENCODINGS if encoding.frames > 1 and "TIFF" not in encoding.name
]


@pytest.mark.parametrize("encoding", ANIMATIONS, ids=lambda encoding: encoding.name)
def test_an_animation_is_refused_unless_its_first_frame_is_asked_for(encoding: Encoding) -> None:
    with pytest.raises(DecodeError, match=rf"{encoding.frames} frames; --first-frame") as caught:
        decode(encoding.make(), key="k", max_pixels=10_000)
    assert caught.value.code == "decode.unsupported"


def test_the_table_is_long_and_no_name_is_there_twice() -> None:
    names = [encoding.name for encoding in ENCODINGS]
    assert len(names) == len(set(names))
    assert len(names) >= 60
