"""Files that the code under test writes, and what other programs make of them."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pyvips
import tifffile
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms

from sdflow.geometry import Size
from sdflow.images import ifd
from sdflow.images.bands import Bands
from sdflow.images.encoding import encode
from sdflow.images.exif import MAKER_NOTE
from sdflow.images.formats import ImageFormat, Metadata, WriteOptions
from sdflow.images.orientation import UPRIGHT

from .samples import ICC, exif

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdflow.images.formats import Pixels

FORMATS = list(ImageFormat)
LOSSLESS = (ImageFormat.PNG, ImageFormat.TIFF)
ALL_KINDS = [(bands, dtype) for bands in (1, 2, 3, 4) for dtype in (np.uint8, np.uint16)]
KEY = "a/b.img"
XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="uuid:1" xmlns:t="http://ns.adobe.com/tiff/1.0/"
    xmlns:exif='http://ns.adobe.com/exif/1.0/' xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/" t:Orientation="6" exif:PixelXDimension = '4000'>
   <exif:PixelYDimension>3000</exif:PixelYDimension>
   <t:ImageWidth>4000</t:ImageWidth>
   <xmp:Thumbnails><rdf:Alt><rdf:li>old</rdf:li></rdf:Alt></xmp:Thumbnails>
   <dc:subject><rdf:Bag><rdf:li>Zürich &amp; more</rdf:li></rdf:Bag></dc:subject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
          \n<?xpacket end="w"?>""".encode()
IPTC = b"\x1c\x02\x19\x00\x06Schnee\x1c\x02\x05\x00\x05Titel"
GREY_ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
GREY_ICC = GREY_ICC[:16] + b"GRAY" + GREY_ICC[20:]
UPRIGHT_EXIF = exif(tag_274=UPRIGHT)
WHOLE = Metadata(ICC, UPRIGHT_EXIF, XMP, IPTC, (300.0, 150.0))


def images(*kinds: tuple[int, type]) -> st.SearchStrategy[Pixels]:
    """Images of random content and any kind, from 1 x 1 on."""

    def of_kind(kind: tuple[int, type]) -> st.SearchStrategy[Pixels]:
        return hnp.arrays(
            kind[1], st.tuples(st.integers(1, 19), st.integers(1, 19), st.just(kind[0]))
        )

    return st.sampled_from(kinds or ALL_KINDS).flatmap(of_kind)


def cut(pixels: Pixels, heights: Sequence[int]) -> Bands:
    """An array as bands of these heights, over and over."""

    def rows() -> Iterator[Pixels]:
        at, number = 0, 0
        while at < len(pixels):
            height = heights[number % len(heights)]
            yield pixels[at : at + height]
            at, number = at + height, number + 1

    return Bands(rows(), Size(*pixels.shape[:2]), pixels.shape[2], pixels.dtype)


def write(
    pixels: Pixels,
    format: ImageFormat,
    metadata: Metadata = WHOLE,
    *,
    quality: int = 90,
    pyramid: bool = False,
) -> bytes:
    options = WriteOptions(format, quality=quality, pyramid=pyramid)
    return encode(pixels, metadata, options, key=KEY)


def by_libvips(data: bytes) -> pyvips.Image:
    return pyvips.Image.new_from_buffer(data, "", fail_on="warning")


def by_tifffile(data: bytes, page: int = 0) -> Pixels:
    with tifffile.TiffFile(BytesIO(data)) as file:
        found = file.pages[page]
        pixels: Pixels = found.asarray()
        return pixels if pixels.ndim == 3 else pixels[..., None]


def tags(data: bytes) -> dict[str, Any]:
    """EXIF as Pillow understands it: a stream, without pointers and what TIFF has of its own."""
    found = Image.Exif()
    found.load(data)
    return tags_of(found)


def tags_of(found: Image.Exif) -> dict[str, Any]:
    """The same of what Pillow has read."""
    main = {tag: found[tag] for tag in (0x010F, 0x0112, 0x0131, 0x0132, 0x8298) if tag in found}
    return {"main": main, "exif": found.get_ifd(0x8769), "gps": found.get_ifd(0x8825)}


def with_maker_note(order: str = ">", note: bytes = b"Maker" + bytes(range(256)) * 9) -> bytes:
    """EXIF whose MakerNote stands where its maker has put it, and a thumbnail behind."""
    found = ifd.read_stream(exif(tag_305=0)).entries
    child = ifd.Directory({MAKER_NOTE: ifd.Entry(ifd.UNDEFINED, note)})
    main = ifd.Directory({**found, 305: ifd.Entry(ifd.ASCII, b"Camera\0")}, {ifd.EXIF_TAG: child})
    return ifd.write_stream(main, order, placed={(ifd.EXIF_TAG, MAKER_NOTE): (1234, note)})
