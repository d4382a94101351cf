"""How the bytes of a large object are cut into the parts of an upload."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_PARTS = 10_000
PART_BYTES = 16 * 2**20
_EQUAL_PARTS = 4000
_PARTS_PER_STEP = 50


def part_size_bytes(number: int, *, first_bytes: int = PART_BYTES) -> int:
    """The size of one part, counted from 1.

    The first 4000 parts (62 GiB) have one size; from there on every 50 parts are larger by as much
    again, so that 10,000 parts, all that S3 allows, hold more than the 5 TiB of its largest object.

    Args:
        number: Which part.
        first_bytes: Size of the first part; S3 wants 5 MiB at least.
    """
    later = max(0, number - _EQUAL_PARTS)
    return first_bytes * (1 + -(-later // _PARTS_PER_STEP))


def cut_parts(chunks: Iterable[bytes], *, first_bytes: int = PART_BYTES) -> Iterator[bytes]:
    """Yield ``chunks``, joined and cut into parts; where the chunks end makes no difference.

    All parts are full but the last, which is never empty.

    Args:
        chunks: The content, in pieces of any size.
        first_bytes: Size of the first part; see :func:`part_size_bytes`.
    """
    number, gathered = 1, bytearray()
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            size_bytes = part_size_bytes(number, first_bytes=first_bytes)
            taken = rest[: size_bytes - len(gathered)]
            gathered += taken
            rest = rest[len(taken) :]
            if len(gathered) == size_bytes:
                yield _emptied(gathered)
                number += 1
    if gathered:
        yield _emptied(gathered)


def _emptied(buffer: bytearray) -> bytes:
    """What was in ``buffer``; none of it stays while the part is on its way."""
    data = bytes(buffer)
    buffer.clear()
    return data
