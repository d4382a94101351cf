"""A dataset of pairs as values: what its index says, how shards are planned, what it sums up to."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sdflow.errors import StorageError
from sdflow.storage import keys
from sdflow.work.ledger import LedgerLine, Output

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sdflow.work.parameters import PixelParameters

FORMAT = 1
"""Version of ``dataset.json``, of the index and of what is said of each pair."""

TAR_END = bytes(1024)
"""What a tar ends with."""


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """A shard that is to be put together.

    Attributes:
        key: What it will be called.
        lines: Of the ledger, in the order of their keys; each names the piece with its pairs.
    """

    key: str
    lines: tuple[LedgerLine, ...]

    @property
    def size_bytes(self) -> int:
        """Length of the shard."""
        return sum(line.outputs[0].size_bytes for line in self.lines) + len(TAR_END)

    @property
    def num_pairs(self) -> int:
        """Pairs inside."""
        return sum(line.pairs for line in self.lines)

    def published(self) -> Iterator[LedgerLine]:
        """The lines of the index: where the pairs of each source are now."""
        for line in self.lines:
            place = Output(self.key, "", line.outputs[0].size_bytes)
            yield replace(line, outputs=(place,))


def plan_packs(
    lines: Iterable[LedgerLine], *, night: int, target_bytes: int
) -> Iterator[ShardPlan]:
    """Cut sources into shards, each as soon as it is large enough.

    The names hold a hash of what is inside, so that the same plan, made again after a kill, finds
    what is there, and another plan never takes one shard for another.

    Args:
        lines: Of the ledger with one piece each, in the order of their keys.
        night: Number of the night, from 1.
        target_bytes: Size from which on a shard is full.
    """
    batch: list[LedgerLine] = []
    size_bytes = number = 0
    for line in lines:
        batch.append(line)
        size_bytes += line.outputs[0].size_bytes
        if size_bytes >= target_bytes:
            yield _shard(batch, night, number)
            batch, size_bytes, number = [], 0, number + 1
    if batch:
        yield _shard(batch, night, number)


def _shard(lines: list[LedgerLine], night: int, number: int) -> ShardPlan:
    text = "\n".join(f"{line.identity} {line.outputs[0].etag}" for line in lines)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return ShardPlan(keys.shard_key(night, number, digest), tuple(lines))


@dataclass(slots=True)
class Census:
    """What a dataset holds, added up from the newest line of every source.

    Attributes:
        sources: Sources with pairs that are as they are now in SRC.
        without_pairs: Sources of which nothing was cut.
        vanished: Sources that are gone; their pairs stay.
        pairs: Of the sources first named.
        shards: Pairs in use by shard.
    """

    sources: int = 0
    without_pairs: int = 0
    vanished: int = 0
    pairs: int = 0
    shards: Counter[str] = field(default_factory=Counter)

    def add(self, line: LedgerLine) -> None:
        """Count a source."""
        if line.status == "vanished":
            self.vanished += 1
        elif not line.pairs:
            self.without_pairs += 1
        else:
            self.sources += 1
            self.pairs += line.pairs
        for output in line.outputs:
            if output.key.startswith(keys.SHARDS_PREFIX):
                self.shards[output.key] += line.pairs if line.status == "done" else 0


@dataclass(frozen=True, slots=True)
class NightRecord:
    """What one night added.

    Attributes:
        night: Its number, from 1.
        time: When it ended, ISO 8601 in UTC.
        parameters: Hash of what the pairs depend on.
        weights: SHA-256 of the weights, or ``bicubic``.
        new: Sources that were not in the dataset.
        changed: Sources whose earlier pairs are stale now.
        vanished: Sources found to be gone.
        returned: Sources that were gone and are back unchanged.
        failed: Dead letters.
        pairs: Added.
        samples: LR images added.
        bytes: Of what was added.
        shards: Key, bytes and pairs of the shards that were added.
        index_parts: How many parts of the index it wrote.
        seconds: From its start to the end of the drawing.
        images_per_s: Sources done in that time, by second.
        mp_per_s: Megapixels drawn in that time, by second.
        gpu_hours: Of all workers; of processors where there is no GPU.
        worker_seconds: Of their threads, by what they did.
    """

    night: int
    time: str
    parameters: str
    weights: str
    new: int
    changed: int
    vanished: int
    returned: int
    failed: int
    pairs: int
    samples: int
    bytes: int
    shards: tuple[dict[str, Any], ...]
    index_parts: int
    seconds: float
    images_per_s: float
    mp_per_s: float
    gpu_hours: float
    worker_seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """``dataset.json``: which nights a dataset is made of. What no night names is not part of it.

    Attributes:
        layout: ``folders`` or ``webdataset``.
        source: Address of the HR images.
        parameters: What the newest pairs depend on.
        counts: Sources, pairs, samples and more; see ``Census``.
        bytes: Of all that was added.
        shards: Key, bytes, pairs and of those stale ones of every shard with pairs in use.
        stale: Key of the list of pairs that are there and not to be used any more.
        nights: Their records, the oldest first.
        format: Version.
        scale: HR pixels per LR pixel along an axis.
    """

    layout: str
    source: str
    parameters: dict[str, Any]
    counts: dict[str, int]
    bytes: int
    shards: tuple[dict[str, Any], ...]
    stale: str
    nights: tuple[NightRecord, ...]
    format: int = FORMAT
    scale: int = 4


def grown(
    before: DatasetRecord | None,
    night: NightRecord,
    census: Census,
    *,
    parameters: PixelParameters,
    source: str,
) -> DatasetRecord:
    """A dataset after one more night.

    Args:
        before: What it was; None before the first night.
        night: What that added.
        census: Of all sources, as they are now.
        parameters: What the newest pairs depend on.
        source: Address of the HR images.
    """
    nights = (*(before.nights if before else ()), night)
    return DatasetRecord(
        layout=parameters.pairs.layout if parameters.pairs else "",
        source=source,
        parameters=asdict(parameters),
        counts={
            "sources": census.sources,
            "without_pairs": census.without_pairs,
            "vanished": census.vanished,
            "pairs": census.pairs,
            "samples": sum(one.samples for one in nights),
        },
        bytes=sum(one.bytes for one in nights),
        shards=tuple(
            {**shard, "stale": shard["pairs"] - in_use}
            for one in nights
            for shard in one.shards
            if (in_use := census.shards[shard["key"]])
        ),
        stale=keys.stale_key(night.night),
        nights=nights,
    )


def encode_dataset(record: DatasetRecord) -> bytes:
    """As JSON."""
    given = asdict(record)
    first = {name: given.pop(name) for name in ("format", "layout", "scale")}
    return json.dumps({**first, **given}, indent=2).encode() + b"\n"


def decode_dataset(data: bytes) -> DatasetRecord:
    """Read :func:`encode_dataset` back.

    Raises:
        StorageError: If it is no such record, or of a later version.
    """
    try:
        given = json.loads(data)
        version = given["format"]
        if version == FORMAT:
            nights = tuple(
                NightRecord(**{**night, "shards": tuple(night["shards"])})
                for night in given.pop("nights")
            )
            return DatasetRecord(**{**given, "shards": tuple(given["shards"])}, nights=nights)
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{keys.DATASET_KEY} is no record of a dataset ({error}): restore it, or take another "
            "DST",
            item=keys.DATASET_KEY,
        ) from error
    raise StorageError(
        f"{keys.DATASET_KEY} has format {version}, this sdflow knows {FORMAT}: use a later one",
        item=keys.DATASET_KEY,
    )
