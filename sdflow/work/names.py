"""What a source's results are called."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sdflow.images.formats import ImageFormat, format_of_key
from sdflow.storage import keys
from sdflow.work.shard import WorkItem

if TYPE_CHECKING:
    from sdflow.work.parameters import PixelParameters


def result_format(source: ImageFormat, wanted: str) -> ImageFormat:
    """The format to write: the source's own under ``keep``."""
    return source if wanted == "keep" else ImageFormat(wanted)


def result_key(item: WorkItem, *, wanted: str, sample: int | None) -> str:
    """Key of one result, relative to the destination.

    The source's name, with the extension of ``--format`` where that is another format than the
    name announces.

    Args:
        item: The source.
        wanted: ``--format``.
        sample: Number that the name must carry, or None where an image has one result.
    """
    extension = None if wanted == "keep" else ImageFormat(wanted).extensions[0]
    if item.keeps_full_name:
        return keys.full_output_key(item.key, extension=extension, sample=sample)
    if wanted == format_of_key(item.key):
        extension = None  # .jpeg stays .jpeg
    return keys.output_key(item.key, extension=extension, sample=sample)


def pair_base(item: WorkItem) -> str:
    """What the names of an image's pairs begin with in folders: its own name, no extension."""
    return result_key(item, wanted="png", sample=None).removesuffix(".png")


def claimed_key(item: WorkItem, parameters: PixelParameters) -> str | None:
    """The key that no other source's results may have; None where names cannot clash."""
    pairs = parameters.pairs
    if pairs is not None:
        return (
            None if pairs.layout == "webdataset" else f"{keys.PAIRS_PREFIX}{pair_base(item)}.json"
        )
    if parameters.format == "keep":
        return None  # results are called like their sources
    sample = 0 if parameters.samples > 1 else None
    return result_key(item, wanted=parameters.format, sample=sample)


def piece_key(item: WorkItem, parameters: PixelParameters) -> str:
    """Where an image's pairs lie until they are in a shard."""
    return keys.piece_key(_digest(item, parameters))


def parts_prefix(item: WorkItem, parameters: PixelParameters) -> str:
    """What the keys begin with of all that is kept while an image is done in parts.

    Another version of the source, or other parameters, have another one.
    """
    return keys.scratch_prefix(_digest(item, parameters))


def _digest(item: WorkItem, parameters: PixelParameters) -> str:
    """What no other version of a source has, nor the same one under other parameters."""
    text = f"{item.key}\0{item.etag}\0{parameters.hash}".encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:24]
