"""One worker without a cluster: real images, real codec, an in-memory store."""

from __future__ import annotations

import io
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Lock

import numpy as np
import pytest
from PIL import Image

from sdflow.errors import NonFiniteError, TransientStorageError
from sdflow.images.formats import Pixels
from sdflow.storage import keys
from sdflow.storage.memory import MemoryStore
from sdflow.work.ledger import LedgerLine, decode_lines
from sdflow.work.parameters import PixelParameters
from sdflow.work.shard import Shard, WorkItem
from sdflow.worker.bicubic import BicubicEngine
from sdflow.worker.drawing import Engine
from sdflow.worker.engine import TiledEngine
from sdflow.worker.pipeline import IO_THREADS, Pipeline
from sdflow.worker.report import ShardReport
from tests.model.seeded import TINY, seeded_model

PARAMETERS = PixelParameters(
    task="upscale",
    weights="bicubic",
    tau=0.8,
    seed=0,
    samples=1,
    format="keep",
    quality=95,
    precision="fp32",
    tile=None,
    halo=None,
    overlap=None,
)


def image_bytes(mode: str, size: tuple[int, int], kind: str, *, seed: int = 0) -> bytes:
    bands = len(mode) if mode in ("L", "LA", "RGB", "RGBA") else 3
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], bands), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if bands == 1 else pixels).save(buffer, kind)
    return buffer.getvalue()


class Bench:
    """Two stores and whatever runs between them."""

    def __init__(self) -> None:
        self.source, self.target = MemoryStore(), MemoryStore()

    def put(self, key: str, data: bytes) -> WorkItem:
        etag = self.source.put(key, data)
        return WorkItem(key, etag, len(data))

    def run(
        self,
        *items: WorkItem,
        engine: Engine | None = None,
        parameters: PixelParameters = PARAMETERS,
        attempt: int = 1,
    ) -> ShardReport:
        pipeline = Pipeline(
            self.source, self.target, engine or BicubicEngine(), parameters, max_pixels=10_000
        )
        try:
            return pipeline.run(Shard(items, attempt=attempt), ledger_name="part")
        finally:
            pipeline.close()

    def ledger(self) -> dict[str, LedgerLine]:
        data = self.target.get(keys.ledger_key("part"))
        return {line.key: line for line in decode_lines(data, source="part")}

    def result(self, key: str) -> Image.Image:
        return Image.open(io.BytesIO(self.target.get(key)))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_every_kind_of_image_comes_out_four_times_as_large_in_its_own_format(bench: Bench) -> None:
    kinds = [
        ("grey.png", "L", "PNG"),
        ("cut.png", "RGBA", "PNG"),
        ("photo.jpg", "RGB", "JPEG"),
        ("sub/web.webp", "RGB", "WEBP"),
        ("scan.tif", "LA", "TIFF"),
    ]
    items = [bench.put(key, image_bytes(mode, (9, 7), kind)) for key, mode, kind in kinds]
    report = bench.run(*items)
    assert report.totals.done == len(kinds)
    assert report.totals.pixels_in == 63 * len(kinds)
    assert report.totals.pixels_out == 16 * 63 * len(kinds)
    assert report.totals.bytes_read == sum(item.size_bytes for item in items)
    for key, mode, kind in kinds:
        result = bench.result(key)
        assert (result.size, result.mode, result.format) == ((36, 28), mode, kind)
    assert {line.status for line in bench.ledger().values()} == {"done"}


def test_ledger_names_outputs_that_are_there(bench: Bench) -> None:
    bench.run(bench.put("a.png", image_bytes("RGB", (4, 4), "PNG")))
    (output,) = bench.ledger()["a.png"].outputs
    stored = bench.target.head(output.key)
    assert (stored.etag, stored.size_bytes) == (output.etag, output.size_bytes)


