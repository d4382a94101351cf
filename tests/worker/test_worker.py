"""A worker without a cluster: what it is told, what it says, and that nothing gets lost between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Thread

from PIL import Image

from sdflow.model.checkpoint import encode_safetensors
from sdflow.storage.local import LocalStore
from sdflow.storage.location import StoreLocation
from sdflow.work.handling import Handling
from sdflow.work.ledger import LedgerLine
from sdflow.work.parameters import PixelParameters
from sdflow.work.shard import Shard, WorkItem
from sdflow.worker.limits import Limits
from sdflow.worker.outbox import Outbox
from sdflow.worker.report import Ending, Progress
from sdflow.worker.worker import Worker, WorkerSpec
from tests.model.seeded import TINY, photo, seeded_model
from tests.worker.bench import PARAMETERS


def _photos(folder: Path, count: int) -> tuple[WorkItem, ...]:
    folder.mkdir()
    for number in range(count):
        Image.fromarray(photo(40, 30)).save(folder / f"{number:02d}.png")
    infos = LocalStore(folder).list()
    return tuple(WorkItem(info.key, info.etag, info.size_bytes) for info in infos)


def _spec(
    folder: Path, parameters: PixelParameters, limits: dict[str, Limits] | None = None
) -> WorkerSpec:
    return WorkerSpec(
        StoreLocation(str(folder / "in")),
        StoreLocation(str(folder / "out")),
        parameters,
        Handling(max_pixels=10_000),
        threads=2,
        limits=limits or {},
    )


def _all_endings(worker: Worker, count: int) -> tuple[Progress, list[Ending]]:
    """Ask until so many images have ended, acknowledging every answer."""
    endings: list[Ending] = []
    progress = Progress(0, ())
    while len(endings) < count:
        progress = worker.poll(progress.sequence, wait_s=1)
        endings += progress.endings
    return progress, endings


def test_start_that_is_repeated_begins_nothing_twice(tmp_path: Path) -> None:
    items = _photos(tmp_path / "in", 3)
    worker = Worker(_spec(tmp_path, PARAMETERS), None)
    for _ in range(3):
        worker.start(7, Shard(items))
    progress, endings = _all_endings(worker, 3)
    assert {ending.name for ending in endings} == {item.key for item in items}
    assert {ending.lease for ending in endings} == {7}
    assert worker.poll(progress.sequence, wait_s=0).endings == ()


def test_answer_that_got_lost_is_given_again(tmp_path: Path) -> None:
    items = _photos(tmp_path / "in", 2)
    worker = Worker(_spec(tmp_path, PARAMETERS), None)
    worker.start(1, Shard(items))
    first = worker.poll(0, wait_s=1)
    while first.sequence < 2:
        first = worker.poll(0, wait_s=1)
    assert worker.poll(0, wait_s=0).endings == first.endings
    assert worker.poll(1, wait_s=0).endings == first.endings[1:]


def test_release_of_an_unknown_lease_does_nothing(tmp_path: Path) -> None:
    _photos(tmp_path / "in", 1)
    worker = Worker(_spec(tmp_path, PARAMETERS), None)
    worker.release(5, 10)
    assert worker.poll(0, wait_s=0).endings == ()


def test_release_that_overtakes_its_start_is_not_forgotten(tmp_path: Path) -> None:
    items = _photos(tmp_path / "in", 3)
    worker = Worker(_spec(tmp_path, PARAMETERS), None)
    worker.release(1, 2)
    worker.start(1, Shard(items))
    _, endings = _all_endings(worker, 3)
    assert {ending.name for ending in endings if ending.outcome is None} == {
        item.key for item in items[1:]
    }


def test_every_image_of_a_released_lease_ends_once(tmp_path: Path) -> None:
    items = _photos(tmp_path / "in", 30)
    worker = Worker(_spec(tmp_path, PARAMETERS), None)
    worker.start(1, Shard(items))
    worker.release(1, 30)
    _, endings = _all_endings(worker, 30)
    assert {ending.name for ending in endings} == {item.key for item in items}
    assert len(endings) == 30


def test_answer_comes_at_once_when_something_is_urgent() -> None:
    outbox, ending = Outbox(), Ending(1, "a", None)

    def tell() -> None:
        outbox.put(ending)
        outbox.hurry()

    thread = Thread(target=tell)
    thread.start()
    assert outbox.read(0, wait_s=60) == (1, (ending,))
    thread.join()


def test_limits_of_the_kind_of_device_hold_from_the_start_and_are_reported(tmp_path: Path) -> None:
    items = _photos(tmp_path / "in", 2)
    parameters = replace(PARAMETERS, weights="w", samples=6, tile=64, halo=8)
    spec = _spec(tmp_path, parameters, {"cpu": Limits(2000, tile=16)})
    worker = Worker(spec, encode_safetensors(seeded_model(TINY)))
    worker.start(1, Shard(items))
    progress, endings = _all_endings(worker, 2)
    assert progress.limits == Limits(2000, tile=16)
    target = LocalStore(tmp_path / "out")
    lines = [ending.outcome for ending in endings if isinstance(ending.outcome, LedgerLine)]
    assert {line.note for line in lines} == {"memory ran out: tile 16"}
    assert [len(line.outputs) for line in lines] == [6, 6]
    drawn = {target.get(output.key) for line in lines for output in line.outputs}
    assert len(drawn) == 12  # every sample and image has noise of its own
