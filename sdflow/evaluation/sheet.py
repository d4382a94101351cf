"""A contact sheet: windows of several images side by side, at 100 %."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sdflow.evaluation.planes import GREY, levels, mixed
from sdflow.geometry import Region
from sdflow.images.encoding import encode
from sdflow.images.formats import ImageFormat, Metadata, WriteOptions
from sdflow.worker.photo import SCALE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sdflow.images.formats import Pixels

_GAP_PX, _LINE_PX, _TEXT_PX = 6, 18, 13
_PAPER, _INK = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True, eq=False, slots=True)
class SheetRow:
    """One image's windows.

    Attributes:
        title: Above them.
        windows: (h, w, 3) uint8 by label, in the order of columns.
    """

    title: str
    windows: Mapping[str, NDArray[np.uint8]]


def upscaled_row(
    key: str, lr: Pixels, pictures: Mapping[str, Sequence[Pixels]], *, side: int
) -> SheetRow:
    """The window of an image with the most detail, of the source and of all its results.

    Args:
        key: Of the source.
        lr: (h, w, 1 or 3).
        pictures: Full-size pixels by method; several of one are numbered.
        side: Of the window in full-size pixels, a multiple of four.
    """
    small = busiest_window(lr, side // SCALE)
    window = small.scaled(SCALE)
    cells = {"input": _nearest(_shown(lr[small.slices]))}
    for label, pixels in _numbered(pictures):
        cells[label] = _shown(pixels[window.slices])
    return SheetRow(key, cells)


def downscaled_row(
    key: str,
    photo: Pixels,
    pictures: Mapping[str, Sequence[Pixels]],
    *,
    real: Pixels | None,
    side: int,
) -> SheetRow:
    """Windows of small results, their pixels enlarged to four times four, and one of a real photo.

    Args:
        key: Of the photo.
        photo: (4h, 4w, 1 or 3).
        pictures: Small pixels by method.
        real: Some real small photo.
        side: Of the windows as they are shown, a multiple of four.
    """
    results = _numbered(pictures)
    small = busiest_window(results[0][1], side // SCALE)
    cells = {"input": _shown(photo[small.scaled(SCALE).slices])}
    for label, pixels in results:
        cells[label] = _nearest(_shown(pixels[small.slices]))
    if real is not None:
        window = busiest_window(real, side // SCALE)
        cells["some real photo"] = _nearest(_shown(real[window.slices]))
    return SheetRow(key, cells)


def draw_sheet(rows: Sequence[SheetRow]) -> bytes:
    """Lay rows out under the labels of their columns.

    Returns:
        A PNG.
    """
    labels = list(dict.fromkeys(label for row in rows for label in row.windows))
    column_px = max(window.shape[1] for row in rows for window in row.windows.values())
    heights = [max(window.shape[0] for window in row.windows.values()) for row in rows]
    width = _GAP_PX + len(labels) * (column_px + _GAP_PX)
    height = _LINE_PX + _GAP_PX + sum(side + _LINE_PX + _GAP_PX for side in heights)
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_TEXT_PX)
    lefts = [_GAP_PX + number * (column_px + _GAP_PX) for number in range(len(labels))]
    for left, label in zip(lefts, labels, strict=True):
        pen.text((left, 2), label, fill=_INK, font=font)
    top = _LINE_PX + _GAP_PX
    for row, side in zip(rows, heights, strict=True):
        pen.text((_GAP_PX, top), row.title, fill=_INK, font=font)
        for left, label in zip(lefts, labels, strict=True):
            if label in row.windows:
                sheet.paste(Image.fromarray(row.windows[label]), (left, top + _LINE_PX))
        top += _LINE_PX + side + _GAP_PX
    options = WriteOptions(ImageFormat.PNG, png_level=6)
    return encode(np.asarray(sheet), Metadata(), options, key="sheet.png")


def busiest_window(pixels: Pixels, side: int) -> Region:
    """Where a window has the steepest steps, on a grid of a quarter of it; at most the image.

    Args:
        pixels: (H, W, 1 or 3).
        side: Of the window.
    """
    grey = mixed(levels(pixels), GREY)[0]
    height, width = (min(side, length) for length in grey.shape)
    steps = np.abs(np.diff(grey, axis=0, append=grey[-1:]))
    steps += np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    # Sums of every rectangle from the corner on give those of any window.
    sums = np.pad(steps.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    grid_px = max(side // 4, 1)
    rows, columns = (
        np.append(np.arange(0, whole - part, grid_px), whole - part)
        for whole, part in zip(grey.shape, (height, width), strict=True)
    )
    bottoms, rights = rows + height, columns + width
    detail = (
        sums[np.ix_(bottoms, rights)]
        - sums[np.ix_(rows, rights)]
        - sums[np.ix_(bottoms, columns)]
        + sums[np.ix_(rows, columns)]
    )
    row, column = np.unravel_index(int(detail.argmax()), detail.shape)
    return Region(int(rows[row]), int(columns[column]), height, width)


def _numbered(pictures: Mapping[str, Sequence[Pixels]]) -> list[tuple[str, Pixels]]:
    return [
        (f"{method}, sample {number}" if len(several) > 1 else method, pixels)
        for method, several in pictures.items()
        for number, pixels in enumerate(several)
    ]


def _shown(pixels: Pixels) -> NDArray[np.uint8]:
    return np.rint(levels(pixels)).astype(np.uint8)


def _nearest(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
