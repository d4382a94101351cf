"""Stages that are all busy at once: bounded memory, failures apart, images that are handed back."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event, Lock, Thread

from sdflow.errors import NonFiniteError, TransientStorageError
from sdflow.images.formats import Pixels
from sdflow.storage.memory import MemoryStore
from sdflow.work.handling import Handling
from sdflow.work.parameters import PixelParameters
from sdflow.work.shard import Shard, WorkItem
from sdflow.worker.bicubic import BicubicEngine
from sdflow.worker.codec import JobCodec
from sdflow.worker.pipeline import IO_THREADS, Pipeline
from sdflow.worker.report import Ending
from sdflow.worker.results import ImageWriter
from tests.worker.bench import PARAMETERS, Bench, Outcome, image_bytes, run


class _FaultyEngine(BicubicEngine):
    """Fails as told, by key."""

    def __init__(self, faults: dict[str, Exception]) -> None:
        self._faults = faults

    def upscale(
        self, image: Pixels, *, key: str, seed: int = 0, tau: float = 0.8, sample: int = 0
    ) -> Pixels:
        if key in self._faults:
            raise self._faults[key]
        return super().upscale(image, key=key, seed=seed, tau=tau, sample=sample)


def test_failures_of_the_engine_stay_with_their_image() -> None:
    bench = Bench()
    data = image_bytes("RGB", (4, 4), "PNG")
    items = [bench.put(key, data) for key in ("bug.png", "good.png", "later.png", "nan.png")]
    faults = {
        "bug.png": RuntimeError("kaput"),
        "later.png": TransientStorageError("slow down"),
        "nan.png": NonFiniteError("NaN"),
    }
    report = bench.run(*items, engine=_FaultyEngine(faults))
    assert {key: line.error for key, line in report.failed.items()} == {"nan.png": "nan"}
    assert report.retries == {
        "bug.png": "internal",
        "later.png": "storage.transient",
    }
    assert report.lines.keys() == {"good.png", "nan.png"}  # what is tried again is not ended


class _Watcher(BicubicEngine):
    """Notes how many calls are in progress at once, and how far the fetching is ahead of them."""

    def __init__(self, source: CountingStore) -> None:
        self._source = source
        self._lock = Lock()
        self._active = self._started = 0
        self.most_active = self.most_ahead = 0

    def upscale(
        self, image: Pixels, *, key: str, seed: int = 0, tau: float = 0.8, sample: int = 0
    ) -> Pixels:
        with self._lock:
            self._started += 1
            self._active += 1
            self.most_active = max(self.most_active, self._active)
            self.most_ahead = max(self.most_ahead, self._source.num_gets - self._started)
        result = super().upscale(image, key=key, seed=seed, tau=tau, sample=sample)
        with self._lock:
            self._active -= 1
        return result


def _codec(parameters: PixelParameters = PARAMETERS) -> JobCodec:
    return JobCodec(parameters, Handling(max_pixels=10_000))


class CountingStore(MemoryStore):
    num_gets = 0

    def get(
        self, key: str, *, start: int = 0, stop: int | None = None, if_match: str | None = None
    ) -> bytes:
        self.num_gets += 1
        return super().get(key, start=start, stop=stop, if_match=if_match)


def test_fetching_waits_for_the_engine_and_the_engine_has_one_caller() -> None:
    source, target = CountingStore(), MemoryStore()
    items = []
    for index in range(60):
        key, data = f"{index}.png", image_bytes("L", (100, 100), "PNG", seed=index)
        items.append(WorkItem(key, source.put(key, data), len(data)))
    watcher = _Watcher(source)
    pipeline = Pipeline(
        source, ImageWriter(target, _codec()), watcher, _codec(), budget_px=20_000 // 3
    )
    with ThreadPoolExecutor(2) as threads:  # two shards at once, as in an actor
        shards = [Shard(tuple(items[:30])), Shard(tuple(items[30:]))]
        reports = list(threads.map(lambda shard: run(pipeline, shard), shards))
    pipeline.close()
    assert sum(report.totals.done for report in reports) == 60
    assert watcher.most_active == 1
    assert watcher.most_ahead <= 2 + IO_THREADS  # two decoded, and one in each thread


class _Keeper(BicubicEngine):
    """Counts its results that are still in memory."""

    def __init__(self) -> None:
        self._results: list[weakref.ref[Pixels]] = []
        self.most_alive = 0

    def upscale(
        self, image: Pixels, *, key: str, seed: int = 0, tau: float = 0.8, sample: int = 0
    ) -> Pixels:
        result = super().upscale(image, key=key, seed=seed, tau=tau, sample=sample)
        self._results.append(weakref.ref(result))
        self.most_alive = max(self.most_alive, sum(ref() is not None for ref in self._results))
        return result


def test_pixels_of_images_that_failed_are_not_kept_until_the_shard_ends() -> None:
    source, target = MemoryStore(), MemoryStore()
    data = image_bytes("RGB", (4100, 1), "PNG")  # four times as wide is too wide for WebP
    items = [WorkItem(f"{n}.png", source.put(f"{n}.png", data), len(data)) for n in range(30)]
    keeper = _Keeper()
    codec = _codec(replace(PARAMETERS, format="webp"))
    pipeline = Pipeline(
        source,
        ImageWriter(target, codec),
        keeper,
        codec,
        budget_px=2 * 16 * 4100,
    )
    report = run(pipeline, Shard(tuple(items)))
    pipeline.close()
    assert {line.error for line in report.failed.values()} == {"encode.unsupported"}
    assert len(report.failed) == 30
    assert keeper.most_alive <= 2 + IO_THREADS


class _Gate(BicubicEngine):
    """Computes nothing until it is opened, and says when the first image has come."""

    def __init__(self) -> None:
        self.opened, self.reached = Event(), Event()

    def upscale(
        self, image: Pixels, *, key: str, seed: int = 0, tau: float = 0.8, sample: int = 0
    ) -> Pixels:
        self.reached.set()
        self.opened.wait()
        return super().upscale(image, key=key, seed=seed, tau=tau, sample=sample)


def _parted(
    count: int, give: int, budget_px: int
) -> tuple[Pipeline, Shard, list[WorkItem], Outcome]:
    """Images of which some are handed back while the first one is computed; the rest is done."""
    source, target = MemoryStore(), MemoryStore()
    data = image_bytes("L", (100, 100), "PNG")
    keys = [f"{number}.png" for number in range(count)]
    shard = Shard(tuple(WorkItem(key, source.put(key, data), len(data)) for key in keys))
    gate, endings = _Gate(), list[Ending]()
    pipeline = Pipeline(source, ImageWriter(target, _codec()), gate, _codec(), budget_px=budget_px)
    held = pipeline.hold(1, shard)
    thread = Thread(target=pipeline.work, args=(held, endings.append))
    thread.start()
    gate.reached.wait()
    back = held.give_back(give)
    gate.opened.set()
    thread.join()
    assert held.give_back(1) == []
    return pipeline, shard, back, Outcome(endings, shard)


def test_images_that_are_handed_back_are_not_computed_and_free_their_room() -> None:
    pipeline, shard, back, outcome = _parted(40, 30, 20_000)
    assert [item.key for item in back] == [f"{number}.png" for number in range(39, 9, -1)]
    assert outcome.done.keys() == {item.key for item in shard.items[:10]}
    again = run(pipeline, shard)  # hangs if pixels were not given back
    pipeline.close()
    assert again.totals.done == 40


def test_no_more_than_what_waits_can_be_handed_back() -> None:
    pipeline, _, back, outcome = _parted(4, 100, 10**6)
    pipeline.close()
    assert len(back) + len(outcome.done) == 4
    assert outcome.done.keys().isdisjoint({item.key for item in back})
