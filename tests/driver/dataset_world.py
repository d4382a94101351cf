"""A dataset of small drawn photos as workers and nights write it, and how it is verified."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sdflow.driver.dataset_verification import open_dataset
from sdflow.driver.history import read_ledger
from sdflow.driver.night import open_night
from sdflow.images.formats import ImageFormat, Metadata
from sdflow.storage import keys
from sdflow.storage.memory import MemoryStore
from sdflow.work.dataset import TAR_END
from sdflow.work.handling import Handling
from sdflow.work.index import scratch_index
from sdflow.work.ledger import LedgerLine, encode_lines, encode_part
from sdflow.work.parameters import PairParameters
from sdflow.work.shard import WorkItem
from sdflow.worker.bicubic import BicubicEngine
from sdflow.worker.codec import JobCodec
from sdflow.worker.cuts import plan_cuts
from sdflow.worker.fetched import Fetched
from sdflow.worker.pairs import PairWriter
from sdflow.worker.results import Sample
from tests.driver.runs import run_of
from tests.worker.bench import PARAMETERS

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from sdflow.driver.pair_contents import Problem
    from sdflow.storage.store import Store

SOURCES = ("a.png", "b.png", "sub/ü.v1.png")
_PAIRS = PairParameters("webdataset", tau_to=0.8, crop=32, stride=32, min_texture=0)
_SHARDS = replace(
    PARAMETERS, task="degrade", format="png", metadata="strip", samples=2, pairs=_PAIRS
)
_FOLDERS = replace(_SHARDS, pairs=replace(_PAIRS, layout="folders"))


class DatasetWorld:
    """A dataset of small drawn photos, two pairs of each, and how it is verified."""

    def __init__(self, layout: str = "webdataset", target: Store | None = None) -> None:
        self.target = target or MemoryStore()
        self.given = _FOLDERS if layout == "folders" else _SHARDS
        self.problems: list[Problem] = []
        self.repairs: list[LedgerLine] = []
        self._time = 0

    def draw(self, *names: str, seed: int = 0, width: int = 64) -> list[LedgerLine]:
        return [self.record(self._draw(name, seed, width)) for name in names]

    def _draw(self, name: str, seed: int, width: int) -> LedgerLine:
        noise = np.random.default_rng([seed, *name.encode()])
        pixels = noise.integers(0, 256, (32, width, 3), np.uint8)
        md5 = hashlib.md5(pixels.tobytes(), usedforsecurity=False).hexdigest()
        assert self.given.pairs is not None
        cuts = plan_cuts(pixels, self.given.pairs)
        image = Fetched(pixels, ImageFormat.PNG, Metadata(), md5=md5, cuts=cuts)
        item = WorkItem(name, f"{seed}-{width}", pixels.nbytes)
        small = BicubicEngine().downscale(pixels, key=name)
        codec = JobCodec(self.given, Handling(max_pixels=10_000))
        written = PairWriter(self.target, codec, self.given.pairs).write(
            item, image, [Sample(0, small), Sample(1, 255 - small)]
        )
        return LedgerLine(
            name, item.etag, self.given.hash, "done", "", outputs=written.outputs,
            pairs=written.pairs, shape=written.shape, identity=written.identity,
        )  # fmt: skip

    def record(self, line: LedgerLine) -> LedgerLine:
        self._time += 1
        line = replace(line, time=f"{self._time:06d}")
        key = keys.ledger_key(f"{self._time:06d}")
        self.target.put(key, encode_part(encode_lines([line])))
        return line

    def publish(self, *, shard_bytes: int = 10**9, gone: tuple[str, ...] = ()) -> list[str]:
        """A night, in which some sources are found to be gone; returns the shards it has added."""
        with open_night(self.target) as night, scratch_index(knows_outputs=False) as ledger:
            read_ledger(self.target, ledger)
            listing = [
                WorkItem(line.key, line.etag, 1) for line in ledger.lines() if line.key not in gone
            ]
            for _ in night.sources.watched(listing):  # type: ignore[arg-type]  # key and etag are read
                pass
            run = run_of(self.given, shard_bytes)
            record = night.publish(ledger, run, knows_all=True)
        assert record is not None
        return [one["key"] for one in record.shards]

    def whole(self, **options: Any) -> list[str]:  # noqa: ANN401  # of a night
        """All sources, drawn and published, without the pieces; returns the shards."""
        self.draw(*SOURCES)
        shards = self.publish(**options)
        self.target.delete_many([info.key for info in self.target.list(keys.PIECES_PREFIX)])
        return shards

    def verify(self, *, quick: bool = False) -> Counter[str]:
        """Counts; what was found and would be repaired is kept, and checked to be one."""
        with open_dataset(self.target) as dataset:
            first = list(dataset.problems(repair=None, quick=quick))
        self.repairs = []
        with open_dataset(self.target) as dataset:
            self.problems = list(dataset.problems(repair=self.repairs.append, quick=quick))
        assert [replace(one, heals=False) for one in self.problems] == [
            replace(one, heals=False) for one in first
        ]
        assert all(one.heals for one in self.problems if one.verdict != "orphan")
        return dataset.counts

    @property
    def found(self) -> list[tuple[str, str, str | None]]:
        return [(one.verdict, one.output, one.key) for one in self.problems]

    @property
    def repaired(self) -> list[str]:
        assert {line.status for line in self.repairs} <= {"missing"}
        return sorted(line.key for line in self.repairs)

    def repair(self) -> None:
        for line in self.repairs:
            self.record(line)

    def remake(self, shard: str, change: Callable[[dict[str, bytes]], None]) -> None:
        """Change the files in a shard; what dataset.json says of its size follows."""
        with tarfile.open(fileobj=io.BytesIO(self.target.get(shard))) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]  # files
        change(files)
        buffer = bytearray()
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            buffer += info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512)
        self.target.put(shard, bytes(buffer + TAR_END))
        record = json.loads(self.target.get(keys.DATASET_KEY))
        for one in record["nights"][-1]["shards"]:
            one["bytes"] = self.target.head(one["key"]).size_bytes
        self.target.put(keys.DATASET_KEY, json.dumps(record).encode())

    def key(self, beginning: str, end: str) -> str:
        """The one key that begins and ends so."""
        found = [one.key for one in self.target.list(f"{beginning}-") if one.key.endswith(end)]
        assert len(found) == 1
        return found[0]

    def flip(self, shard: str, source: str, at: int) -> None:
        """Flip a bit of a shard, so many bytes after the beginning of a source's first header."""
        data = bytearray(self.target.get(shard))
        start = re.search(source.encode() + rb"-[0-9a-f]{12}_c0000.hr.png", data)
        assert start is not None
        data[start.start() + at] ^= 1
        self.target.put(shard, bytes(data))


