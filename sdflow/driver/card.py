"""A dataset's card: what it is, how to load it, and a picture of some pairs."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sdflow.driver.listings import pairs_of
from sdflow.errors import SdflowError
from sdflow.images import codec
from sdflow.storage import keys
from sdflow.work.dataset import TAR_END

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdflow.images.formats import Pixels
    from sdflow.storage.store import Store
    from sdflow.work.dataset import DatasetRecord
    from sdflow.work.ledger import LedgerLine

_SAMPLES = 4
_SIDE = 192  # of a picture in the grid, in HR pixels
_GAP = 6
_NIGHTS = 30  # that the card lists
_MAX_READ_BYTES = 32_000_000
_MAX_PIXELS = 20_000_000  # of a photo that is shown


def write_card(target: Store, record: DatasetRecord, shown: Sequence[LedgerLine]) -> None:
    """Write ``README.md`` and, where there are pairs to show, ``samples.png``.

    Args:
        target: The dataset.
        record: What it is now.
        shown: Lines of the ledger whose first pairs are shown, as far as they can be read.

    Raises:
        StorageError: If the store refuses.
    """
    rows = [row for line in shown if (row := _row(target, line))]
    if rows:
        target.put(keys.SAMPLES_KEY, _grid(rows))
    target.put(keys.CARD_KEY, _text(record).encode("utf-8", "surrogateescape"))


def _row(target: Store, line: LedgerLine) -> list[Image.Image]:
    """The HR image of a source's first pair, bicubic, and LR images; pieces of equal place."""
    try:
        files = [
            codec.decode(data, key=line.key, max_pixels=_MAX_PIXELS).pixels
            for data in _first_pair(target, line)
        ]
    except (SdflowError, tarfile.TarError):  # a picture is no reason to fail
        return []
    if len(files) < 2:
        return []
    large, small = _as_image(files[0]), [_as_image(pixels) for pixels in files[1:]]
    plain = large.resize(small[0].size, Image.Resampling.BICUBIC)
    return [_middle(large, _SIDE), *(_middle(one, _SIDE // 4) for one in (plain, *small))]


def _first_pair(target: Store, line: LedgerLine) -> list[bytes]:
    """Contents of the HR file and of some LR files of a source's first pair."""
    piece = line.outputs[0]
    if not piece.key.startswith(keys.PIECES_PREFIX):
        few = next(pairs_of(line))[: _SAMPLES + 1]
        return [target.get(key, stop=_MAX_READ_BYTES) for key in few]
    data = target.get(piece.key, stop=_MAX_READ_BYTES)
    contents: list[bytes] = []
    with tarfile.open(fileobj=io.BytesIO(data + TAR_END), mode="r|") as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is None or not member.name.endswith(".png") or len(contents) > _SAMPLES:
                break
            contents.append(file.read())
    return contents


def _as_image(pixels: Pixels) -> Image.Image:
    """RGB in 8 bits, alpha left out."""
    if pixels.dtype == np.uint16:
        pixels = (pixels // 257).astype(np.uint8)
    colours = pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    return Image.fromarray(np.ascontiguousarray(colours))


def _middle(image: Image.Image, side: int) -> Image.Image:
    """The middle of an image, at most so large, enlarged to the grid's side."""
    width, height = (min(length, side) for length in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    cut = image.crop((left, top, left + width, top + height))
    factor = _SIDE / max(width, height)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cut.resize(size, Image.Resampling.NEAREST)


def _grid(rows: Sequence[Sequence[Image.Image]]) -> bytes:
    columns, step = max(map(len, rows)), _SIDE + _GAP
    sheet = Image.new("RGB", (columns * step + _GAP, len(rows) * step + _GAP), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            sheet.paste(image, (_GAP + x * step, _GAP + y * step))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _text(record: DatasetRecord) -> str:
    given, counts, pairs = record.parameters, record.counts, record.parameters["pairs"]
    crop = f"{pairs['crop']} px squares" if pairs["crop"] else "whole images"
    nights = "\n".join(
        f"| {one.night} | {one.time} | {one.new} | {one.changed} | {one.vanished} | {one.pairs} |"
        f" {one.bytes:,} |"
        for one in record.nights[-_NIGHTS:]
    )
    return f"""# Realistic LR images of {record.source}

Pairs of HR images and LR images a quarter as large, drawn by sdflow from the distribution of real
low-quality photos (SDFlow, arXiv:2310.04964). Made by `sdflow degrade`.

| | |
|---|---|
| Layout | {record.layout} |
| Pairs in use | {counts["pairs"]:,} of {counts["sources"]:,} photos |
| LR images per pair | {given["samples"]} |
| HR images | {crop} |
| Temperature | {given["tau"]} to {pairs["tau_to"]} |
| Seed | {given["seed"]} |
| Weights | {given["weights"]} |
| Photos without a pair | {counts["without_pairs"]:,} |
| Photos that have vanished; their pairs are in `{record.stale}` | {counts["vanished"]:,} |
| Bytes | {record.bytes:,} |

`dataset.json` says what belongs to the dataset, `index/` where the pairs of each photo are,
`{record.stale}` which pairs not to use any more: those of vanished photos and of replaced versions.
The licence is that of the photos.

![From left to right: HR, bicubic, LR images as drawn]({keys.SAMPLES_KEY})

| night | ended | new | changed | vanished | pairs | bytes |
|---|---|--:|--:|--:|--:|--:|
{nights}
"""
