"""Files from bands: the same as from the whole image, in memory that does not grow."""

import json
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile

from sdflow.errors import EncodeError
from sdflow.geometry import Size
from sdflow.images import tiff_writer
from sdflow.images.bands import Bands
from sdflow.images.encoding import encode, encode_bands
from sdflow.images.formats import ImageFormat, Metadata, Pixels, WriteOptions

from .samples import noise
from .written import (
    ALL_KINDS,
    FORMATS,
    IPTC,
    KEY,
    WHOLE,
    XMP,
    by_libvips,
    by_tifffile,
    cut,
    write,
)

LARGE = (1100, 1300)


def write_bands(bands: Bands, metadata: Metadata, options: WriteOptions, path: Path) -> None:
    with path.open("w+b") as file:
        encode_bands(bands, metadata, options, key=KEY, file=file)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("metadata", [WHOLE, Metadata()])
@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7, 1), (37, 700, 3)])
def test_bands_give_the_file_of_the_whole(
    tmp_path: Path, format: ImageFormat, metadata: Metadata, shape: tuple[int, int, int]
) -> None:
    pixels, path = noise(*shape), tmp_path / "out"
    path.write_bytes(b"something else" * 10_000)
    options = WriteOptions(format, quality=90)
    write_bands(cut(pixels, [3, 1, 9]), metadata, options, path)
    streamed, whole = path.read_bytes(), encode(pixels, metadata, options, key=KEY)
    if format is not ImageFormat.PNG:
        assert streamed == whole
    else:
        assert streamed[: streamed.index(b"IDAT") - 4] == whole[: whole.index(b"IDAT") - 4]
        np.testing.assert_array_equal(by_libvips(streamed).numpy(), by_libvips(whole).numpy())


@pytest.mark.parametrize("format", [ImageFormat.PNG, ImageFormat.TIFF])
@pytest.mark.parametrize(("bands", "dtype"), ALL_KINDS)
def test_large_images_from_bands_are_exact(
    tmp_path: Path, format: ImageFormat, bands: int, dtype: type
) -> None:
    pixels, path = noise(*LARGE, bands, dtype), tmp_path / "out"
    options = WriteOptions(format, pyramid=True)
    write_bands(cut(pixels, [100, 1]), WHOLE, options, path)
    found = by_libvips(path.read_bytes()).numpy()
    np.testing.assert_array_equal(found.reshape(pixels.shape), pixels)
    assert found.dtype == dtype
    assert list(tmp_path.iterdir()) == [path]


def test_a_large_jpeg_from_bands_is_the_file_of_the_whole(tmp_path: Path) -> None:
    pixels, path = noise(*LARGE, 3), tmp_path / "out"
    options = WriteOptions(ImageFormat.JPEG)
    write_bands(cut(pixels, [333]), WHOLE, options, path)
    assert path.read_bytes() == encode(pixels, WHOLE, options, key=KEY)


@pytest.mark.parametrize(("bands", "dtype"), [(1, np.uint8), (3, np.uint8), (3, np.uint16)])
def test_a_pyramid_halves_down_to_one_tile(bands: int, dtype: type) -> None:
    level = noise(*LARGE, bands, dtype)
    data = write(level, ImageFormat.TIFF, pyramid=True)
    with tifffile.TiffFile(BytesIO(data)) as file:
        assert [page.aspage().is_reduced for page in file.pages] == [False, True, True]
    for page in range(3):
        np.testing.assert_array_equal(by_tifffile(data, page), level)
        image = pyvips.Image.tiffload_buffer(data, page=page)
        assert (image.get_typeof("xmp-data") != 0) == (page == 0)
        padded = np.pad(level, ((0, len(level) % 2), (0, level.shape[1] % 2), (0, 0)), "edge")
        quarters = [padded[y::2, x::2].astype(np.int64) for y in (0, 1) for x in (0, 1)]
        level = ((quarters[0] + quarters[1] + quarters[2] + quarters[3] + 2) // 4).astype(dtype)
    assert max(by_tifffile(data, 2).shape) <= tiff_writer.TILE


@pytest.mark.parametrize(("bands", "dtype"), [(2, np.uint8), (4, np.uint16)])
def test_no_transparent_colour_comes_through_in_a_pyramid(bands: int, dtype: type) -> None:
    top = np.iinfo(dtype).max
    pixels: Pixels = np.full((*LARGE, bands), top, dtype)
    hidden = noise(*LARGE, 1)[..., 0] < 128
    pixels[hidden] = (*[0] * (bands - 1), 0)
    data = write(pixels, ImageFormat.TIFF, pyramid=True)
    for page in (1, 2):
        found = by_tifffile(data, page)
        visible = found[..., -1] > 0
        assert visible.any()
        assert (found[visible][:, :-1] == top).all()
        assert abs(found[..., -1].mean() / top - 0.5) < 0.01


def broken(size: Size, *, after: int) -> Bands:
    """Bands of grey that break off."""

    def rows() -> Iterator[Pixels]:
        for _ in range(after):
            yield np.zeros((1, size.width, 1), np.uint8)
        raise KeyError("the region is lost")

    return Bands(rows(), size, 1, np.dtype(np.uint8))


@pytest.mark.parametrize("format", FORMATS)
def test_what_the_bands_raise_comes_out_again(tmp_path: Path, format: ImageFormat) -> None:
    bands = broken(Size(3000, 1000), after=1500)
    with pytest.raises(KeyError, match="the region is lost"):
        write_bands(bands, WHOLE, WriteOptions(format), tmp_path / "out")


@pytest.mark.parametrize("format", [ImageFormat.JPEG, ImageFormat.PNG, ImageFormat.TIFF])
def test_a_full_disk_is_an_error_of_the_disk(format: ImageFormat) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError, match="No space left"):
        write_bands(cut(noise(*LARGE, 3), [9]), WHOLE, WriteOptions(format), full)