def _names(files: dict[str, bytes], part: str) -> list[str]:
    return [name for name in files if name.startswith("b-") and part in name]


def lose(part: str) -> Callable[[dict[str, bytes]], None]:
    """A change of a shard: files of b.png are gone."""

    def change(files: dict[str, bytes]) -> None:
        for name in _names(files, part):
            del files[name]

    return change


def swap(files: dict[str, bytes]) -> None:
    """Exchange LR images of two pairs of b.png."""
    first, second = _names(files, "lr0")
    files[first], files[second] = files[second], files[first]


def enlarge(files: dict[str, bytes]) -> None:
    """Put an HR image in the place of an LR one, and say so."""
    large, small, _, said = _names(files, "_c0000")
    given = json.loads(files[said])
    given["lr"][0]["sha256"] = given["hr"]["sha256"]
    files[small], files[said] = files[large], json.dumps(given).encode()


def add(files: dict[str, bytes]) -> None:
    """Put a file into a pair that nothing is said of."""
    content = dict(files)
    files.clear()
    for name, data in content.items():
        files[name] = data
        if name in _names(content, "_c0000.lr0"):
            files[name.replace("lr0", "lr9")] = data


def spoil(files: dict[str, bytes]) -> None:
    """Say nothing of a pair."""
    files[_names(files, ".json")[0]] = b"{}"
