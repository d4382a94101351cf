"""The durable record of what is done: lines and parts.

The ledger is a folder of gzipped JSON lines (``zcat _sdflow/ledger/*``), whose parts are written
after the results that they speak of are durable. Names of parts sort by time; where several lines
speak of one image, the last one counts.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Literal

from sdflow.errors import StorageError
from sdflow.telemetry import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sdflow.work.parameters import PixelParameters
    from sdflow.work.shard import WorkItem


_NOT_THE_IMAGES_FAULT = frozenset(
    {"internal", "oom", "storage", "storage.denied", "storage.not_found", "storage.transient"}
)


@dataclass(frozen=True, slots=True)
class Output:
    """One durable result.

    Attributes:
        key: Relative to the destination.
        etag: As the store gave it.
        size_bytes: Length.
    """

    key: str
    etag: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """How one image ended.

    Attributes:
        key: Source key relative to the job's prefix.
        etag: Version of the source.
        parameters: Hash of everything that changes pixels, the weights included.
        status: ``done``; ``failed`` for a dead letter; ``missing`` for results that were done and
            are gone, so that the next run makes them again; ``vanished`` in a dataset's index for
            pairs whose source is gone.
        time: When, ISO 8601 in UTC.
        attempts: How often it was tried, from 1.
        outputs: What was written, for ``done``.
        error: Stable code, for ``failed``.
        message: What a person should know, for ``failed``.
        note: What had to be given up for memory, for ``done``; pixels may differ by a level.
        weights: Beginning of the weights' SHA-256, or ``bicubic``.
        full_name: Whether its results carry the whole source name, for ``failed``.
        size_bytes: Length of the source, for ``failed``.
        first_seen: When this version of the source first failed, for ``failed``.
        pairs: How many were cut from it, for a job that makes pairs.
        shape: Height, width and channels of each of their HR images, ``512,512,3``.
        identity: What the names of these pairs have in common, ``id`` in what is said of each.
        replaces: Shard (and a space, and) identity of earlier pairs, in a dataset's index.
    """

    key: str
    etag: str
    parameters: str
    status: Literal["done", "failed", "missing", "vanished"]
    time: str
    attempts: int = 1
    outputs: tuple[Output, ...] = ()
    error: str = ""
    message: str = ""
    note: str = ""
    weights: str = ""
    full_name: bool = False
    size_bytes: int = 0
    first_seen: str = ""
    pairs: int = 0
    shape: str = ""
    identity: str = ""
    replaces: str = ""

    def settles(self, etag: str, parameters: str) -> bool:
        """Whether a later run with these parameters has nothing to do for this source.

        A failure that says nothing of the image, such as credentials that ran out, settles
        nothing: the next run tries again.
        """
        same = (self.etag, self.parameters) == (etag, parameters)
        return same and self.status != "missing" and is_for_good(self.error)


def is_for_good(error: str) -> bool:
    """Whether an image with this error code, or with none, is not tried again by a later run."""
    return error not in _NOT_THE_IMAGES_FAULT


def encode_lines(lines: Iterable[LedgerLine]) -> bytes:
    """One JSON object a line; what a status does not need is left out."""
    return b"".join(map(encode_line, lines))


def encode_line(line: LedgerLine) -> bytes:
    """One line of :func:`encode_lines`."""
    given = {name: value for name in _FIELDS if (value := getattr(line, name))}
    if line.outputs:
        given["outputs"] = [asdict(output) for output in line.outputs]
    return json.dumps(given).encode() + b"\n"


def encode_part(text: bytes) -> bytes:
    """A part of the ledger, of encoded lines."""
    return gzip.compress(text, compresslevel=3, mtime=0)


def decode_part(data: bytes, *, source: str) -> bytes:
    """The lines in a part, encoded.

    Raises:
        StorageError: Naming ``source``, if the part is damaged.
    """
    try:
        return gzip.decompress(data) if source.endswith(".gz") else data
    except (EOFError, OSError, zlib.error) as error:
        raise StorageError(
            f"{source} is damaged ({error}): restore it, or remove the file to do its images again",
            item=source,
        ) from error


def decode_lines(data: bytes, *, source: str) -> Iterator[LedgerLine]:
    """Read :func:`encode_lines` back.

    Raises:
        StorageError: Naming ``source`` and the line, if the text is not a ledger's.
    """
    for number, text in enumerate(data.splitlines(), start=1):
        try:
            given = json.loads(text)
            given["outputs"] = tuple(Output(**output) for output in given.get("outputs", ()))
            yield LedgerLine(**given)
        except (ValueError, TypeError, AttributeError) as error:
            raise StorageError(
                f"{source} line {number} is not a ledger line: the ledger was changed by hand; "
                "restore it, or remove the file to do its images again",
                item=source,
            ) from error


def dead_letter_line(
    item: WorkItem, parameters: PixelParameters, *, error: str, message: str, attempts: int
) -> LedgerLine:
    """The line of an image that is given up now."""
    return LedgerLine(
        key=item.key,
        etag=item.etag,
        parameters=parameters.hash,
        status="failed",
        time=utc_now(),
        attempts=attempts,
        error=error,
        message=message,
        weights=parameters.short_weights,
        full_name=item.keeps_full_name,
        size_bytes=item.size_bytes,
    )


_FIELDS = tuple(field.name for field in fields(LedgerLine))
