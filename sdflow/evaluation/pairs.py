"""Small photos beside what they should become."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from posixpath import splitext
from typing import TYPE_CHECKING

from sdflow.errors import ImageError, UsageError
from sdflow.geometry import Region
from sdflow.images.color import resize_pixels
from sdflow.worker.photo import SCALE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdflow.images.color import Resample
    from sdflow.images.formats import Pixels

_SUFFIX = re.compile(r"(?<=.)[._-]?(HR|GT|LR\d?|x4)$", re.IGNORECASE)


@dataclass(frozen=True, eq=False, slots=True)
class Pair:
    """One image to be upscaled.

    Attributes:
        key: Of the source; part of the noise's identity.
        lr: (h, w, 1 or 3), uint8 or uint16.
        truth: What it should become, (H, W, 1 or 3) with sides from 4h - 3 to 4h; None where
            nobody knows.
    """

    key: str
    lr: Pixels
    truth: Pixels | None = None


def enlarge(pixels: Pixels, resample: Resample) -> Pixels:
    """(h, w, C) to (4h, 4w, C) of the same depth, by Pillow."""
    height, width = (SCALE * side for side in pixels.shape[:2])
    return resize_pixels(pixels, height=height, width=width, resample=resample)


def shrink(pixels: Pixels, resample: Resample) -> Pixels:
    """(4h, 4w, C) to (h, w, C) of the same depth, by Pillow; the rest of a side is cut off."""
    whole = cut_to_cells(pixels)
    height, width = (side // SCALE for side in whole.shape[:2])
    return resize_pixels(whole, height=height, width=width, resample=resample)


def cut_to_cells(pixels: Pixels) -> Pixels:
    """A view whose sides are multiples of four, from the top left."""
    height, width = (side - side % SCALE for side in pixels.shape[:2])
    return pixels[:height, :width]


def middle(pixels: Pixels, side: int, *, multiple_of: int) -> Pixels:
    """A view of at most (side, side) in the middle; sides and corner are multiples."""
    lengths = [min(side, length) // multiple_of * multiple_of for length in pixels.shape[:2]]
    corner = [
        (whole - length) // 2 // multiple_of * multiple_of
        for whole, length in zip(pixels.shape[:2], lengths, strict=True)
    ]
    return pixels[Region(*corner, *lengths).slices]


def shrunk_pair(key: str, photo: Pixels) -> Pair:
    """A photo, and its bicubic quarter.

    Raises:
        ImageError: It is smaller than four pixels.
    """
    truth = cut_to_cells(photo)
    if not truth.size:
        raise ImageError(f"{key} has a side of less than {SCALE} px", item=key, code="too_small")
    return Pair(key, shrink(truth, "bicubic"), truth)


def matched_pair(key: str, lr: Pixels, photo: Pixels, *, name: str) -> Pair:
    """A small photo and its true counterpart, the latter cut where it has a part of a cell more.

    Args:
        key: Of the small one.
        lr: The small one.
        photo: The true one.
        name: Its key.

    Raises:
        ImageError: ``pair.size``: one is not four times as large as the other.
    """
    (height, width), (rows, columns) = lr.shape[:2], photo.shape[:2]
    if abs(rows - SCALE * height) >= SCALE or abs(columns - SCALE * width) >= SCALE:
        raise ImageError(
            f"{key} is {width} x {height} px, so that its reference {name} must be "
            f"{SCALE * width} x {SCALE * height} px, not {columns} x {rows}",
            item=key,
            code="pair.size",
        )
    return Pair(key, lr, photo[: SCALE * height, : SCALE * width])


def cropped_pair(pair: Pair, side: int) -> Pair:
    """The middle of a pair, ``side`` full-size pixels at the most: a multiple of four."""
    lr = middle(pair.lr, side // SCALE, multiple_of=1)
    if pair.truth is None or lr.shape == pair.lr.shape:
        return replace(pair, lr=lr)
    top, left = (
        (whole - part) // 2 * SCALE
        for whole, part in zip(pair.lr.shape[:2], lr.shape[:2], strict=True)
    )
    region = Region(top, left, *(SCALE * length for length in lr.shape[:2]))
    return replace(pair, lr=lr, truth=pair.truth[region.slices])


def references_by_source(sources: Iterable[str], references: Iterable[str]) -> dict[str, str]:
    """Find each source's reference: the same key but for its extension and for _HR, _LR4, x4, ….

    Returns:
        Reference by source; sources without one are absent.

    Raises:
        UsageError: Two references, or two sources, would be the same.
    """
    by_name = _by_pair_name(references)
    return {
        source: by_name[name] for name, source in _by_pair_name(sources).items() if name in by_name
    }


def _by_pair_name(keys: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in keys:
        folder, slash, file = key.rpartition("/")
        name = folder + slash + _SUFFIX.sub("", splitext(file)[0])
        if name in found:
            raise UsageError(
                f"{found[name]} and {key} have the same name apart from their ending, and one "
                "photo has one counterpart: --exclude one of them",
                item=key,
            )
        found[name] = key
    return found
