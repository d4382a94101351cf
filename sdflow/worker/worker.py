"""One worker as a plain class: it owns an engine and runs shards. No cluster is needed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sdflow.storage.location import StoreLocation, open_store
from sdflow.work.parameters import PixelParameters
from sdflow.worker.limits import Limits
from sdflow.worker.pipeline import IO_THREADS, Pipeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdflow.storage.store import Store
    from sdflow.work.shard import Shard
    from sdflow.worker.drawing import Engine
    from sdflow.worker.report import ShardReport


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """Everything a worker needs to know, small enough to send anywhere.

    Attributes:
        source: Where the sources are.
        target: Where results and the ledger go.
        parameters: Everything that changes pixels.
        max_pixels: Sources with more are refused.
        threads: Cores this worker may use on a CPU.
        on_gpu: Whether a GPU was reserved for this worker.
        limits: What workers have learnt of their memory, by kind of device.
    """

    source: StoreLocation
    target: StoreLocation
    parameters: PixelParameters
    max_pixels: int
    threads: int = 1
    on_gpu: bool = False
    limits: Mapping[str, Limits] = field(default_factory=dict)


class Worker:
    """Builds the engine once, then does shards; several may be in progress at a time.

    Args:
        spec: The job.
        weights: One-file weights as from ``encode_safetensors``; None for bicubic.
    """

    def __init__(self, spec: WorkerSpec, weights: bytes | None) -> None:
        self.device = "cpu"
        engine = self._load_engine(spec, weights)
        self._pipeline = Pipeline(
            _open(spec.source),
            _open(spec.target),
            engine,
            spec.parameters,
            max_pixels=spec.max_pixels,
        )

    def describe(self) -> str:
        """The kind of device, once the worker is ready: ``cpu`` or the GPU's name."""
        return self.device

    def run(self, shard: Shard, ledger_name: str) -> ShardReport:
        """Do a shard; see :meth:`Pipeline.run`."""
        return self._pipeline.run(shard, ledger_name=ledger_name)

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
