"""Ways to damage a file."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from .samples import png_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

_PNG = b"\x89PNG\r\n\x1a\n"
_NUMBERS = (0, 1, 2, 3, 7, 8, 16, 255, 256, 4095, 32767, 65500, 65535, 1 << 16, 1 << 20, 1 << 24)
_LARGE = ((1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 32) - 8)
_HEADER_BYTES = 300


class Damage:
    """Damages files; all that it does follows from the generator.

    Args:
        random: What to draw from.
        files: Whole files, to begin with and to take parts from.
    """

    def __init__(self, random: np.random.Generator, files: Sequence[bytes]) -> None:
        self._random = random
        self._files = files

    def file(self) -> bytes:
        """One damaged file."""
        ways: tuple[Callable[[bytearray], bytearray], ...] = (
            *(self._flipped, self._flipped, self._cut, self._lied, self._lied, self._lied),
            *(self._spliced, self._blanked, self._scrambled, self._moved, self._tagged),
        )
        data = bytearray(self._files[self._below(len(self._files))])
        for _ in range(1 + self._below(3)):
            if len(data) > 1:
                data = ways[self._below(len(ways))](data)
        # A PNG's checksums would hide almost all damage from the code behind them.
        return _with_checksums(bytes(data)) if self._below(4) else bytes(data)

    def _below(self, stop: int) -> int:
        return int(self._random.integers(stop))

    def _near_header(self, length: int) -> int:
        """Near the beginning, or near the end, where the directories of many TIFFs are."""
        offset = self._below(min(_HEADER_BYTES, length))
        return offset if self._below(3) else length - 1 - offset

    def _flipped(self, data: bytearray) -> bytearray:
        for _ in range(1 + self._below(8)):
            at = self._below(len(data)) if self._below(2) else self._near_header(len(data))
            data[at] ^= 1 << self._below(8)
        return data

    def _cut(self, data: bytearray) -> bytearray:
        return data[: self._below(len(data))]

    def _lied(self, data: bytearray) -> bytearray:
        numbers = (*_NUMBERS, *_LARGE, len(data), len(data) - 1, self._below(len(data)))
        number = numbers[self._below(len(numbers))]
        size = (1, 2, 2, 4, 4, 8)[self._below(6)]
        order = ("<", ">")[self._below(2)]
        value = number % (1 << 8 * size)
        written = struct.pack(f"{order}{ {1: 'B', 2: 'H', 4: 'I', 8: 'Q'}[size] }", value)
        at = self._near_header(len(data))
        data[at : at + size] = written
        return data

    def _spliced(self, data: bytearray) -> bytearray:
        other = self._files[self._below(len(self._files))]
        return data[: self._below(len(data))] + other[self._below(len(other)) :]

    def _block(self, data: bytearray) -> slice:
        at = self._below(len(data))
        return slice(at, min(len(data), at + 1 + self._below(64)))

    def _blanked(self, data: bytearray) -> bytearray:
        block = self._block(data)
        data[block] = bytes(block.stop - block.start)
        return data

    def _scrambled(self, data: bytearray) -> bytearray:
        block = self._block(data)
        data[block] = self._random.bytes(block.stop - block.start)
        return data

    def _moved(self, data: bytearray) -> bytearray:
        """A block is left out, or put somewhere once more."""
        block = self._block(data)
        piece = data[block]
        if self._below(2):
            del data[block]
        else:
            at = self._below(len(data))
            data[at:at] = piece
        return data

    def _tagged(self, data: bytearray) -> bytearray:
        """One field of one entry of a TIFF directory becomes another number."""
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(data[:4]))
        if order is None or len(data) < 16:
            return self._lied(data)
        (at,) = struct.unpack_from(f"{order}I", data, 4)
        if at + 14 > len(data):
            return self._lied(data)
        (count,) = struct.unpack_from(f"{order}H", data, at)
        entry = at + 2 + 12 * self._below(max(1, min(count, 40)))
        field, form = ((2, "H"), (4, "I"), (8, "I"), (8, "H"))[self._below(4)]
        numbers = (*_NUMBERS, *_LARGE, 32773, 34925, 50000)
        number = numbers[self._below(len(numbers))] % (1 << (16 if form == "H" else 32))
        if entry + 12 <= len(data):
            struct.pack_into(f"{order}{form}", data, entry + field, number)
        return data


def _with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks all have the right checksum; another file as it is."""
    if not data.startswith(_PNG):
        return data
    parts, at = [_PNG], len(_PNG)
    while at + 12 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if at + 12 + size > len(data):
            break
        parts.append(png_chunk(name, data[at + 8 : at + 8 + size]))
        at += 12 + size
    return b"".join((*parts, data[at:]))
