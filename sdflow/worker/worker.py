"""One worker as a plain class: it owns an engine and runs shards. No cluster is needed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from sdflow.storage.location import StoreLocation, open_store
from sdflow.telemetry import peak_rss_bytes
from sdflow.work.parameters import PixelParameters
from sdflow.worker.codec import JobCodec
from sdflow.worker.copying import COPY, CopyCodec, CopyEngine
from sdflow.worker.giants import GiantWork
from sdflow.worker.limits import Limits
from sdflow.worker.outbox import Outbox
from sdflow.worker.pairs import PairWriter
from sdflow.worker.pipeline import IO_THREADS, Pipeline
from sdflow.worker.report import Ending, Progress, Retry
from sdflow.worker.results import ImageWriter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdflow.storage.store import Store
    from sdflow.work.handling import Handling
    from sdflow.work.shard import Shard
    from sdflow.worker.drawing import Engine
    from sdflow.worker.held import HeldShard


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """Everything a worker needs to know, small enough to send anywhere.

    Attributes:
        source: Where the sources are.
        target: Where results and the ledger go.
        parameters: Everything that changes pixels.
        handling: How images are taken in and written.
        threads: Cores this worker may use on a CPU.
        on_gpu: Whether a GPU was reserved for this worker.
        limits: What workers have learnt of their memory, by kind of device.
    """

    source: StoreLocation
    target: StoreLocation
    parameters: PixelParameters
    handling: Handling
    threads: int = 1
    on_gpu: bool = False
    limits: Mapping[str, Limits] = field(default_factory=dict)


SHARDS_AT_ONCE = 2  # as many as the driver leases to a worker
ORPHANED_S = 180.0  # without a question from the driver, before everything is handed back


class Worker:
    """Builds the engine once, then does shards; several may be in progress at a time.

    Nothing that is told here waits for work: the driver starts shards, takes images back, and asks
    what is new. All three may be repeated without harm, because answers get lost.

    Args:
        spec: The job.
        weights: One-file weights as from ``encode_safetensors``; None for bicubic.
    """

    def __init__(self, spec: WorkerSpec, weights: bytes | None) -> None:
        self.device = "cpu"
        self._outbox = Outbox()
        self._lock = Lock()
        self._known: set[int] = set()
        self._released: dict[int, int] = {}
        self._held: dict[int, HeldShard[Any]] = {}
        self._threads = ThreadPoolExecutor(SHARDS_AT_ONCE, thread_name_prefix="shard")
        copies = spec.parameters.weights == COPY
        engine = CopyEngine() if copies else self._load_engine(spec, weights)
        source, target = _open(spec.source), _open(spec.target)
        codec = JobCodec(spec.parameters, spec.handling)
        if copies:
            copying = CopyCodec(spec.parameters)
            self._pipeline = Pipeline(source, ImageWriter(target, copying), engine, copying)
        else:
            giants = GiantWork(source, target, engine, codec)
            pairs = spec.parameters.pairs
            writer = PairWriter(target, codec, pairs) if pairs else ImageWriter(target, codec)
            self._pipeline = Pipeline(source, writer, engine, codec, giants=giants)

    def start(self, lease: int, shard: Shard) -> None:
        """Begin with a shard, unless this lease has begun already."""
        with self._lock:
            if lease in self._known:
                return
            self._known.add(lease)
            self._held[lease] = held = self._pipeline.hold(lease, shard)
            early = self._released.pop(lease, 0)
        self.release(lease, early)
        self._threads.submit(self._work, held, shard)

    def release(self, lease: int, count: int) -> None:
        """Hand back up to so many images of a lease whose computation has not begun."""
        with self._lock:
            held = self._held.get(lease)
            if lease not in self._known:
                self._released[lease] = count  # overtook its start
        if held is not None and count:
            for item in held.give_back(count):
                self._outbox.put(Ending(lease, item.name, None))
            self._outbox.hurry()

    def poll(self, acknowledged: int, wait_s: float) -> Progress:
        """What is new, at once when a shard has ended, else after a while.

        Args:
            acknowledged: Sequence number of the last answer that arrived; 0 at first.
            wait_s: Seconds to wait.
        """
        sequence, endings = self._outbox.read(acknowledged, wait_s)
        return Progress(sequence, endings, peak_rss_bytes(), self._pipeline.limits)

    def _work(self, held: HeldShard[Any], shard: Shard) -> None:
        unended = {item.name: item for item in shard.items}

        def emit(ending: Ending) -> None:
            unended.pop(ending.name, None)
            self._outbox.put(ending)
            if self._outbox.silence_s > ORPHANED_S:
                self.release(held.lease, len(shard.items))

        try:
            self._pipeline.work(held, emit)
        except Exception as error:  # noqa: BLE001  # nothing may leave an image without an ending
            handed_back = {item.name for item in held.give_back(len(shard.items))}
            for name in handed_back:
                self._outbox.put(Ending(held.lease, name, None))
            for name, item in list(unended.items()):
                if name not in handed_back:
                    failure = Retry(item, "internal", f"{type(error).__name__}: {error}")
                    self._outbox.put(Ending(held.lease, name, failure))
        finally:
            self._held.pop(held.lease, None)
            self._outbox.hurry()

    def _load_engine(self, spec: WorkerSpec, weights: bytes | None) -> Engine:
        if weights is None:
            from sdflow.worker.bicubic import BicubicEngine

            return BicubicEngine()
        import torch  # a bicubic worker is spared its seconds and its memory

        from sdflow.model.checkpoint import decode_weights
        from sdflow.worker.allocator import keep_freed_memory
        from sdflow.worker.engine import TiledEngine

        torch.set_num_threads(spec.threads)
        if not spec.on_gpu:
            keep_freed_memory()
        else:
            self.device = torch.cuda.get_device_name()
        model = decode_weights({"job.safetensors": weights})
        return TiledEngine(
            model.to("cuda" if spec.on_gpu else "cpu"),
            tile=spec.parameters.tile,
            halo=spec.parameters.halo,
            precision=spec.parameters.precision,
            overlap=spec.parameters.overlap,
            limits=spec.limits.get(self.device),
        )


def _open(location: StoreLocation) -> Store:
    """A store with as many connections as threads use it."""
    return open_store(replace(location, s3=replace(location.s3, max_connections=IO_THREADS)))
