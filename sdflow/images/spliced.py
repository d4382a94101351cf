"""A file made of pieces of another one and of new bytes between them."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdflow.images.formats import ByteSource


class Spliced:
    """A ``ByteSource`` that shows pieces one after the other.

    Args:
        data: The file that ranges are taken from.
        pieces: Bytes as they are, and ranges of ``data`` (step 1).
    """

    def __init__(self, data: ByteSource, pieces: Sequence[bytes | range]) -> None:
        self._data = data
        self._pieces = pieces
        self._starts = [0, *accumulate(len(piece) for piece in pieces)]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop, _ = part.indices(len(self))
        found = []
        for index in range(bisect_right(self._starts, start) - 1, len(self._pieces)):
            first = self._starts[index]
            if first >= stop:
                break
            piece = self._pieces[index][max(start - first, 0) : stop - first]
            found.append(
                piece if isinstance(piece, bytes) else self._data[piece.start : piece.stop]
            )
        return found[0] if len(found) == 1 else b"".join(found)
