"""Fetch and decode, compute, encode and upload: the stages of a worker, all busy at once."""

from __future__ import annotations

import resource
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import reduce
from operator import add
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeAlias, TypeVar

import numpy as np

from sdflow.errors import SdflowError, TooLargeError
from sdflow.images.codec import decode, encode, peek
from sdflow.images.color import join_channels, resize_plane, split_channels
from sdflow.storage import keys
from sdflow.telemetry import utc_now
from sdflow.work.ledger import LedgerLine, Output, dead_letter_line, encode_lines
from sdflow.work.names import result_format, result_key
from sdflow.worker.budget import PixelBudget
from sdflow.worker.report import Retry, ShardReport, Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from sdflow.images.formats import DecodedImage, ImageFormat, Metadata, Pixels
    from sdflow.storage.store import Store
    from sdflow.work.parameters import PixelParameters
    from sdflow.work.shard import Shard, WorkItem

IO_THREADS = 8  # of each stage that waits for a store; a store needs as many connections

_MAX_BYTES_PER_PIXEL = 16  # four uncompressed samples of 32 bits
_MAX_METADATA_BYTES = 64_000_000
_NotDone: TypeAlias = LedgerLine | Retry
_NOT_DONE = (LedgerLine, Retry)
_Ending: TypeAlias = tuple[_NotDone, Totals]
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Engine(Protocol):
    """What turns one image's pixels into another's; see ``TiledEngine``."""

    def upscale(self, image: Pixels, *, key: str, seed: int, tau: float, sample: int) -> Pixels:
        """(H, W, 3) pixels to (4H, 4W, 3)."""

    def downscale(self, image: Pixels, *, key: str, seed: int, tau: float, sample: int) -> Pixels:
        """(H, W, 3) pixels to (ceil(H/4), ceil(W/4), 3)."""