def test_bands_too_large_for_a_format_are_refused_before_they_are_asked_for(
    tmp_path: Path,
) -> None:
    bands = broken(Size(1, 65_501), after=0)
    with pytest.raises(EncodeError, match="--format png or tiff"):
        write_bands(bands, WHOLE, WriteOptions(ImageFormat.JPEG), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b""


@pytest.mark.parametrize(
    ("side", "pyramid", "mark"),
    [(60_000, False, b"II*\0"), (60_000, True, b"II+\0"), (70_000, False, b"II+\0")],
)
def test_a_tiff_that_could_pass_4_gigabytes_is_a_bigtiff(
    side: int, pyramid: bool, mark: bytes
) -> None:
    file = BytesIO()
    with pytest.raises(KeyError):
        tiff_writer.write_pixels(
            file, broken(Size(side, side), after=0), pyramid=pyramid, scratch=BytesIO
        )
    assert file.getvalue().startswith(mark)


def test_metadata_go_into_a_bigtiff_too() -> None:
    pixels, file = noise(37, 53, 3), BytesIO()
    with tifffile.TiffWriter(file, bigtiff=True) as writer:
        writer.write(pixels, photometric="rgb", metadata=None)
    tiff_writer.attach(file, WHOLE)
    data = file.getvalue()
    assert data.startswith(b"II+\0")
    image = by_libvips(data)
    np.testing.assert_array_equal(image.numpy(), pixels)
    assert image.get("xmp-data") == XMP
    assert image.get("iptc-data") == IPTC
    assert image.xres * 25.4 == pytest.approx(300)
    with tifffile.TiffFile(BytesIO(data)) as found:
        place = found.pages.first.tags["GPSTag"].value
        assert place["GPSLatitude"] == (47, 1, 22, 1, 61, 2)
        assert found.pages.first.tags["ExifTag"].value["DateTimeOriginal"] == "2020:01:02 03:04:05"


MEASURE = """
import json, sys
from pathlib import Path
import numpy as np
from sdflow.geometry import Size
from sdflow.images.bands import Bands
from sdflow.images.encoding import encode_bands
from sdflow.images.formats import ImageFormat, Metadata, WriteOptions
from sdflow.images.rescale import rescale_bands
from sdflow.telemetry import peak_rss_bytes

format, side, path = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
band = np.zeros((100, side, 3), np.uint8)
band[:, :, 1] = np.arange(side) % 251
def write(height):
    rows = (band for _ in range(height // 100))
    bands = Bands(rows, Size(height, side), 3, band.dtype)
    bands = rescale_bands(bands, Size(height * 5 // 4, side * 5 // 4))
    options = WriteOptions(ImageFormat(format), pyramid=True)
    with path.open("w+b") as file:
        encode_bands(bands, Metadata(), options, key="k", file=file)
    return peak_rss_bytes()
print(json.dumps([write(1000), write(side)]))
"""


@pytest.mark.parametrize("format", [ImageFormat.JPEG, ImageFormat.PNG, ImageFormat.TIFF])
def test_memory_does_not_grow_with_the_height(tmp_path: Path, format: ImageFormat) -> None:
    side = 8000
    done = subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-c", MEASURE, format, str(side), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    low, high = json.loads(done.stdout)
    image_bytes = (side * 5 // 4) ** 2 * 3
    assert high - low < image_bytes / 5
    assert by_libvips((tmp_path / "out").read_bytes()).width == side * 5 // 4
