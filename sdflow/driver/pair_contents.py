"""What pairs hold, beside what is said of them: hashes, sizes, and that nothing is missing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sdflow.errors import DecodeError, NotFoundError, PreconditionError
from sdflow.geometry import Size
from sdflow.images.codec import peek
from sdflow.worker.photo import SCALE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sdflow.storage.store import Store
    from sdflow.work.ledger import LedgerLine


@dataclass(frozen=True, slots=True)
class File:
    """What is found of an image of a pair.

    Attributes:
        sha256: Of its bytes, in hexadecimal.
        size: As its header says; None where it is no image.
    """

    sha256: str
    size: Size | None


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a pair.

    Attributes:
        verdict: ``missing``: a file; ``changed``: a file is not what was written; ``misaligned``:
            files that do not belong together.
        reason: For people.
    """

    verdict: Literal["missing", "changed", "misaligned"]
    reason: str


@dataclass(frozen=True, slots=True)
class Problem:
    """An object that is not as it should be, or pairs in it.

    Attributes:
        verdict: ``missing``; ``changed`` since it was written; ``misaligned``: pairs are not
            whole, or their images do not fit; ``orphan`` that nothing names.
        output: Key of the object.
        key: Of the source; None where it is about none or about several.
        reason: What is wrong, for people; "" where the verdict says it.
        heals: Whether the next night makes all that is broken again.
    """

    verdict: Literal["missing", "changed", "misaligned", "orphan"]
    output: str
    key: str | None = None
    reason: str = ""
    heals: bool = False


def look_at(data: bytes, name: str) -> File:
    """Hash and header of a file that is to be an image."""
    digest = hashlib.sha256(data).hexdigest()
    try:
        info = peek(data, key=name)
    except DecodeError:
        return File(digest, None)
    return File(digest, Size(info.height, info.width))


def decode_said(data: bytes) -> dict[str, Any]:
    """What is said of one pair, or of all of a source; empty where it is no such thing."""
    try:
        said = json.loads(data)
        for pair in said.get("pairs", [said]):
            for one in (pair["hr"], *pair["lr"]):
                one["name"], one["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return dict(said)


def names_of(pair: Mapping[str, Any]) -> list[str]:
    """Of the files of a pair, HR first."""
    return [str(one["name"]) for one in (pair["hr"], *pair["lr"])]


def faults_of(pair: Mapping[str, Any], files: Mapping[str, File]) -> Iterator[Fault]:
    """What of a pair is not as it is said to be.

    Args:
        pair: What is said of it.
        files: What there is, by name.
    """
    is_whole = True
    for one in (pair["hr"], *pair["lr"]):
        name, found = one["name"], files.get(one["name"])
        if found is None:
            yield Fault("missing", f"{name} is not there")
        elif found.sha256 != one["sha256"]:
            yield Fault("changed", f"{name} has another SHA-256 than it was written with")
        is_whole = is_whole and found is not None and found.sha256 == one["sha256"]
    if is_whole:
        yield from _misaligned([(name, files[name].size) for name in names_of(pair)])


def _misaligned(sizes: list[tuple[str, Size | None]]) -> Iterator[Fault]:
    _, large = sizes[0]
    for name, small in sizes[1:]:
        if large is None or small is None or small.scaled(SCALE) != large:
            yield Fault("misaligned", f"{name} is not a quarter of its HR image: {small}, {large}")


def read_source(target: Store, line: LedgerLine) -> tuple[int, list[Fault]]:
    """Read the pairs of a source in folders.

    Args:
        target: The dataset.
        line: Names its files, the last one being what is said of them. Those that are missing or
            have another ETag are left out: a listing tells that.

    Returns:
        How many pairs there are, and what is wrong with them.

    Raises:
        StorageError: If the store refuses.
    """
    etags = {output.key: output.etag for output in line.outputs}
    told = line.outputs[-1].key
    data = _read(target, told, etags[told])
    if data is None:
        return 0, []
    said = decode_said(data)
    pairs = said.get("pairs")
    if pairs is None:
        return 0, [Fault("changed", "it is damaged")]
    names = {told, *(name for pair in pairs for name in names_of(pair))}
    is_its_own = (said.get("key"), said.get("id")) == (line.key, line.identity)
    if not is_its_own or len(pairs) != line.pairs or names != etags.keys():
        return 0, [Fault("misaligned", "it speaks of other pairs than the index")]
    faults: list[Fault] = []
    for pair in pairs:
        read = {name: _read(target, name, etags[name]) for name in names_of(pair)}
        files = {name: look_at(data, name) for name, data in read.items() if data is not None}
        if len(files) == len(read):
            faults += faults_of(pair, files)
    return len(pairs), faults


def _read(target: Store, key: str, etag: str) -> bytes | None:
    try:
        return target.get(key, if_match=etag)
    except (NotFoundError, PreconditionError):
        return None
