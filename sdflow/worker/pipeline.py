"""Fetch and decode, compute, encode and upload: the stages of a worker, all busy at once."""

from __future__ import annotations

import resource
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import TYPE_CHECKING, ParamSpec, TypeAlias, TypeVar

from sdflow.errors import SdflowError, TooLargeError
from sdflow.images.codec import decode, encode, peek
from sdflow.storage import keys
from sdflow.telemetry import utc_now
from sdflow.work.ledger import LedgerLine, Output, dead_letter_line, encode_lines
from sdflow.work.names import result_format, result_key
from sdflow.work.shard import WorkItem
from sdflow.worker.budget import PixelBudget
from sdflow.worker.drawing import Drawer, Engine
from sdflow.worker.photo import Drawing
from sdflow.worker.report import Retry, ShardReport, Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdflow.images.formats import DecodedImage, ImageFormat, Metadata, Pixels
    from sdflow.storage.store import Store
    from sdflow.work.parameters import PixelParameters
    from sdflow.work.shard import Shard

IO_THREADS = 8  # of each stage that waits for a store; a store needs as many connections

_MAX_BYTES_PER_PIXEL = 16  # four uncompressed samples of 32 bits
_MAX_METADATA_BYTES = 64_000_000
_SAMPLES_AT_ONCE = 4  # of one image, which share the work that does not depend on the sample
_NotDone: TypeAlias = LedgerLine | Retry
_NOT_DONE = (LedgerLine, Retry)
_Ending: TypeAlias = tuple[_NotDone, Totals]
_Fetched: TypeAlias = "DecodedImage | _NotDone"
_Source: TypeAlias = "tuple[WorkItem, _Fetched]"
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


