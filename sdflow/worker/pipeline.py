"""Fetch and decode, compute, encode and upload: the stages of a worker, all busy at once."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeAlias, TypeVar

from sdflow.errors import SdflowError, TooLargeError
from sdflow.images import codec
from sdflow.work.ledger import Output, dead_letter_line
from sdflow.work.names import result_format, result_key
from sdflow.work.shard import WorkItem
from sdflow.worker.budget import PixelBudget
from sdflow.worker.drawing import Drawer, Engine
from sdflow.worker.held import HeldShard
from sdflow.worker.photo import Drawing
from sdflow.worker.report import Ending, Retry, Totals
from sdflow.worker.upload import NOT_DONE, NotDone, Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdflow.images.formats import DecodedImage, ImageFormat, ImageInfo, Metadata, Pixels
    from sdflow.storage.store import Store
    from sdflow.work.parameters import PixelParameters
    from sdflow.work.shard import Shard
    from sdflow.worker.limits import Limits

IO_THREADS = 8  # of each stage that waits for a store; a store needs as many connections

_MAX_BYTES_PER_PIXEL = 16  # four uncompressed samples of 32 bits
_MAX_METADATA_BYTES = 64_000_000
_SAMPLES_AT_ONCE = 4  # of one image, which share the work that does not depend on the sample
_Fetched: TypeAlias = "DecodedImage | NotDone"
_Held: TypeAlias = "HeldShard[_Fetched]"
_Source: TypeAlias = "tuple[WorkItem, _Fetched]"
_Emit: TypeAlias = "Callable[[Ending], None]"
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a pipeline takes in.

    Attributes:
        max_pixels: Sources with more are refused.
        budget_px: Pixels that may be decoded and waiting, and again finished and not yet uploaded.
    """

    max_pixels: int
    budget_px: int = 64_000_000


class Codec(Protocol):
    """Files to pixels and back; see ``images.codec``."""

    def peek(self, data: bytes, *, key: str) -> ImageInfo:
        """What the header says."""

    def decode(self, data: bytes, *, key: str, max_pixels: int) -> DecodedImage:
        """Pixels and what is around them."""

    def encode(
        self, pixels: Pixels, metadata: Metadata, *, format: ImageFormat, quality: int, key: str
    ) -> bytes:
        """A whole file."""


