"""What the job's settings make of files: metadata, scale, depth, frames."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from sdflow import __version__
from sdflow.errors import DecodeError, TooLargeError
from sdflow.work.handling import Handling
from sdflow.worker.bicubic import BicubicEngine
from sdflow.worker.codec import JobCodec
from tests.worker.bench import PARAMETERS, Bench, image_bytes

_ORIENTATION, _SOFTWARE, _DATE, _MODEL = 0x0112, 0x0131, 0x9003, 0x0110
_SIZE_IN_EXIF = (0xA002, 0xA003)
_EXIF = 0x8769


def _photo() -> bytes:
    """A photo of 9 x 7 pixels that lies on its side, as a camera writes it."""
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    exif = Image.Exif()
    exif[_ORIENTATION], exif[_SOFTWARE], exif[_MODEL] = 6, "camera 1.0", "model"
    details = exif.get_ifd(_EXIF)
    details[_DATE] = "2026:01:02 03:04:05"
    details[_SIZE_IN_EXIF[0]], details[_SIZE_IN_EXIF[1]] = 9, 7
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", exif=exif, dpi=(240, 240))
    return buffer.getvalue()


def test_result_stands_upright_and_says_where_it_comes_from() -> None:
    bench = Bench()
    bench.run(bench.put("a.jpg", _photo()))
    result = bench.result("a.jpg")
    assert result.size == (28, 36)
    exif = result.getexif()
    assert exif[_ORIENTATION] == 1
    assert exif[_MODEL] == "model"
    assert exif[_SOFTWARE] == f"sdflow {__version__}"
    details = exif.get_ifd(_EXIF)
    assert details[_DATE] == "2026:01:02 03:04:05"
    assert [details[tag] for tag in _SIZE_IN_EXIF] == [28, 36]
    assert result.info["dpi"] == (240, 240)
    packet = result.info["xmp"].decode()
    for value in ("bicubic", "upscale", "0.8", "camera 1.0"):
        assert value in packet


def test_what_the_format_has_no_place_for_is_on_the_ledger_line() -> None:
    bench = Bench()
    damaged = _photo().replace(b"MM\0*", b"XX\0*")
    report = bench.run(bench.put("a.jpg", damaged))
    assert report.done["a.jpg"].note.startswith("EXIF left out")


def test_stripped_result_has_no_metadata_and_stands_upright_too() -> None:
    bench = Bench()
    bench.run(bench.put("a.jpg", _photo()), parameters=replace(PARAMETERS, metadata="strip"))
    result = bench.result("a.jpg")
    assert result.size == (28, 36)
    assert not result.getexif()
    assert "xmp" not in result.info
    assert b"sdflow" not in bench.target.get("a.jpg")


@pytest.mark.parametrize("outscale", [1.0, 1.5, 3.0, 8.0])
def test_final_scale(outscale: float) -> None:
    bench = Bench()
    item = bench.put("a.png", image_bytes("RGB", (21, 13), "PNG"))
    bench.run(item, parameters=replace(PARAMETERS, outscale=outscale))
    expected = tuple(int(side * outscale + 0.5) for side in (21, 13))
    assert bench.result("a.png").size == expected


def test_final_scale_loses_nothing_to_rounding_in_between() -> None:
    """White, black and every level of a flat image stay what they are."""
    codec = JobCodec(replace(PARAMETERS, outscale=2.0), Handling())
    for level in (0, 1, 127, 128, 254, 255):
        buffer = BytesIO()
        Image.new("L", (5, 4), level).save(buffer, "PNG")
        image = codec.decode(buffer.getvalue(), key="a.png")
        deep = BicubicEngine().upscale(image.pixels.astype(np.uint16) * 257, key="a.png")
        data, note = codec.encode(deep, image, sample=0, key="a.png")
        result = Image.open(BytesIO(data))
        assert note == ""
        assert result.getextrema() == (level, level)
        assert result.size == (10, 8)


def _animation() -> bytes:
    buffer = BytesIO()
    frames = [Image.new("RGB", (6, 5), (level, 0, 0)) for level in (200, 100)]
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def test_animation_is_refused_unless_its_first_frame_is_wanted() -> None:
    with pytest.raises(DecodeError, match="--first-frame"):
        JobCodec(PARAMETERS, Handling()).decode(_animation(), key="a.png")
    image = JobCodec(PARAMETERS, Handling(first_frame=True)).decode(_animation(), key="a.png")
    assert image.note == "the first of 2 images in the file"
    assert (image.pixels[..., 0] == 200).all()


def test_first_page_of_many_is_taken_and_noted() -> None:
    bench, data = Bench(), BytesIO()
    pages = [Image.new("RGB", (90, 90), (level, 0, 0)) for level in range(40)]
    pages[0].save(data, "TIFF", save_all=True, append_images=pages[1:])
    report = bench.run(bench.put("a.tif", data.getvalue()), parameters=PARAMETERS)
    assert report.done["a.tif"].note == "the first of 40 images in the file"


def test_bomb_is_refused_by_its_header() -> None:
    data = image_bytes("L", (101, 100), "PNG")
    with pytest.raises(TooLargeError, match="--max-pixels"):
        JobCodec(PARAMETERS, Handling(max_pixels=10_000)).decode(data, key="a.png")


@pytest.mark.parametrize("outscale", [1.0, 2.0, 3.5, 6.0])
def test_hidden_colours_do_not_run_into_visible_ones_when_resampled(outscale: float) -> None:
    y, x = np.mgrid[0:40, 0:40]
    disc = (y - 20) ** 2 + (x - 20) ** 2 < 12**2
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[...] = (0, 255, 0, 0)  # green that nobody sees
    pixels[disc] = (200, 0, 0, 255)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    bench = Bench()
    item = bench.put("a.png", buffer.getvalue())
    bench.run(item, parameters=replace(PARAMETERS, outscale=outscale))
    found = np.asarray(bench.result("a.png")).astype(int)
    visible = found[found[..., 3] > 8]
    assert len(visible) > 400 * outscale**2
    assert np.abs(visible[:, :3] - (200, 0, 0)).max() <= 1