@dataclass(slots=True)
class _Upload:
    """An image whose outputs are on their way."""

    item: WorkItem
    totals: Totals
    writes: list[Future[Output | _NotDone]]
    note: str = ""


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
        self._drawer = Drawer(engine)
        self._parameters = parameters
        self._max_pixels = max_pixels
        self._budget_px = budget_px
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
            limits=self._drawer.engine.limits,
            peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        )

    def _endings(self, shard: Shard) -> Iterator[_Ending]:
        attempt = shard.attempt
        fetches = {
            self._fetchers.submit(self._caught, item, attempt, self._fetch, item): item
            for item in shard.items
        }
        uploads: list[_Upload] = []
        while fetches:
            for ending in self._compute(self._fetched(fetches), attempt):
                if isinstance(ending, _Upload):
                    uploads.append(ending)
                else:
                    yield ending, Totals()
        for upload in uploads:
            outputs = [write.result() for write in upload.writes]
            failure = next((output for output in outputs if isinstance(output, _NOT_DONE)), None)
            if failure is not None:
                yield failure, Totals()
            else:
                done = tuple(output for output in outputs if isinstance(output, Output))
                yield self._success(upload, attempt, done)

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

    def _fetched(self, fetches: dict[Future[_Fetched], WorkItem]) -> list[_Source]:
        """Take what is there, or wait for it: as many images as are worth computing together."""
        ready, _ = wait(fetches, return_when=FIRST_COMPLETED)
        taken: list[_Source] = []
        limit = self._drawer.engine.batch_px * (1 if self._parameters.task == "upscale" else 16)
        for fetch in ready:
            taken.append((fetches.pop(fetch), fetch.result()))
            image = taken[-1][1]
            limit -= 0 if isinstance(image, _NOT_DONE) else image.num_pixels
            if limit <= 0:
                break
        return taken

    def _compute(self, taken: list[_Source], attempt: int) -> Iterator[_NotDone | _Upload]:
        """Draw a few samples at a time of all images, and send them off."""
        yield from (image for _, image in taken if isinstance(image, _NOT_DONE))
        left = [(item, image) for item, image in taken if not isinstance(image, _NOT_DONE)]
        taken.clear()
        pixels_in = sum(image.num_pixels for _, image in left)
        uploads = {
            item.key: _Upload(
                item, Totals(pixels_in=image.num_pixels, bytes_read=item.size_bytes), []
            )
            for item, image in left
        }
        count = self._parameters.samples
        at_once = max(1, min(_SAMPLES_AT_ONCE, self._budget_px // max(1, self._px_out(pixels_in))))
        try:
            for first in range(0, count, at_once):
                samples = tuple(range(first, min(first + at_once, count)))
                for index, ending in self._draw(left, samples, uploads, attempt):
                    del uploads[left[index][0].key]
                    yield ending
                left = [source for source in left if source[0].key in uploads]
        finally:
            left.clear()
            self._decoded_px.release(pixels_in)
        yield from uploads.values()

    def _draw(
        self,
        sources: list[tuple[WorkItem, DecodedImage]],
        samples: tuple[int, ...],
        uploads: dict[str, _Upload],
        attempt: int,
    ) -> Iterator[tuple[int, _NotDone]]:
        """Draw some samples; yields the position and the ending of every image that fails."""
        given = self._parameters
        reserved = [len(samples) * self._px_out(image.num_pixels) for _, image in sources]
        self._finished_px.acquire(sum(reserved))
        drawing = Drawing(given.task, given.seed, given.tau, samples)
        images = [(item.key, image.pixels) for item, image in sources]
        try:
            for index, drawn in self._drawer.draw(drawing, images):
                item, image = sources[index]
                if isinstance(drawn, Exception):
                    yield index, self._failure(item, attempt, drawn)
                    continue
                upload = uploads[item.key]
                upload.note = drawn.note or upload.note  # the latest limits include the earlier
                upload.totals += Totals(busy_s=drawn.busy_s)
                share, reserved[index] = reserved[index] // len(samples), 0
                for sample, pixels in zip(samples, drawn.outputs, strict=True):
                    upload.totals += Totals(pixels_out=pixels.shape[0] * pixels.shape[1])
                    upload.writes.append(self._send(item, image, sample, pixels, attempt))
                    upload.writes[-1].add_done_callback(partial(self._sent, share))
        finally:
            self._finished_px.release(sum(reserved))  # of images that no writer will release

    def _px_out(self, pixels_in: int) -> int:
        return 16 * pixels_in if self._parameters.task == "upscale" else pixels_in // 16

    def _send(
        self, item: WorkItem, image: DecodedImage, sample: int, pixels: Pixels, attempt: int
    ) -> Future[Output | _NotDone]:
        given = self._parameters
        key = result_key(item, wanted=given.format, sample=sample if given.samples > 1 else None)
        return self._writers.submit(
            self._caught, item, attempt, self._write, key, pixels, image.metadata, image.format
        )

    def _sent(self, pixels: int, done: Future[Output | _NotDone]) -> None:
        del done
        self._finished_px.release(pixels)

    def _write(self, key: str, pixels: Pixels, metadata: Metadata, source: ImageFormat) -> Output:
        data = encode(
            pixels,
            metadata,
            format=result_format(source, self._parameters.format),
            quality=self._parameters.quality,
            key=key,
        )
        return Output(key, self._target.put(key, data), len(data))

    def _success(self, upload: _Upload, attempt: int, outputs: tuple[Output, ...]) -> _Ending:
        line = LedgerLine(
            key=upload.item.key,
            etag=upload.item.etag,
            parameters=self._parameters.hash,
            status="done",
            time=utc_now(),
            attempts=attempt,
            outputs=outputs,
            note=upload.note,
        )
        written = sum(output.size_bytes for output in outputs)
        return line, upload.totals + Totals(done=1, bytes_written=written)

    def _failure(self, item: WorkItem, attempt: int, error: Exception) -> _NotDone:
        if not isinstance(error, SdflowError):
            return Retry(item, "internal", f"{type(error).__name__}: {error}")
        if error.transient:
            return Retry(item, error.code, str(error))
        return dead_letter_line(
            item, self._parameters.hash, error=error.code, message=str(error), attempts=attempt
        )
