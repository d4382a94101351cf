"""One worker without a cluster: real images, real codec, an in-memory store."""

from __future__ import annotations

import io
from functools import reduce
from operator import add

import numpy as np
from PIL import Image

from sdflow.storage.memory import MemoryStore
from sdflow.work.handling import Handling
from sdflow.work.ledger import LedgerLine
from sdflow.work.parameters import PixelParameters
from sdflow.work.shard import Shard, WorkItem
from sdflow.worker.bicubic import BicubicEngine
from sdflow.worker.codec import JobCodec
from sdflow.worker.drawing import Engine
from sdflow.worker.pairs import PairWriter
from sdflow.worker.pipeline import Pipeline
from sdflow.worker.report import Ending, Retry, Totals
from sdflow.worker.results import ImageWriter

PARAMETERS = PixelParameters(
    task="upscale",
    weights="bicubic",
    tau=0.8,
    seed=0,
    samples=1,
    outscale=4.0,
    format="keep",
    quality=95,
    metadata="keep",
    tiff_pyramid=False,
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


class Outcome:
    """What a pipeline said about a shard; every image has exactly one ending."""

    def __init__(self, endings: list[Ending], shard: Shard) -> None:
        self.endings = {ending.name: ending for ending in endings}
        assert len(self.endings) == len(endings)
        assert self.endings.keys() <= {item.key for item in shard.items}

    @property
    def totals(self) -> Totals:
        return reduce(add, (ending.totals for ending in self.endings.values()), Totals())

    @property
    def lines(self) -> dict[str, LedgerLine]:
        outcomes = {key: ending.outcome for key, ending in self.endings.items()}
        return {key: line for key, line in outcomes.items() if isinstance(line, LedgerLine)}

    @property
    def done(self) -> dict[str, LedgerLine]:
        return {key: line for key, line in self.lines.items() if line.status == "done"}

    @property
    def failed(self) -> dict[str, LedgerLine]:
        return {key: line for key, line in self.lines.items() if line.status == "failed"}

    @property
    def retries(self) -> dict[str, str]:
        outcomes = {key: ending.outcome for key, ending in self.endings.items()}
        return {key: retry.error for key, retry in outcomes.items() if isinstance(retry, Retry)}


def run(pipeline: Pipeline, shard: Shard, lease: int = 1) -> Outcome:
    endings: list[Ending] = []
    pipeline.work(pipeline.hold(lease, shard), endings.append)
    return Outcome(endings, shard)


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
    ) -> Outcome:
        codec = JobCodec(parameters, Handling(max_pixels=10_000))
        pairs = parameters.pairs
        writer = PairWriter(self.target, codec, pairs) if pairs else ImageWriter(self.target, codec)
        pipeline = Pipeline(self.source, writer, engine or BicubicEngine(), codec)
        try:
            return run(pipeline, Shard(items, attempt=attempt))
        finally:
            pipeline.close()

    def result(self, key: str) -> Image.Image:
        return Image.open(io.BytesIO(self.target.get(key)))
