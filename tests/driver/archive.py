"""Photos, the dataset that is made of them night by night, and the ledger between the two."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sdflow.driver.night import open_night
from sdflow.driver.published import read_dataset
from sdflow.storage import keys
from sdflow.storage.memory import MemoryStore
from sdflow.work.index import LedgerIndex
from sdflow.work.parameters import PairParameters
from tests.driver.runs import run_of
from tests.worker.bench import PARAMETERS, Bench, image_bytes

if TYPE_CHECKING:
    from sdflow.work.dataset import NightRecord

_PAIRS = PairParameters("webdataset", tau_to=0.8, crop=None, stride=None, min_texture=0)
GIVEN = replace(PARAMETERS, task="degrade", format="png", metadata="strip", pairs=_PAIRS)
FOLDERS = replace(GIVEN, pairs=replace(_PAIRS, layout="folders"))


class KilledError(Exception):
    """The end of a process."""


class Frail(MemoryStore):
    """A store whose user is killed before one of its writes."""

    def __init__(self) -> None:
        super().__init__()
        self.writes_left = 10**9

    def put(self, key: str, data: bytes) -> str:
        self.writes_left -= 1
        if self.writes_left < 0:
            raise KilledError
        return super().put(key, data)

    def contents(self) -> dict[str, bytes]:
        return {info.key: self.get(info.key) for info in self.list()}


class Archive:
    """Photos, the dataset that is made of them, and the ledger between the two."""

    def __init__(self, ledger: LedgerIndex, given: Any = GIVEN) -> None:  # noqa: ANN401
        self.bench, self.target = Bench(), Frail()
        self.bench.target = self.target
        self.source = self.bench.source
        self._ledger = ledger
        self._given = given
        self._time = 0

    def put(self, *names: str, seed: int = 0) -> None:
        for name in names:
            self.source.put(name, image_bytes("RGB", (32, 24), "PNG", seed=seed + ord(name[0])))

    def draw(self) -> None:
        """What workers and driver do about whatever is new."""
        for info in self.source.list():
            line = self._ledger.find(info.key)
            if line is None or not line.settles(info.etag, self._given.hash):
                item = self.bench.put(info.key, self.source.get(info.key))
                self._time += 1
                done = self.bench.run(item, parameters=self._given).done.values()
                self._ledger.add([replace(one, time=f"{self._time:06d}") for one in done])

    def night(
        self,
        *,
        shard_bytes: int = 6_000,
        writes: int = 10**9,
        draws: bool = True,
        may_shrink: bool = False,
    ) -> NightRecord | None:
        """A whole night; killed before the n-th write of what is published."""
        with open_night(self.target, may_shrink=may_shrink) as night:
            for _ in night.sources.watched(self.source.list()):
                pass
            if draws:
                self.draw()
            self.target.writes_left = writes
            run = run_of(self._given, shard_bytes, forget=lambda line: self._ledger.add([line]))
            record = night.publish(self._ledger, run, knows_all=True)
        for info in self.target.list(keys.PIECES_PREFIX):
            self.target.delete(info.key)
        return record

    def shards(self) -> dict[str, list[str]]:
        """Source of every pair, by shard, as a reader of tars finds them."""
        found = {}
        for info in self.target.list(keys.SHARDS_PREFIX):
            with tarfile.open(fileobj=io.BytesIO(self.target.get(info.key))) as tar:
                names = [member.name for member in tar if member.name.endswith(".json")]
                files = [tar.extractfile(name) for name in names]
                found[info.key] = [json.load(file)["key"] for file in files if file]
        return found

    def stale(self) -> set[tuple[str, str]]:
        record = read_dataset(self.target)
        assert record is not None
        lines = self.target.get(record.stale).splitlines()
        return {(given["key"], given["why"]) for given in map(json.loads, lines)}

    def in_use(self) -> list[str]:
        """Source of every pair that a reader takes."""
        record = read_dataset(self.target)
        assert record is not None
        lines = map(json.loads, self.target.get(record.stale).splitlines())
        stale = {(given["shard"], given["id"]) for given in lines}
        found = []
        for shard in record.shards:
            with tarfile.open(fileobj=io.BytesIO(self.target.get(shard["key"]))) as tar:
                names = [member.name for member in tar if member.name.endswith(".json")]
                said = [json.load(file) for file in map(tar.extractfile, names) if file]
            found += [one["key"] for one in said if (shard["key"], one["id"]) not in stale]
        return sorted(found)