class Pipeline:
    """Does shards of images: reads from one store and writes to another.

    Several shards may be worked at at once, from several threads: they share the stages, so that
    one shard's last uploads overlap the next one's first downloads. Memory is bounded by the pixels
    in flight, not by the number of images.

    Args:
        source: Where the sources are.
        target: Where results go.
        engine: Does the pixels; called by one thread at a time.
        parameters: Everything that changes them.
        bounds: How much is taken in.
        codec: Reads and writes files.
    """

    def __init__(
        self,
        source: Store,
        target: Store,
        engine: Engine,
        parameters: PixelParameters,
        bounds: Bounds,
        codec: Codec = codec,
    ) -> None:
        self._source = source
        self._target = target
        self._codec = codec
        self._drawer = Drawer(engine)
        self._parameters = parameters
        self._max_pixels = bounds.max_pixels
        self._budget_px = bounds.budget_px
        self._decoded_px = PixelBudget(bounds.budget_px)
        self._finished_px = PixelBudget(bounds.budget_px)
        self._fetchers = ThreadPoolExecutor(IO_THREADS, thread_name_prefix="fetch")
        self._writers = ThreadPoolExecutor(IO_THREADS, thread_name_prefix="write")

    @property
    def limits(self) -> Limits | None:
        """What the engine has learnt of its memory; None without one."""
        return self._drawer.engine.limits

    def close(self) -> None:
        """Stop the threads."""
        self._fetchers.shutdown()
        self._writers.shutdown()

    def hold(self, lease: int, shard: Shard) -> _Held:
        """Begin to fetch a shard's images; :meth:`work` does the rest."""

        def fetch(item: WorkItem) -> Future[_Fetched]:
            return self._fetchers.submit(self._caught, item, shard.attempt, self._fetch, item)

        return HeldShard(lease, shard, fetch, self._discard)

    def work(self, held: _Held, emit: _Emit) -> None:
        """Do every image of a shard that is not handed back meanwhile.

        Args:
            held: From :meth:`hold`.
            emit: Told how each image ended, from any thread; results are durable by then.
        """
        writes: list[Future[None]] = []
        while taken := self._take(held):
            self._compute(taken, held, emit, writes)
        wait(writes)
        for write in writes:
            write.result()

    def _take(self, held: _Held) -> list[_Source]:
        """As many images as are worth computing together."""
        limit = self._drawer.engine.batch_px * (1 if self._parameters.task == "upscale" else 16)

        def is_enough(image: _Fetched) -> bool:
            nonlocal limit
            limit -= 0 if isinstance(image, NOT_DONE) else image.num_pixels
            return limit <= 0

        return held.take(is_enough)

    def _discard(self, image: _Fetched) -> None:
        if not isinstance(image, NOT_DONE):
            self._decoded_px.release(image.num_pixels)

    def _caught(
        self,
        item: WorkItem,
        attempt: int,
        stage: Callable[_Arguments, _Result],
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> _Result | NotDone:
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
        pixels = min(self._codec.peek(data, key=item.key).num_pixels, self._max_pixels)
        self._decoded_px.acquire(pixels)
        try:
            return self._codec.decode(data, key=item.key, max_pixels=self._max_pixels)
        except BaseException:
            self._decoded_px.release(pixels)
            raise

    def _compute(
        self, taken: list[_Source], held: _Held, emit: _Emit, writes: list[Future[None]]
    ) -> None:
        """Draw a few samples at a time of all images, and send them off."""
        left = []
        for item, image in taken:
            if isinstance(image, NOT_DONE):
                emit(Ending(held.lease, item.key, image))
            else:
                left.append((item, image))
        taken.clear()
        pixels_in = sum(image.num_pixels for _, image in left)
        count = self._parameters.samples
        uploads = {
            item.key: Upload(
                item,
                held.attempt,
                Totals(pixels_in=image.num_pixels, bytes_read=item.size_bytes),
                count=count,
            )
            for item, image in left
        }
        at_once = max(1, min(_SAMPLES_AT_ONCE, self._budget_px // max(1, self._px_out(pixels_in))))
        send = partial(self._send, held=held, emit=emit)
        try:
            for first in range(0, count, at_once):
                samples = tuple(range(first, min(first + at_once, count)))
                for index, error in self._draw(left, samples, uploads, send, writes):
                    item = left[index][0]
                    del uploads[item.key]
                    emit(Ending(held.lease, item.key, self._failure(item, held.attempt, error)))
                left = [source for source in left if source[0].key in uploads]
        finally:
            left.clear()
            self._decoded_px.release(pixels_in)

    def _draw(
        self,
        sources: list[tuple[WorkItem, DecodedImage]],
        samples: tuple[int, ...],
        uploads: dict[str, Upload],
        send: Callable[[Upload, DecodedImage, int, Pixels], Future[None]],
        writes: list[Future[None]],
    ) -> Iterator[tuple[int, Exception]]:
        """Draw some samples; yields the position and the failure of every image that fails."""
        given = self._parameters
        reserved = [len(samples) * self._px_out(image.num_pixels) for _, image in sources]
        self._finished_px.acquire(sum(reserved))
        drawing = Drawing(given.task, given.seed, given.tau, samples)
        images = [(item.key, image.pixels) for item, image in sources]
        try:
            for index, drawn in self._drawer.draw(drawing, images):
                item, image = sources[index]
                if isinstance(drawn, Exception):
                    yield index, drawn
                    continue
                upload = uploads[item.key]
                made = sum(pixels.shape[0] * pixels.shape[1] for pixels in drawn.outputs)
                upload.add_drawn(Totals(busy_s=drawn.busy_s, pixels_out=made), drawn.note)
                share, reserved[index] = reserved[index] // len(samples), 0
                for sample, pixels in zip(samples, drawn.outputs, strict=True):
                    writes.append(send(upload, image, sample, pixels))
                    writes[-1].add_done_callback(partial(self._sent, share))
        finally:
            self._finished_px.release(sum(reserved))  # of images that no writer will release

    def _px_out(self, pixels_in: int) -> int:
        return 16 * pixels_in if self._parameters.task == "upscale" else pixels_in // 16

    def _send(
        self,
        upload: Upload,
        image: DecodedImage,
        sample: int,
        pixels: Pixels,
        *,
        held: _Held,
        emit: _Emit,
    ) -> Future[None]:
        given, item = self._parameters, upload.item
        key = result_key(item, wanted=given.format, sample=sample if given.samples > 1 else None)
        write = partial(self._write, key, pixels, image.metadata, image.format)

        def finish() -> None:
            if upload.add_written(sample, self._caught(item, held.attempt, write)):
                emit(Ending(held.lease, item.key, *upload.ending(self._parameters)))

        return self._writers.submit(finish)

    def _sent(self, pixels: int, done: Future[None]) -> None:
        del done
        self._finished_px.release(pixels)

    def _write(self, key: str, pixels: Pixels, metadata: Metadata, source: ImageFormat) -> Output:
        data = self._codec.encode(
            pixels,
            metadata,
            format=result_format(source, self._parameters.format),
            quality=self._parameters.quality,
            key=key,
        )
        return Output(key, self._target.put(key, data), len(data))

    def _failure(self, item: WorkItem, attempt: int, error: Exception) -> NotDone:
        if not isinstance(error, SdflowError):
            return Retry(item, "internal", f"{type(error).__name__}: {error}")
        if error.transient:
            return Retry(item, error.code, str(error))
        return dead_letter_line(
            item, self._parameters, error=error.code, message=str(error), attempts=attempt
        )
