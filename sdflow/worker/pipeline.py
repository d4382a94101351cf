"""Fetch and decode, compute, encode and upload: the stages of a worker, all busy at once."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, ParamSpec, TypeAlias, TypeVar

from sdflow.work.shard import WorkItem
from sdflow.worker.budget import PixelBudget
from sdflow.worker.drawing import Drawer, Engine, drawing_of
from sdflow.worker.fetched import Chore, Fetched, weight_px
from sdflow.worker.fetcher import Fetcher
from sdflow.worker.held import HeldShard
from sdflow.worker.photo import Photo
from sdflow.worker.report import NOTHING, Ending, Totals
from sdflow.worker.results import Sample, Written
from sdflow.worker.upload import NotDone, Upload, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdflow.storage.store import Store
    from sdflow.work.shard import Shard
    from sdflow.worker.fetcher import Codec, Giants
    from sdflow.worker.limits import Limits
    from sdflow.worker.results import ResultWriter

IO_THREADS = 8  # of each stage that waits for a store; a store needs as many connections

_SAMPLES_AT_ONCE = 4  # of one image, which share the work that does not depend on the sample
_Ready: TypeAlias = "Fetched | Chore | NotDone"
_Held: TypeAlias = "HeldShard[_Ready]"
_Source: TypeAlias = "tuple[WorkItem, _Ready]"
_Emit: TypeAlias = "Callable[[Ending], None]"
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Pipeline:
    """Does shards of images: reads them from a store and has results written.

    Several shards may be worked at at once, from several threads: they share the stages, so that
    one shard's last uploads overlap the next one's first downloads. Memory is bounded by the pixels
    in flight, neither by the number of images nor by the size of one.

    Args:
        source: Where the sources are.
        writer: Makes results durable.
        engine: Does the pixels; called by one thread at a time.
        codec: Reads and writes files as the job's parameters want it.
        giants: Does what is too large to be done at once; None: everything is done at once.
        budget_px: Pixels that may be decoded and waiting, and again finished and not yet uploaded.
    """

    def __init__(
        self,
        source: Store,
        writer: ResultWriter,
        engine: Engine,
        codec: Codec,
        *,
        giants: Giants | None = None,
        budget_px: int = 64_000_000,
    ) -> None:
        self._codec = codec
        self._writer = writer
        self._giants = giants
        self._drawer = Drawer(engine)
        self._parameters = codec.parameters
        self._budget_px = budget_px
        self._decoded_px = PixelBudget(budget_px)
        self._finished_px = PixelBudget(budget_px)
        self._fetcher = Fetcher(source, codec, self._decoded_px, giants)
        self._fetchers = ThreadPoolExecutor(IO_THREADS, thread_name_prefix="fetch")
        self._writers = ThreadPoolExecutor(IO_THREADS, thread_name_prefix="write")
        self._chores = Lock()  # one at a time: each holds bands of an image of any width

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

        def fetch(item: WorkItem) -> Future[_Ready]:
            return self._fetchers.submit(
                self._caught, item, shard.attempt, self._fetcher.fetch, item
            )

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
        limit = self._drawer.engine.batch_px * (
            1 if self._parameters.direction == "upscale" else 16
        )

        def is_enough(ready: _Ready) -> bool:
            nonlocal limit
            limit -= ready.num_pixels if isinstance(ready, Fetched) else 0
            return limit <= 0 or isinstance(ready, Chore)  # which others may take while it waits

        return held.take(is_enough)

    def _discard(self, ready: _Ready) -> None:
        if isinstance(ready, Fetched):
            self._decoded_px.release(ready.weight_px)

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
            return failure(item, self._parameters, error, attempt)

    def _compute(
        self, taken: list[_Source], held: _Held, emit: _Emit, writes: list[Future[None]]
    ) -> None:
        """Draw what can be drawn, then do what needs no drawing."""
        drawable: list[tuple[WorkItem, Fetched]] = []
        chores: list[WorkItem] = []
        for item, ready in taken:
            if isinstance(ready, Fetched) and self._writer.wants_all and not ready.cuts:
                self._end_undrawn(item, ready, held, emit)
            elif isinstance(ready, Fetched):
                drawable.append((item, ready))
            elif isinstance(ready, Chore):
                chores.append(item)
            else:
                emit(Ending(held.lease, item.name, ready))
        taken.clear()
        self._draw_all(drawable, held, emit, writes)
        for item in chores:
            self._do_chore(item, held, emit)

    def _end_undrawn(self, item: WorkItem, image: Fetched, held: _Held, emit: _Emit) -> None:
        """An image of which nothing will be cut needs no network."""
        self._decoded_px.release(image.weight_px)
        upload = self._upload(item, image, held.attempt)
        upload.add_written(0, self._caught(item, held.attempt, self._write, upload, image, []))
        emit(Ending(held.lease, item.name, *upload.ending(self._parameters)))

    def _draw_all(
        self,
        left: list[tuple[WorkItem, Fetched]],
        held: _Held,
        emit: _Emit,
        writes: list[Future[None]],
    ) -> None:
        """Draw a few samples at a time of all images, and send them off."""
        held_px = sum(image.weight_px for _, image in left)
        count = self._parameters.samples
        uploads = {item.name: self._upload(item, image, held.attempt) for item, image in left}
        px_out = sum(self._px_out(item, image) for item, image in left)
        at_once = max(1, min(_SAMPLES_AT_ONCE, self._budget_px // max(1, px_out)))
        at_once = count if self._writer.wants_all else at_once
        send = partial(self._send, held=held, emit=emit)
        try:
            for first in range(0, count, at_once):
                samples = tuple(range(first, min(first + at_once, count)))
                for index, error in self._draw(left, samples, uploads, send, writes):
                    item = left[index][0]
                    del uploads[item.name]
                    emit(
                        Ending(
                            held.lease,
                            item.name,
                            failure(item, self._parameters, error, held.attempt),
                        )
                    )
                left = [source for source in left if source[0].name in uploads]
        finally:
            left.clear()
            self._decoded_px.release(held_px)

    def _upload(self, item: WorkItem, image: Fetched, attempt: int) -> Upload:
        pixels, size_bytes = image.num_pixels, item.size_bytes
        if item.part is not None:  # its file has been counted when the image was divided
            pixels, size_bytes = item.pixels, 0
        totals = Totals(pixels_in=pixels, bytes_read=size_bytes, fetch_s=image.fetch_s)
        count = 1 if self._writer.wants_all else self._parameters.samples
        return Upload(item, attempt, totals, count=count, note=image.note)

    def _do_chore(self, item: WorkItem, held: _Held, emit: _Emit) -> None:
        giants = self._giants
        if giants is None:
            raise ValueError(f"{item.name!r} is a part of an image, and there are none here")
        with self._chores:
            result = self._caught(item, held.attempt, giants.do, item, held.attempt)
        outcome, totals = result if isinstance(result, tuple) else (result, NOTHING)
        emit(Ending(held.lease, item.name, outcome, totals))

    def _draw(
        self,
        sources: list[tuple[WorkItem, Fetched]],
        samples: tuple[int, ...],
        uploads: dict[str, Upload],
        send: Callable[[Upload, Fetched, list[Sample]], Future[None]],
        writes: list[Future[None]],
    ) -> Iterator[tuple[int, Exception]]:
        """Draw some samples; yields the position and the failure of every image that fails."""
        given = self._parameters
        reserved = [len(samples) * self._px_out(item, image) for item, image in sources]
        if self._writer.wants_all:  # the sources, too, wait until they are written
            reserved = [
                px + image.weight_px for px, (_, image) in zip(reserved, sources, strict=True)
            ]
        self._finished_px.acquire(sum(reserved))
        drawing = drawing_of(given, samples, deep=self._codec.is_deep)
        photos = [
            Photo(image.noise_key(item.key), image.pixels, image.within) for item, image in sources
        ]
        try:
            for index, drawn in self._drawer.draw(drawing, photos):
                item, image = sources[index]
                if isinstance(drawn, Exception):
                    yield index, drawn
                    continue
                upload = uploads[item.name]
                made = sum(pixels.shape[0] * pixels.shape[1] for pixels in drawn.outputs)
                upload.add_drawn(Totals(busy_s=drawn.busy_s, pixels_out=made), drawn.note)
                draws = drawn.draws or (None,) * len(samples)
                made_of = [Sample(*one) for one in zip(samples, drawn.outputs, draws, strict=True)]
                groups = [made_of] if self._writer.wants_all else [[one] for one in made_of]
                share, reserved[index] = reserved[index] // len(groups), 0
                for group in groups:
                    writes.append(send(upload, image, group))
                    writes[-1].add_done_callback(partial(self._sent, share))
        finally:
            self._finished_px.release(sum(reserved))  # of images that no writer will release

    def _px_out(self, item: WorkItem, image: Fetched) -> int:
        """What one result weighs."""
        source_px = image.num_pixels if item.part is None else item.pixels
        drawn_px = 16 * source_px if self._parameters.direction == "upscale" else source_px // 16
        num_bands = image.pixels.shape[2]
        return weight_px(self._codec.result_bytes(drawn_px, num_bands, image.dtype))

    def _send(
        self,
        upload: Upload,
        image: Fetched,
        samples: list[Sample],
        *,
        held: _Held,
        emit: _Emit,
    ) -> Future[None]:
        item = upload.item

        def finish() -> None:
            result = self._caught(item, held.attempt, self._write, upload, image, samples)
            if upload.add_written(samples[0].number, result):
                emit(Ending(held.lease, item.name, *upload.ending(self._parameters)))

        return self._writers.submit(finish)

    def _sent(self, pixels: int, done: Future[None]) -> None:
        del done
        self._finished_px.release(pixels)

    def _write(self, upload: Upload, image: Fetched, samples: list[Sample]) -> Written:
        item = upload.item
        if item.part is not None and self._giants is not None:
            (one,) = samples
            return Written((self._giants.keep(item, one.number, one.pixels, note=upload.note),))
        return self._writer.write(item, image, samples)
