"""The words of this room: formats, what a header says, what surrounds the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from posixpath import splitext
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sdflow.geometry import Region

Pixels: TypeAlias = NDArray[np.uint8 | np.uint16]
"""HWC, height and width at least 1; 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) channels.

The range is the whole range of the dtype; alpha is straight, not premultiplied.
"""


class ImageFormat(StrEnum):
    """A file format that is read and written; the value is the word of ``--format``."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    TIFF = "tiff"
    AVIF = "avif"

    @property
    def extensions(self) -> tuple[str, ...]:
        """Lower-case extensions, the one to write first."""
        return _EXTENSIONS[self]


_EXTENSIONS = MappingProxyType(
    {
        ImageFormat.JPEG: (".jpg", ".jpeg"),
        ImageFormat.PNG: (".png",),
        ImageFormat.WEBP: (".webp",),
        ImageFormat.TIFF: (".tif", ".tiff"),
        ImageFormat.AVIF: (".avif",),
    }
)
FORMAT_BY_EXTENSION = MappingProxyType(
    {extension: name for name, extensions in _EXTENSIONS.items() for extension in extensions}
)
IMAGE_EXTENSIONS = tuple(FORMAT_BY_EXTENSION)


def format_of_key(key: str) -> ImageFormat | None:
    """The format that the extension of ``key`` announces, in any case of letters, or None."""
    return FORMAT_BY_EXTENSION.get(splitext(key)[1].lower())


class ByteSource(Protocol):
    """A file's bytes, in memory (``bytes`` is one) or read by ranges from where they lie."""

    def __len__(self) -> int:
        """Length of the whole file."""

    def __getitem__(self, part: slice, /) -> bytes:
        """A range with step 1 and no negative ends, cut at the end of the file."""


class PixelReader(Protocol):
    """The pixels of one image as they are stored, in pieces.

    Attributes:
        is_random: Regions may be read in any order, at a cost that follows their own size. Else
            every region must have the whole width and begin where the one before ended.
    """

    is_random: bool

    def read(self, region: Region) -> Pixels:
        """The pixels of a region that lies inside the image; raises BrokenImageError."""

    def close(self) -> None:
        """Let go of what was opened."""


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How pixels are written.

    Attributes:
        format: What to write.
        quality: 1 to 100, for JPEG, WebP and AVIF.
        png_level: 0 to 9, for PNG.
        pyramid: Whether a TIFF gets reduced copies, for viewers of giant images.
    """

    format: ImageFormat
    quality: int = 95
    png_level: int = 1
    pyramid: bool = False


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file says about its pixels, kept byte for byte where the format allows.

    Attributes:
        icc: ICC profile.
        exif: A TIFF stream that begins with ``II`` or ``MM``, without the ``Exif`` prefix of JPEG,
            as the file had it: its orientation and sizes are those of the stored pixels.
        xmp: XMP packet, UTF-8. JPEG's extended XMP (packets above 64 KB) is not read.
        iptc: IPTC-IIM records, without the Photoshop resource around them.
        png_colour: What a PNG says of its colours beside a profile: name and content of its
            ``cICP``, ``gAMA``, ``cHRM``, ``sRGB``, ``mDCV`` and ``cLLI`` chunks, in their order.
        dpi: Horizontal and vertical pixels per inch from the file's own density field. WebP has
            no such field; the resolution tags inside ``exif`` are separate and stay as they are.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    png_colour: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the header says.

    Attributes:
        format: By content, whatever the extension says.
        width: Pixels per stored row; the orientation is not applied.
        height: Stored rows.
        bands: Channels of the pixels as they decode: a palette or CMYK counts as 3, with
            transparency as 4.
        bit_depth: Bits of a stored sample, or of the colours of a palette with more than 8. Up to
            8 decode to uint8, more to uint16.
        frames: Images in the file, thumbnails and reduced copies not counted.
        refusal: What ``decode`` will refuse the image for and what to do about it, or None.
        whole_bytes: Memory that reading a piece takes whatever the size of the piece, because the
            format or this file can only be decoded as a whole; 0 where pieces can be read.
    """

    format: ImageFormat
    width: int
    height: int
    bands: int
    bit_depth: int
    frames: int = 1
    refusal: str | None = None
    whole_bytes: int = 0

    @property
    def num_pixels(self) -> int:
        """Width times height."""
        return self.width * self.height

    @property
    def dtype(self) -> np.dtype[np.uint8 | np.uint16]:
        """Type of the decoded samples."""
        return np.dtype(np.uint8 if self.bit_depth <= 8 else np.uint16)

    @property
    def decoded_bytes(self) -> int:
        """Size of the decoded pixels."""
        return self.num_pixels * self.bands * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A file taken apart.

    Attributes:
        payload: The same image without metadata, all that a decoder gets to see: bytes, and
            ranges of the file, one after the other.
        metadata: What was around it.
        note: What was damaged and is left out of it, for people.
    """

    payload: tuple[bytes | range, ...]
    metadata: Metadata
    note: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class DecodedImage:
    """One image in memory.

    Attributes:
        pixels: See ``Pixels``; C-contiguous, writable, owned by this object.
        format: The format that it was decoded from.
        metadata: What was around the pixels.
        note: What was damaged and is left out of it, for people; empty where nothing was.
        frames: Images in the file, of which this is the first.
    """

    pixels: Pixels
    format: ImageFormat
    metadata: Metadata
    note: str = ""
    frames: int = 1

    @property
    def num_pixels(self) -> int:
        """Height times width."""
        return int(self.pixels.shape[0] * self.pixels.shape[1])


@dataclass(frozen=True, eq=False, slots=True)
class OpenedImage:
    """An image whose header and metadata are read, and whose pixels can be.

    Attributes:
        info: What the header says.
        metadata: What is around the pixels, as the file has it.
        orientation: EXIF orientation, 1 to 8, that is yet to be applied to what ``reader`` gives.
        reader: The stored pixels.
        note: What was damaged and is left out of ``metadata``, for people; empty where nothing was.
    """

    info: ImageInfo
    metadata: Metadata
    orientation: int
    reader: PixelReader
    note: str = ""


class BrokenImageError(Exception):
    """Bytes that a format's reader cannot follow; ``codec`` adds the key (``DecodeError``).

    Attributes:
        code: ``decode.truncated``, ``decode.corrupt`` or ``decode.unsupported``.
    """

    def __init__(self, reason: str, *, code: str = "decode.corrupt") -> None:
        super().__init__(reason)
        self.code = code


def take(data: ByteSource, start: int, size: int, what: str) -> bytes:
    """Cut ``data[start : start + size]``; BrokenImageError (truncated) if it is not all there."""
    check_length(data, start + size, what)
    return data[start : start + size]


def check_length(data: ByteSource, end: int, what: str) -> None:
    """Raise BrokenImageError (truncated) if a file ends before ``end``."""
    if end > len(data):
        raise BrokenImageError(
            f"the file ends inside {what}, at byte {len(data)}", code="decode.truncated"
        )
