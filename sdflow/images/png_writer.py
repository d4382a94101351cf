"""PNG files of images that are in memory (PNG specification, third edition, W3C 2025).

libdeflate packs twice as fast as the zlib of libvips and as small, but takes the whole stream at
once; giant images, which cannot be had at once, go through libvips.
"""

from __future__ import annotations

import struct
import zlib
from types import MappingProxyType
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np

from sdflow.images.png import SIGNATURE

if TYPE_CHECKING:
    from sdflow.images.formats import Pixels

_COLOUR_TYPES = MappingProxyType({1: 0, 2: 4, 3: 2, 4: 6})
_UP = 2
_CHUNK_BYTES = 1 << 20


def write(pixels: Pixels, level: int) -> bytes:
    """A PNG without metadata; every row is stored as its difference to the row above.

    Args:
        pixels: (H, W, 1 to 4), uint8 or uint16.
        level: 0 to 9, of libdeflate.
    """
    height, width, num_bands = pixels.shape
    depth = 8 * pixels.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, depth, _COLOUR_TYPES[num_bands], 0, 0, 0)
    packed = memoryview(imagecodecs.deflate_encode(_filtered(pixels), level=level))
    parts = [SIGNATURE, *chunk(b"IHDR", header)]
    for at in range(0, len(packed), _CHUNK_BYTES):
        parts += chunk(b"IDAT", packed[at : at + _CHUNK_BYTES])
    parts += chunk(b"IEND", b"")
    return b"".join(parts)


def chunk(name: bytes, body: bytes | memoryview) -> tuple[bytes, bytes | memoryview, bytes]:
    """The three parts of a chunk: length and name, body, checksum."""
    crc = zlib.crc32(body, zlib.crc32(name))
    return struct.pack(">I4s", len(body), name), body, struct.pack(">I", crc)


def _filtered(pixels: Pixels) -> bytearray:
    """Rows of bytes, big-endian, each after the number of its filter."""
    ordered = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    rows = ordered.reshape(len(pixels), -1).view(np.uint8)
    filtered = bytearray(len(rows) * (1 + rows.shape[1]))
    result = np.frombuffer(filtered, np.uint8).reshape(len(rows), -1)
    result[:, 0] = _UP
    result[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=result[1:, 1:])
    return filtered
