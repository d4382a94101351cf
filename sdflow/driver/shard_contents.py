"""What shards hold: pairs, read as streams, and whether they are those of the index."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sdflow.driver.pair_contents import Fault, File, decode_said, faults_of, look_at, names_of
from sdflow.storage.ranged import RangedObject
from sdflow.work.dataset import TAR_END
from sdflow.work.names import pair_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdflow.driver.shard_places import ShardPlaces
    from sdflow.storage.store import ObjectInfo, Store
    from sdflow.work.index import LedgerIndex
    from sdflow.work.ledger import LedgerLine

_READ_BYTES = 2**20  # of a shard at a time
_BLOCKS = 2


@dataclass(slots=True)
class ShardContents:
    """What a shard was found to hold.

    Attributes:
        damage: Why it cannot be read to its end; "" if it can.
        faults: Of pairs in use, with the line of their source.
        nameless: Names of pairs of which nothing can be read that is said of them.
        num_pairs: In use.
        num_stale: Of replaced versions and of vanished sources.
    """

    damage: str = ""
    faults: list[tuple[LedgerLine, Fault]] = field(default_factory=list)
    nameless: list[str] = field(default_factory=list)
    num_pairs: int = 0
    num_stale: int = 0

    def incomplete(self, line: LedgerLine) -> Fault:
        """Why not all pairs of a source were found."""
        own = pair_name(line.key, line.identity)
        for name in self.nameless:
            if name.startswith(own):
                return Fault("changed", f"{name}.json is missing or damaged")
        return Fault("misaligned", f"it does not hold the {line.pairs} pairs of this source")


@dataclass(slots=True)
class PairFiles:
    """A pair as it lies in a shard: the files with one name but for what follows the first dot.

    Attributes:
        name: Without that.
        files: Its images by their whole names.
        said: What is said of it; empty where that is missing or damaged.
    """

    name: str
    files: dict[str, File] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def owner(self) -> tuple[str, str]:
        """Key of the source and identity of its pairs; empty where nothing is said."""
        return str(self.said.get("key", "")), str(self.said.get("id", ""))

    def faults(self) -> Iterator[Fault]:
        """See :func:`faults_of`."""
        yield from faults_of(self.said, self.files)
        for name in sorted(self.files.keys() - names_of(self.said)):
            yield Fault("misaligned", f"{name} is not spoken of")


def read_shard(
    target: Store, shard: ObjectInfo, *, published: LedgerIndex, places: ShardPlaces
) -> ShardContents:
    """Read a shard once, ticking off the sources whose pairs are all there or are told of.

    Safe for several threads.

    Args:
        target: The dataset.
        shard: What the listing says of it.
        published: The dataset's index.
        places: Where it says that pairs are.

    Raises:
        StorageError: If it cannot be read.
    """
    found = ShardContents()
    try:
        for (key, identity), pairs in groupby(pairs_in(target, shard), lambda pair: pair.owner):
            line = _in_use(published.find(key), identity, shard.key)
            if line is not None:
                if _take(line, pairs, found):
                    places.tick(shard.key, key)
                continue
            for pair in pairs:
                found.num_stale += bool(pair.said)
                if not pair.said:
                    found.nameless.append(pair.name)
    except tarfile.TarError as error:
        found.damage = f"damaged: {error}"
    return found


def _in_use(line: LedgerLine | None, identity: str, shard: str) -> LedgerLine | None:
    """A line of the index, if it speaks of these pairs in this shard."""
    if line is None or line.status != "done" or line.identity != identity:
        return None
    return line if any(output.key == shard for output in line.outputs) else None


def _take(line: LedgerLine, pairs: Iterator[PairFiles], found: ShardContents) -> bool:
    """Note successive pairs of a source; False if some are missing and nothing tells of it."""
    num_pairs, faults = 0, list[Fault]()
    for pair in pairs:
        num_pairs += 1
        faults += pair.faults()
    found.num_pairs += num_pairs
    found.faults += [(line, fault) for fault in faults]
    return bool(faults) or num_pairs == line.pairs


def pairs_in(target: Store, shard: ObjectInfo) -> Iterator[PairFiles]:
    """The pairs of a shard, which is read once, from its beginning to its end.

    Raises:
        tarfile.TarError: If it is damaged or does not end where it should.
        StorageError: If it cannot be read.
    """
    pair = PairFiles("")
    for name, data in _members(target, shard):
        folder, slash, file = name.rpartition("/")
        base = f"{folder}{slash}{file.partition('.')[0]}"
        if base != pair.name:
            if pair.name:
                yield pair
            pair = PairFiles(base)
        if name == f"{base}.json":
            pair.said = decode_said(data)
        else:
            pair.files[name] = look_at(data, name)
    if pair.name:
        yield pair


class _Reading(io.RawIOBase):
    """A shard as the file that ``tarfile`` wants."""

    def __init__(self, content: RangedObject) -> None:
        self._content = content
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  # typeshed's Buffer is not there at run time
        """Fill a buffer as far as there is something."""
        data = self._content[self._at : self._at + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _members(target: Store, shard: ObjectInfo) -> Iterator[tuple[str, bytes]]:
    reading = _Reading(RangedObject(target, shard, num_blocks=_BLOCKS))
    file = io.BufferedReader(reading, _READ_BYTES)
    with tarfile.open(fileobj=file, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # not typed; it would keep all of them
            content = tar.extractfile(member)
            if content is None:
                raise tarfile.ReadError(f"{member.name} is no file")
            yield member.name, content.read()
        if tar.offset != shard.size_bytes - len(TAR_END):  # a damaged header reads like an end
            raise tarfile.ReadError(f"no member can be read at byte {tar.offset}")
