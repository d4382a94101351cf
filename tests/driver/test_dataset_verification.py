"""A dataset as workers and nights have written it, damaged in every way that is told apart."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest

from jobs.cli import main
from sdflow.driver.dataset_verification import open_dataset
from sdflow.driver.history import read_ledger
from sdflow.driver.published import read_dataset
from sdflow.storage import keys
from sdflow.storage.local import LocalStore
from sdflow.work.dataset import TAR_END
from sdflow.work.index import scratch_index
from tests.driver.dataset_world import SOURCES, DatasetWorld, add, enlarge, lose, spoil, swap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_BOTH = pytest.mark.parametrize("layout", ["webdataset", "folders"])


@_BOTH
@pytest.mark.parametrize("quick", [False, True])
def test_whole_dataset_has_no_problem(layout: str, quick: bool) -> None:
    world = DatasetWorld(layout)
    world.whole(shard_bytes=1)
    counts = world.verify(quick=quick)
    assert (world.problems, world.repairs) == ([], [])
    objects = 3 if layout == "webdataset" else 3 * (2 * 3 + 1)
    assert (counts["whole"], counts["pairs_read"]) == (objects, 0 if quick else 6)


def test_one_damaged_image_in_a_shard_is_one_sources_problem() -> None:
    world = DatasetWorld()
    (shard,) = world.whole()
    world.flip(shard, "b", 700)  # in the image
    world.verify()
    ((verdict, output, key),) = world.found
    assert (verdict, output, key) == ("changed", shard, "b.png")
    assert ".hr.png has another SHA-256" in world.problems[0].reason
    assert world.repaired == list(SOURCES)  # no broken pair stays in a shard in use
    assert world.verify(quick=True)["whole"] == 1
    assert world.problems == []
    world.target.put(shard, world.target.get(shard)[:-512])
    world.verify(quick=True)
    assert world.found == [("changed", shard, None)]


def test_shard_cut_short_lost_or_unreadable_is_made_again_whole() -> None:
    damages: list[Callable[[DatasetWorld, str, bytes], object]] = [
        lambda world, shard, data: world.target.put(shard, data[: len(data) // 2]),
        lambda world, shard, data: world.target.put(shard, data[:512]),
        lambda world, shard, data: world.target.put(shard, b""),
        lambda world, shard, data: world.target.put(shard, b"?" * len(data)),
        lambda world, shard, data: world.target.put(shard, bytes(len(data))),
        lambda world, shard, _: world.flip(shard, "b", 3),  # a header
        lambda world, shard, _: world.target.delete(shard),
    ]
    for damage in damages:
        world = DatasetWorld()
        (shard,) = world.whole()
        damage(world, shard, world.target.get(shard))
        counts = world.verify()
        ((verdict, output, key),) = world.found
        assert (output, key) == (shard, None)
        assert verdict == ("missing" if damage is damages[-1] else "changed")
        assert counts[verdict] == 1
        assert world.repaired == list(SOURCES)


def test_shard_of_a_record_without_its_size_is_read_all_the_same() -> None:
    world = DatasetWorld()
    (shard,) = world.whole()
    record = json.loads(world.target.get(keys.DATASET_KEY))
    record["nights"][0]["shards"] = []
    world.target.put(keys.DATASET_KEY, json.dumps(record).encode())
    assert world.verify() == {"whole": 1, "pairs_read": 6, "stale_pairs": 0}
    world.target.put(shard, world.target.get(shard)[: -len(TAR_END) - 512])
    world.verify()
    assert world.found == [("changed", shard, None)]


@pytest.mark.parametrize(
    ("change", "verdicts"),
    [
        (lose("_c0001.lr1.png"), ["missing"]),
        (lose("_c0000.hr.png"), ["missing"]),
        (lose("_c0000.json"), ["changed"]),
        (spoil, ["changed"]),
        (swap, ["changed", "changed"]),
        (enlarge, ["misaligned"]),
        (add, ["misaligned"]),
        (lose("_c0001"), ["misaligned"]),
        (lose(""), ["misaligned"]),
    ],
)
def test_what_is_said_of_a_pair_is_compared_with_its_files(
    change: Callable[[dict[str, bytes]], None], verdicts: list[str]
) -> None:
    world = DatasetWorld()
    (shard,) = world.whole()
    world.remake(shard, change)
    world.verify()
    assert world.found == [(verdict, shard, "b.png") for verdict in verdicts]
    assert world.repaired == list(SOURCES)


@_BOTH
def test_what_nothing_names_is_an_orphan_and_left_alone(layout: str) -> None:
    world = DatasetWorld(layout)
    world.whole()
    strays = ["HR/c.png", "LRx4/c.png", "meta/c.json", "shards/000001-00009-x.tar"]
    for key in (*strays, "index/x", "notes.txt"):
        world.target.put(key, b"?")
    assert world.verify()["orphan"] == 4
    assert sorted(world.found) == [("orphan", key, None) for key in strays]
    assert world.repairs == []


def test_folders_lose_and_change_single_files() -> None:
    world = DatasetWorld("folders")
    world.whole()
    lost, changed = world.key("LRx4/a", "_c0001.s1.png"), world.key("HR/b", "_c0000.png")
    world.target.delete(lost)
    world.target.put(changed, b"?")
    other, its_twin = (world.key("LRx4/sub_ü_v1", f"_c000{number}.s0.png") for number in (0, 1))
    world.target.put(other, world.target.get(its_twin))
    counts = world.verify()
    assert world.found == [
        ("changed", changed, "b.png"),
        ("missing", lost, "a.png"),
        ("changed", other, "sub/ü.v1.png"),
    ]
    assert counts["whole"] == 21 - 3
    assert sorted(world.repaired) == list(SOURCES)


def test_folders_are_read_where_names_and_etags_are_as_they_were() -> None:
    world = DatasetWorld("folders")
    (line,) = world.draw("a.png")
    place = world.key("meta/a", ".json")
    told = json.loads(world.target.get(place))
    told["pairs"][0]["lr"][1]["sha256"] = "0" * 64
    outputs = {output.key: output for output in line.outputs}
    for said, verdict in (
        (json.dumps(told), "changed"),
        (json.dumps({**told, "pairs": told["pairs"][:1]}), "misaligned"),
        (json.dumps({**told, "id": "another"}), "misaligned"),
        ("[", "changed"),
    ):
        etag = world.target.put(place, said.encode())
        told_as = replace(outputs[place], etag=etag, size_bytes=len(said.encode()))
        fresh = replace(line, outputs=(*line.outputs[:-1], told_as))
        world.record(fresh)
        world.verify()
        assert world.found == [(verdict, place, "a.png")]
        assert world.repaired == ["a.png"]
        world.verify(quick=True)
        assert world.problems == []


@_BOTH
def test_night_after_a_repair_makes_it_whole(layout: str) -> None:
    world = DatasetWorld(layout)
    world.whole()
    broken = next(
        info.key for info in world.target.list("HR/" if layout == "folders" else keys.SHARDS_PREFIX)
    )
    world.target.delete(broken)
    world.verify()
    again = world.repaired
    assert again == (["a.png"] if layout == "folders" else list(SOURCES))
    world.repair()
    world.verify()
    assert [one.verdict for one in world.problems] == ["missing"]
    assert world.repairs == []  # it waits already
    world.draw(*again)
    if layout == "webdataset":
        assert world.verify()["unpublished"] == 3
        assert world.repairs == []  # the next night heals the lost shard
    world.publish()
    counts = world.verify()
    assert world.problems == []
    assert counts["unused"] == (layout == "webdataset")


def test_replaced_and_vanished_pairs_are_only_counted() -> None:
    world = DatasetWorld()
    (first,) = world.whole()
    world.draw("b.png", seed=1)
    world.publish(gone=("a.png",))
    counts = world.verify()
    assert world.problems == []
    assert (counts["pairs_read"], counts["stale_pairs"], counts["whole"]) == (4, 4, 2)
    world.flip(first, "a", 700)  # nobody uses these
    assert world.verify()["stale_pairs"] == 4
    assert world.problems == []
    world.target.delete(first)
    world.verify()
    assert world.found == [("missing", first, None)]
    assert world.repaired == ["sub/ü.v1.png"]


def test_replaced_and_vanished_files_are_no_problem() -> None:
    world = DatasetWorld("folders")
    world.whole()
    world.draw("b.png", width=32)  # one pair instead of two
    world.verify()  # not yet published: what was drawn last counts
    assert world.problems == []
    world.publish(gone=("a.png",))
    world.target.delete(world.key("HR/a", "_c0000.png"))
    counts = world.verify()
    assert world.problems == []
    assert (counts["superseded"], counts["pairs_read"]) == (0, 3)  # what was replaced is gone


def test_unpublished_pieces_must_be_there_and_survive_cleaning() -> None:
    world = DatasetWorld()
    world.draw("a.png")
    world.publish()  # its piece is left
    lost, kept, changed = (line.outputs[0].key for line in world.draw("b.png", "c.png", "d.png"))
    world.target.put(f"{keys.PIECES_PREFIX}x.tar", b"?")
    world.target.delete(lost)
    world.target.put(changed, b"?")
    world.verify()
    assert sorted(world.found) == [("changed", changed, "d.png"), ("missing", lost, "b.png")]
    assert sorted(world.repaired) == ["b.png", "d.png"]
    world.repair()
    with open_dataset(world.target) as dataset:
        assert dataset.remove_pieces() == 3
    assert [info.key for info in world.target.list(keys.PIECES_PREFIX)] == [kept]
    world.publish()
    world.verify()
    assert world.problems == []


def test_dataset_before_its_first_night_is_pieces_alone() -> None:
    world = DatasetWorld()
    world.draw(*SOURCES)
    assert world.verify() == {"whole": 3, "unpublished": 3}
    assert read_dataset(world.target) is None


def test_command_tells_repairs_and_cleans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = DatasetWorld(target=LocalStore(tmp_path))
    given = {"source": "memory:", "parameters": asdict(world.given), "settings": {}}
    world.target.put(keys.JOB_KEY, json.dumps(given).encode())

    def command(*flags: str) -> tuple[int, list[dict[str, Any]]]:
        capsys.readouterr()
        status = main(["verify", str(tmp_path), *flags])
        return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    (shard,) = world.whole()
    status, (counts,) = command()
    assert (status, counts["whole"], counts["pairs_read"]) == (0, 1, 6)
    world.flip(shard, "b", 700)
    assert command("--quick")[0] == 0
    status, (problem, counts) = command()
    assert (status, counts["changed"], counts["images_to_make_again"]) == (3, 1, 0)
    assert (problem["problem"], problem["key"], problem["output"]) == ("changed", "b.png", shard)
    assert problem["next_step"] == "'sdflow verify DST --repair', then run the job again"
    world.target.put(f"{keys.PIECES_PREFIX}x.tar", b"?")
    status, (problem, counts) = command("--repair", "--clean")
    assert (status, counts["images_to_make_again"], counts["pieces_removed"]) == (3, 3, 1)
    assert problem["next_step"] == "run the job again: it draws the pairs again"
    with scratch_index(knows_outputs=False) as ledger:
        read_ledger(world.target, ledger)
        assert [line.key for line in ledger.lines() if line.status == "missing"] == list(SOURCES)