def test_bad_images_become_dead_letters_and_their_neighbours_are_done(bench: Bench) -> None:
    good = image_bytes("RGB", (40, 40), "JPEG")
    items = [
        bench.put("cut.jpg", good[: len(good) // 2]),
        bench.put("note.png", b"hello"),
        bench.put("empty.png", b""),
        bench.put("huge.png", image_bytes("L", (101, 100), "PNG")),
        bench.put("good.jpg", good),
    ]
    report = bench.run(*items, attempt=2)
    assert report.totals.done == 1
    assert not report.retries
    assert {line.key: line.error for line in report.failed} == {
        "cut.jpg": "decode.truncated",
        "note.png": "decode.unsupported",
        "empty.png": "decode.empty",
        "huge.png": "too_large",
    }
    assert all(line.attempts == 2 and line.key in line.message for line in report.failed)
    assert bench.ledger()["good.jpg"].status == "done"
    assert {info.key for info in bench.target.list() if not keys.is_job_key(info.key)} == {
        "good.jpg"
    }


def test_source_that_changed_since_it_was_listed_is_not_taken_for_the_old_one(bench: Bench) -> None:
    item = bench.put("a.png", image_bytes("RGB", (4, 4), "PNG"))
    bench.put("a.png", image_bytes("RGB", (4, 4), "PNG", seed=1))
    report = bench.run(item)
    assert [line.error for line in report.failed] == ["storage.changed"]


def test_format_and_samples_are_in_the_names(bench: Bench) -> None:
    items = [
        bench.put("a.jpg", image_bytes("RGB", (4, 4), "JPEG")),
        replace(bench.put("b.jpg", image_bytes("RGB", (4, 4), "JPEG")), keeps_full_name=True),
    ]
    bench.run(*items, parameters=replace(PARAMETERS, format="png", samples=2))
    names = {info.key for info in bench.target.list() if not keys.is_job_key(info.key)}
    assert names == {"a.s0.png", "a.s1.png", "b.jpg.s0.png", "b.jpg.s1.png"}
    assert bench.result("a.s0.png").format == "PNG"


def test_what_a_format_cannot_hold_is_refused_and_not_dropped(bench: Bench) -> None:
    item = bench.put("cut.png", image_bytes("RGBA", (4, 4), "PNG"))
    report = bench.run(item, parameters=replace(PARAMETERS, format="jpeg"))
    assert [line.error for line in report.failed] == ["encode.unsupported"]
    assert "--format" in report.failed[0].message


def test_network_runs_both_directions_and_downscaling_rounds_up(bench: Bench) -> None:
    item = bench.put("a.png", image_bytes("RGB", (37, 18), "PNG"))
    engine = TiledEngine(seeded_model(TINY))
    bench.run(item, engine=engine)
    assert bench.result("a.png").size == (148, 72)
    report = bench.run(item, engine=engine, parameters=replace(PARAMETERS, task="downscale"))
    assert bench.result("a.png").size == (10, 5)
    assert report.totals.pixels_out == 50


def test_grey_stays_grey_and_flat_alpha_flat_through_the_network(bench: Bench) -> None:
    grey = bench.put("grey.png", image_bytes("L", (8, 8), "PNG"))
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (10, 20, 30, 77)).save(buffer, "PNG")
    flat = bench.put("flat.png", buffer.getvalue())
    bench.run(grey, flat, engine=TiledEngine(seeded_model(TINY)))
    assert bench.result("grey.png").mode == "L"
    assert bench.result("flat.png").getchannel("A").getextrema() == (77, 77)


def test_alpha_stays_with_its_colour_whatever_the_size(bench: Bench) -> None:
    edge = np.zeros((41, 43, 4), np.uint8)
    edge[:, 20:] = 255
    edge[17:, :, 3] = edge[17:, :, 0] = 255  # alpha equals red everywhere
    buffer = io.BytesIO()
    Image.fromarray(edge).save(buffer, "PNG")
    item = bench.put("cut.png", buffer.getvalue())
    bench.run(item, parameters=replace(PARAMETERS, task="downscale"))
    pixels = np.asarray(bench.result("cut.png")).astype(int)
    assert pixels.shape == (11, 11, 4)
    assert np.abs(pixels[..., 3] - pixels[..., 0]).max() < 40  # Lanczos beside bicubic, no shift


def test_file_too_long_for_the_allowed_pixels_is_not_even_read(bench: Bench) -> None:
    report = bench.run(WorkItem("vast.tif", "v", 10**12))
    assert [line.error for line in report.failed] == ["too_large"]


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


def test_failures_of_the_engine_stay_with_their_image(bench: Bench) -> None:
    data = image_bytes("RGB", (4, 4), "PNG")
    items = [bench.put(key, data) for key in ("bug.png", "good.png", "later.png", "nan.png")]
    faults = {
        "bug.png": RuntimeError("kaput"),
        "later.png": TransientStorageError("slow down"),
        "nan.png": NonFiniteError("NaN"),
    }
    report = bench.run(*items, engine=_FaultyEngine(faults))
    assert {line.key: line.error for line in report.failed} == {"nan.png": "nan"}
    assert {retry.item.key: retry.error for retry in report.retries} == {
        "bug.png": "internal",
        "later.png": "storage.transient",
    }
    assert bench.ledger().keys() == {"good.png", "nan.png"}  # what is tried again is not ended


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
    pipeline = Pipeline(source, target, watcher, PARAMETERS, max_pixels=10_000, budget_px=20_000)
    with ThreadPoolExecutor(2) as threads:  # two shards at once, as in an actor
        shards = [Shard(tuple(items[:30])), Shard(tuple(items[30:]))]
        reports = list(threads.map(lambda shard: pipeline.run(shard, ledger_name=shard.id), shards))
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
    pipeline = Pipeline(
        source,
        target,
        keeper,
        replace(PARAMETERS, format="webp"),
        max_pixels=10_000,
        budget_px=2 * 16 * 4100,
    )
    report = pipeline.run(Shard(tuple(items)), ledger_name="part")
    pipeline.close()
    assert {line.error for line in report.failed} == {"encode.unsupported"}
    assert len(report.failed) == 30
    assert keeper.most_alive <= 2 + IO_THREADS