class Pipeline:
    """Does shards of images: reads from one store, writes to another, and keeps the ledger.

    Several shards may run at once, from several threads: they share the stages, so that one
    shard's last uploads overlap the next one's first downloads. Memory is bounded by the pixels in
    flight, not by the number of images.

    Args:
        source: Where the sources are.
        target: Where results and the ledger go.
        engine: Does the pixels; called by one thread at a time.
        parameters: Everything that changes them.
        max_pixels: Sources with more are refused.
        budget_px: Pixels that may be decoded and waiting, and again finished and not yet uploaded.
    """

    def __init__(
        self,
        source: Store,
        target: Store,
        engine: Engine,
        parameters: PixelParameters,
        *,
        max_pixels: int,
        budget_px: int = 64_000_000,
    ) -> None:
        self._source = source
        self._target = target
        self._engine = engine
        self._parameters = parameters
        self._max_pixels = max_pixels
        self._engine_lock = Lock()
        self._decoded_px = PixelBudget(budget_px)
        self._finished_px = PixelBudget(budget_px)
        self._fetchers = ThreadPoolExecutor(IO_THREADS, thread_name_prefix="fetch")
        self._writers = ThreadPoolExecutor(IO_THREADS, thread_name_prefix="write")

    def close(self) -> None:
        """Stop the threads."""
        self._fetchers.shutdown()
        self._writers.shutdown()

    def run(self, shard: Shard, *, ledger_name: str) -> ShardReport:
        """Do every image of a shard; outputs are durable before the ledger says so.

        Args:
            shard: What to do.
            ledger_name: Name of the ledger part to write, unique to this attempt.

        Raises:
            StorageError: If the ledger cannot be written; the shard then counts as not done.
        """
        endings = list(self._endings(shard))
        lines = [ending for ending, _ in endings if isinstance(ending, LedgerLine)]
        if lines:
            self._target.put(keys.ledger_key(ledger_name), encode_lines(lines))
        return ShardReport(
            totals=reduce(add, (totals for _, totals in endings), Totals()),
            failed=tuple(line for line in lines if line.status == "failed"),
            retries=tuple(ending for ending, _ in endings if isinstance(ending, Retry)),
            peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        )

    def _endings(self, shard: Shard) -> Iterator[_Ending]:
        attempt = shard.attempt
        fetches = {
            self._fetchers.submit(self._caught, item, attempt, self._fetch, item): item
            for item in shard.items
        }
        uploads: list[tuple[WorkItem, Totals, list[Future[Output | _NotDone]]]] = []
        for fetch in as_completed(fetches):
            item, image = fetches.pop(fetch), fetch.result()
            if isinstance(image, _NOT_DONE):
                yield image, Totals()
                continue
            computed = self._caught(item, attempt, self._compute, item, attempt, image)
            del fetch, image  # or they keep the source's pixels while others are computed
            if isinstance(computed, _NOT_DONE):
                yield computed, Totals()
            else:
                uploads.append((item, *computed))
        for item, totals, writes in uploads:
            outputs = [write.result() for write in writes]
            failure = next((output for output in outputs if isinstance(output, _NOT_DONE)), None)
            if failure is not None:
                yield failure, Totals()
            else:
                done = tuple(output for output in outputs if isinstance(output, Output))
                yield self._success(item, attempt, done, totals)

    def _caught(
        self,
        item: WorkItem,
        attempt: int,
        stage: Callable[_Arguments, _Result],
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> _Result | _NotDone:
        """Run a stage for one image: its failure stays that image's.

        The exception itself is not kept, because its traceback holds the image's pixels.
        """
        try:
            return stage(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  # whatever a library raises for one image
            return self._failure(item, attempt, error)

    def _fetch(self, item: WorkItem) -> DecodedImage:
        if item.size_bytes > _MAX_BYTES_PER_PIXEL * self._max_pixels + _MAX_METADATA_BYTES:
            raise TooLargeError(
                f"{item.key} has {item.size_bytes} bytes, more than an image within --max-pixels "
                f"{self._max_pixels} can have",
                item=item.key,
            )
        data = self._source.get(item.key, if_match=item.etag)
        pixels = min(peek(data, key=item.key).num_pixels, self._max_pixels)
        self._decoded_px.acquire(pixels)
        try:
            return decode(data, key=item.key, max_pixels=self._max_pixels)
        except BaseException:
            self._decoded_px.release(pixels)
            raise

    def _compute(
        self, item: WorkItem, attempt: int, image: DecodedImage
    ) -> tuple[Totals, list[Future[Output | _NotDone]]]:
        wanted, samples = self._parameters.format, self._parameters.samples
        num_pixels = image.pixels.shape[0] * image.pixels.shape[1]
        reserved = 16 * num_pixels if self._parameters.task == "upscale" else num_pixels // 16
        totals = Totals(pixels_in=num_pixels, bytes_read=item.size_bytes)
        writes: list[Future[Output | _NotDone]] = []
        try:
            for sample in range(samples):
                key = result_key(item, wanted=wanted, sample=sample if samples > 1 else None)
                self._finished_px.acquire(reserved)
                try:
                    pixels, busy_s = self._draw(item.key, image.pixels, sample)
                    write = self._writers.submit(
                        self._caught,
                        item,
                        attempt,
                        self._write,
                        key,
                        pixels,
                        image.metadata,
                        image.format,
                    )
                except BaseException:
                    self._finished_px.release(reserved)
                    raise
                write.add_done_callback(lambda _: self._finished_px.release(reserved))
                writes.append(write)
                totals += Totals(pixels_out=pixels.shape[0] * pixels.shape[1], busy_s=busy_s)
        finally:
            self._decoded_px.release(num_pixels)
        return totals, writes

    def _draw(self, key: str, pixels: Pixels, sample: int) -> tuple[Pixels, float]:
        parameters = self._parameters
        run = self._engine.upscale if parameters.task == "upscale" else self._engine.downscale
        rgb, rest = split_channels(pixels)
        with self._engine_lock:
            started = perf_counter()
            result = run(rgb, key=key, seed=parameters.seed, tau=parameters.tau, sample=sample)
            busy_s = perf_counter() - started
        alpha = rest.alpha
        if alpha is not None:
            height, width = result.shape[:2]
            if parameters.task == "downscale":  # continued to whole cells, as the colours are
                missing = (4 * height - alpha.shape[0], 4 * width - alpha.shape[1])
                alpha = np.pad(alpha, ((0, missing[0]), (0, missing[1])), mode="edge")
            alpha = resize_plane(alpha, height=height, width=width)
        return join_channels(result, alpha, grey=rest.grey), busy_s

    def _write(self, key: str, pixels: Pixels, metadata: Metadata, source: ImageFormat) -> Output:
        data = encode(
            pixels,
            metadata,
            format=result_format(source, self._parameters.format),
            quality=self._parameters.quality,
            key=key,
        )
        return Output(key, self._target.put(key, data), len(data))

    def _success(
        self, item: WorkItem, attempt: int, outputs: tuple[Output, ...], totals: Totals
    ) -> _Ending:
        line = LedgerLine(
            key=item.key,
            etag=item.etag,
            parameters=self._parameters.hash,
            status="done",
            time=utc_now(),
            attempts=attempt,
            outputs=outputs,
        )
        written = sum(output.size_bytes for output in outputs)
        return line, totals + Totals(done=1, bytes_written=written)

    def _failure(self, item: WorkItem, attempt: int, error: Exception) -> _NotDone:
        if not isinstance(error, SdflowError):
            return Retry(item, "internal", f"{type(error).__name__}: {error}")
        if error.transient:
            return Retry(item, error.code, str(error))
        return dead_letter_line(
            item, self._parameters.hash, error=error.code, message=str(error), attempts=attempt
        )
