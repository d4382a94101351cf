"""Nights of a dataset without a cluster: the worker's pipeline, and what is published of it."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from sdflow.driver.night import open_night
from sdflow.driver.published import read_dataset
from sdflow.errors import ClusterError, StorageError
from sdflow.storage import keys
from sdflow.storage.memory import MemoryStore
from sdflow.work.index import LedgerIndex, scratch_index
from tests.driver.archive import FOLDERS, GIVEN, Archive, KilledError
from tests.driver.runs import run_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ledger() -> Iterator[LedgerIndex]:
    with scratch_index(knows_outputs=True) as index:
        yield index


def test_three_nights(ledger: LedgerIndex) -> None:
    archive = Archive(ledger)
    archive.put(*"abcdefgh")
    first = archive.night()
    assert first is not None
    assert (first.new, first.changed, first.vanished, first.pairs) == (8, 0, 0, 8)
    assert len(first.shards) > 2
    assert sum(archive.shards().values(), []) == list("abcdefgh")  # noqa: RUF017  # few

    archive.put(*"ij")
    archive.put(*"bc", seed=500)
    archive.source.delete("h")
    before = archive.shards()
    second = archive.night()
    assert second is not None
    assert (second.new, second.changed, second.vanished, second.returned) == (2, 2, 1, 0)
    shards = archive.shards()
    assert {key: shards[key] for key in before} == before  # what was there is left alone
    assert sorted(sum((shards[one["key"]] for one in second.shards), [])) == list("bcij")  # noqa: RUF017
    assert archive.stale() == {("b", "replaced"), ("c", "replaced"), ("h", "vanished")}
    record = read_dataset(archive.target)
    assert record is not None
    assert record.counts == {
        "sources": 9, "without_pairs": 0, "vanished": 1, "pairs": 9, "samples": 12,
    }  # fmt: skip
    in_use = {one["key"]: one["pairs"] - one["stale"] for one in record.shards}
    assert sum(in_use.values()) == 9

    contents = archive.target.contents()
    assert archive.night() is None
    assert archive.target.contents() == contents


def test_a_source_that_comes_back_is_used_again_and_not_drawn(ledger: LedgerIndex) -> None:
    archive = Archive(ledger)
    archive.put(*"ab")
    archive.night()
    data = archive.source.get("a")
    archive.source.delete("a")
    gone = archive.night()
    archive.source.put("a", data)
    back = archive.night()
    assert gone is not None
    assert back is not None
    assert (gone.vanished, gone.pairs, back.returned, back.pairs) == (1, 0, 1, 0)
    record = read_dataset(archive.target)
    assert record is not None
    assert [one["key"] for one in record.shards] == list(archive.shards())
    assert archive.stale() == set()
    assert Counter(sum(archive.shards().values(), [])) == Counter("ab")  # noqa: RUF017


@pytest.mark.parametrize("given", [GIVEN, FOLDERS])
def test_killed_before_any_write_and_run_again_it_ends_in_the_same_objects(given: Any) -> None:  # noqa: ANN401
    def nights(writes: int) -> tuple[dict[str, bytes], bool]:
        with scratch_index(knows_outputs=True) as index:
            archive = Archive(index, given)
            archive.put(*"abc")
            archive.night(shard_bytes=3000)
            archive.put(*"bde", seed=7)
            was_killed = False
            try:
                archive.night(shard_bytes=3000, writes=writes)
            except KilledError:
                was_killed = True
                archive.night(shard_bytes=3000)
            contents = archive.target.contents()
        record = json.loads(contents.pop(keys.DATASET_KEY))
        del contents[keys.CARD_KEY]  # these say when
        for one in record["nights"]:
            del one["time"]
        contents["record"] = json.dumps(record).encode()
        return contents, was_killed

    whole, _ = nights(10**9)
    kills, writes, was_killed = 0, 0, True
    while was_killed:
        contents, was_killed = nights(writes)
        kills, writes = kills + was_killed, writes + 1
        assert contents.keys() == whole.keys()
        assert contents == whole
    assert kills > 5


def test_shards_of_a_plan_that_was_given_up_are_removed(ledger: LedgerIndex) -> None:
    archive = Archive(ledger)
    archive.put(*"bc")
    archive.target.put(keys.shard_key(1, 7, "0" * 8), b"of a killed run")
    archive.night()
    assert sum(archive.shards().values(), []) == list("bc")  # noqa: RUF017


def test_folders_come_with_lists_for_loaders(ledger: LedgerIndex) -> None:
    archive = Archive(ledger, replace(FOLDERS, samples=2))
    archive.put("2024/x y/a, b.png", "b.jpg", "c.png")
    archive.night()
    archive.source.delete("c.png")
    archive.put("b.jpg", seed=9)
    archive.night()
    lines = archive.target.get(keys.META_INFO_KEY).decode().splitlines()
    names = [line.split(" ")[0] for line in lines]  # as BasicSR does
    assert [line.partition(" ")[2] for line in lines] == ["(24,32,3)"] * 2
    assert [name[:-17] for name in names] == ["2024_x_y_a_b", "b"]
    pairs = [
        line.split(", ")
        for line in archive.target.get(keys.META_INFO_PAIRS_KEY).decode().splitlines()
    ]
    assert pairs == [
        [f"HR/{name}", f"LRx4/{name[:-4]}.s{sample}.png"] for name in names for sample in (0, 1)
    ]
    there = {info.key for info in archive.target.list()}
    assert there.issuperset(key for pair in pairs for key in pair)
    large = [key for key in there if key.startswith(keys.HR_PREFIX)]
    assert len(large) == 3  # of the replaced version nothing is left, of the vanished photo all
    assert archive.stale() == {("c.png", "vanished")}


def test_content_that_comes_back_is_used_once(ledger: LedgerIndex) -> None:
    archive = Archive(ledger)
    archive.put("a", "b")
    archive.night()
    for seed in (5, 0, 0):
        archive.put("a", seed=seed)
        archive.night()
        assert archive.in_use() == ["a", "b"]


def test_the_same_content_under_another_etag_is_used_once(ledger: LedgerIndex) -> None:
    archive = Archive(ledger)
    archive.put("a", "b", "c")
    archive.night(shard_bytes=10**6)
    before = ledger.find("b")
    assert before is not None
    ledger.add([replace(before, etag="of another upload", time="0", status="missing")])
    archive.night()
    assert archive.in_use() == ["a", "b", "c"]


def test_the_card_shows_pairs_and_counts_them(ledger: LedgerIndex) -> None:
    archive = Archive(ledger)
    archive.put(*"abcde")
    archive.night()
    card = archive.target.get(keys.CARD_KEY).decode()
    assert "| Pairs in use | 5 of 5 photos |" in card
    assert "![From left to right: HR, bicubic, LR images as drawn](samples.png)" in card
    picture = np.asarray(Image.open(io.BytesIO(archive.target.get(keys.SAMPLES_KEY))))
    assert picture.std() > 20


def test_a_lost_piece_is_drawn_again_the_next_night(ledger: LedgerIndex) -> None:
    archive = Archive(ledger)
    archive.put(*"abc")
    archive.draw()
    line = ledger.find("b")
    assert line is not None
    archive.target.delete(line.outputs[0].key)
    first = archive.night()
    assert first is not None
    assert (first.new, archive.in_use()) == (2, ["a", "c"])
    second = archive.night()
    assert second is not None
    assert (second.new, archive.in_use()) == (1, ["a", "b", "c"])


def test_most_photos_may_not_vanish_unnoticed(ledger: LedgerIndex) -> None:
    archive = Archive(ledger)
    archive.put(*(chr(97 + number) for number in range(24)))
    archive.night()
    for info in list(archive.source.list()):
        archive.source.delete(info.key)
    with pytest.raises(StorageError, match=r"24 of the 24 photos.*--accept-vanished"):
        archive.night()
    record = archive.night(may_shrink=True)
    assert record is not None
    assert record.vanished == 24


def test_a_version_that_is_gone_is_stale_until_the_next_is_drawn(ledger: LedgerIndex) -> None:
    archive = Archive(ledger)
    archive.put(*"ab")
    archive.night()
    archive.put("a", seed=77)
    late = archive.night(draws=False)
    assert late is not None
    assert (late.vanished, archive.in_use()) == (1, ["b"])
    archive.night()
    assert archive.in_use() == ["a", "b"]


def test_a_driver_that_lost_its_lease_publishes_nothing(ledger: LedgerIndex) -> None:
    archive = Archive(ledger)
    archive.put(*"ab")
    archive.draw()

    def check() -> None:
        raise ClusterError("another driver has the job")

    before = archive.target.contents()
    with open_night(archive.target) as night, pytest.raises(ClusterError):
        night.publish(ledger, run_of(GIVEN, check=check), knows_all=False)
    assert archive.target.contents() == before


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "is no record of a dataset"),
        (b'{"format": 1, "nights": []}', "is no record of a dataset"),
        (b'{"format": 99}', "has format 99, this sdflow knows 1"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused(data: bytes, message: str) -> None:
    target = MemoryStore()
    target.put(keys.DATASET_KEY, data)
    with pytest.raises(StorageError, match=message):
        read_dataset(target)


def test_a_source_that_could_not_be_redone_and_vanishes_is_marked(ledger: LedgerIndex) -> None:
    archive = Archive(ledger)
    archive.put(*"ab")
    archive.night()
    before = ledger.find("a")
    assert before is not None
    ledger.add([replace(before, status="failed", time="later", outputs=(), error="nan")])
    archive.source.delete("a")
    record = archive.night()
    assert record is not None
    assert record.vanished == 1
    assert archive.stale() == {("a", "vanished")}
