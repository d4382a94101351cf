"""Files of every kind through the whole pipeline: what must survive, survives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import pyvips

from sdflow.images.codec import decode, peek
from sdflow.images.formats import DecodedImage, ImageFormat
from sdflow.images.ifd import read_stream
from sdflow.work.handling import Handling
from sdflow.work.shard import Shard
from sdflow.worker.bicubic import BicubicEngine
from sdflow.worker.codec import JobCodec
from sdflow.worker.pipeline import Pipeline
from sdflow.worker.results import ImageWriter
from tests.images.encodings import ENCODINGS, Encoding
from tests.worker.bench import PARAMETERS, Bench, run

if TYPE_CHECKING:
    from sdflow.images.formats import Metadata
    from sdflow.work.ledger import LedgerLine

_EACH = pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda encoding: encoding.name)
_ORIENTATION = 274
_NO_DENSITY = (ImageFormat.WEBP, ImageFormat.AVIF)
_NO_IPTC = (ImageFormat.WEBP, ImageFormat.AVIF)


def _done(encoding: Encoding, format: str, *, scale: int) -> tuple[bytes, bytes, LedgerLine]:
    """A source, its result and the line about it."""
    bench, data = Bench(), encoding.make()
    name = peek(data, key="k", first_frame=True).format
    key = f"a{name.extensions[0]}"
    codec = JobCodec(replace(PARAMETERS, format=format), Handling(first_frame=True))
    pipeline = Pipeline(bench.source, ImageWriter(bench.target, codec), BicubicEngine(scale), codec)
    report = run(pipeline, Shard((bench.put(key, data),)))
    pipeline.close()
    line = report.lines[key]
    assert line.status == "done", line
    (output,) = line.outputs
    return data, bench.target.get(output.key), line


def _wanted(encoding: Encoding) -> str:
    """The source's format, or where that cannot hold the pixels one that can."""
    info = peek(encoding.make(), key="k", first_frame=True)
    is_deep_avif = info.format is ImageFormat.AVIF and info.dtype == np.uint16
    return "png" if is_deep_avif else "keep"


def _read(data: bytes) -> DecodedImage:
    return decode(data, key="k", max_pixels=10**6, first_frame=True)


def _assert_metadata_survives(before: Metadata, after: DecodedImage) -> None:
    found, format = after.metadata, after.format
    assert found.icc == before.icc
    if before.iptc is not None and format not in _NO_IPTC:
        assert found.iptc == before.iptc
    if before.dpi is not None and format not in _NO_DENSITY:
        assert found.dpi == pytest.approx(before.dpi, rel=1e-2)
    assert found.xmp is not None
    assert b"urn:sdflow:provenance:1" in found.xmp
    tags = read_stream(found.exif or b"").entries
    assert _ORIENTATION not in tags or tags[_ORIENTATION].integers() == [1]
    if before.exif is not None:
        kept = read_stream(before.exif).entries.keys()
        assert {271, 272, 306, 315, 33432} & kept <= tags.keys()  # make, model, date, artist, ©


@_EACH
def test_result_is_four_times_as_large_and_of_the_same_kind(encoding: Encoding) -> None:
    source, result, line = _done(encoding, _wanted(encoding), scale=4)
    before, after = _read(source), _read(result)
    height, width, bands = before.pixels.shape
    if after.format is ImageFormat.WEBP and bands < 3:
        bands += 2  # it has no grey
    assert after.pixels.shape == (4 * height, 4 * width, bands)
    assert after.pixels.dtype == before.pixels.dtype
    _assert_metadata_survives(before.metadata, after)
    first = f"the first of {encoding.frames} images in the file"
    assert line.note.startswith(first) is (encoding.frames > 1)
    shown = pyvips.Image.new_from_buffer(result, "")  # another reader agrees on where is up
    assert (shown.autorot().width, shown.height) == (4 * width, 4 * height)


@_EACH
@pytest.mark.parametrize("format", ["png", "tiff"])
def test_at_scale_one_not_a_bit_changes(encoding: Encoding, format: str) -> None:
    source, result, _ = _done(encoding, format, scale=1)
    before, after = _read(source), _read(result)
    assert after.pixels.dtype == before.pixels.dtype
    np.testing.assert_array_equal(after.pixels, before.pixels)
    _assert_metadata_survives(before.metadata, after)
