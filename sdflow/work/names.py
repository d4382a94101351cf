"""What a source's results are called."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from sdflow.images.formats import ImageFormat, format_of_key
from sdflow.storage import keys
from sdflow.work.shard import WorkItem

if TYPE_CHECKING:
    from sdflow.work.parameters import PixelParameters

_READABLE = 50  # characters of a source's name that its pairs carry; files have 255 bytes


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


def pair_name(key: str, identity: str) -> str:
    """What a source's pairs are called, in any layout: readable, and nobody else's.

    Loaders cut names at dots, spaces, commas and slashes, so there is none.

    Args:
        key: Of the source.
        identity: Of its pairs; another version of the source has another one.
    """
    folder, slash, name = key.rpartition("/")
    stem, dot, _ = name.rpartition(".")
    readable = re.sub(r"[^\w-]+", "_", f"{folder}{slash}{stem if dot else name}")
    return f"{readable[-_READABLE:]}-{identity[:12]}"


def claimed_key(item: WorkItem, parameters: PixelParameters) -> str | None:
    """The key that no other source's results may have; None where names cannot clash."""
    if parameters.format == "keep" or parameters.pairs is not None:
        return None  # results are called like their sources; pairs have a name of their own
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
