"""A whole job, from settings to summary."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from itertools import chain
from threading import Event as Flag
from time import perf_counter
from typing import TYPE_CHECKING

import structlog

from sdflow.driver.address import check_listens
from sdflow.driver.degrade_settings import DegradeSettings
from sdflow.driver.history import compact_ledger, read_ledger
from sdflow.driver.intake import Intake
from sdflow.driver.job import open_job
from sdflow.driver.leases import MAX_SHARD_IMAGES
from sdflow.driver.manifest import Manifest
from sdflow.driver.night import Run as NightRun
from sdflow.driver.night import StoppedError, open_night
from sdflow.driver.places import job_places, patient_store
from sdflow.driver.recorder import Recorder, new_run_id, remove_below
from sdflow.driver.retry import RetrySurvey, bury_all_dead, dead_sources
from sdflow.driver.signals import signals_set, take_signals
from sdflow.driver.state import Scheduler
from sdflow.driver.survey import Survey
from sdflow.driver.tally import Pass, Tally
from sdflow.driver.tenure import hold_job
from sdflow.driver.weights import BICUBIC, find_weights
from sdflow.errors import ClusterError, StorageError
from sdflow.storage import keys
from sdflow.storage.listing import list_in_parallel
from sdflow.storage.location import open_store
from sdflow.work.estimate import PixelEstimate
from sdflow.work.handling import Handling
from sdflow.work.index import scratch_index
from sdflow.work.plan import plan_shards
from sdflow.worker.worker import WorkerSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from sdflow.config import JobSettings
    from sdflow.driver.night import Night
    from sdflow.driver.summary import Summary
    from sdflow.driver.tenure import Tenure
    from sdflow.storage.store import Store
    from sdflow.work.dataset import NightRecord
    from sdflow.work.index import LedgerIndex
    from sdflow.work.parameters import JobTask, PixelParameters, Task
    from sdflow.work.shard import Shard, WorkItem

_log = structlog.get_logger()


def run_job(task: JobTask, settings: JobSettings, *, failed_only: bool = False) -> Summary:
    """Do a job, or what is left of it.

    A SIGTERM or SIGINT ends it after the images in progress, or ``drain_seconds``; a second one at
    once.

    Args:
        task: What the job does.
        settings: The job's.
        failed_only: Do nothing but its dead letters.

    Raises:
        UsageError: If the settings cannot be; nothing was started.
        SdflowError: If the job cannot run: weights, storage, cluster or another driver.
        KeyboardInterrupt: On the second signal.
    """
    started = perf_counter()
    source_at, target_at = job_places(settings)
    open_store(source_at).check()  # at once; from here on the driver is patient
    source, target = patient_store(source_at), patient_store(target_at)
    check_listens(settings.address)
    direction: Task = "upscale" if task == "upscale" else "downscale"
    weights = find_weights(settings, direction, source_at.s3)
    if weights.name == BICUBIC:
        _log.warning("weights are 'bicubic': plain interpolation, not the SDFlow network")
    stop = Flag()
    with signals_set(stop), hold_job(target, join=settings.join) as tenure:
        parameters = open_job(
            task, settings, weights, source=source, target=target, failed_only=failed_only
        )
        if tenure.is_owner:
            target.delete(keys.SUMMARY_KEY)  # a run that breaks off must not leave the last one's
        handling = Handling(
            settings.max_pixels, settings.giant_pixels, settings.first_frame, settings.png_level
        )
        spec = WorkerSpec(source_at, target_at, parameters, handling)
        run_id = new_run_id()
        with (
            scratch_index(knows_outputs=settings.format != "keep") as index,
            Recorder(target, run_id=run_id) as recorder,
            _night(target, settings) as night,
        ):
            estimate = PixelEstimate()
            tally = Tally(recorder, index, parameters, estimate)
            run = _Run(
                settings,
                failed_only,
                source,
                target,
                tenure,
                parameters,
                index,
                estimate,
                tally,
                night,
            )

            def numbers(*, broken: bool = False) -> Summary:
                return tally.summary(
                    seconds=perf_counter() - started,
                    stopped=stop.is_set(),
                    max_failure_rate=settings.max_failure_rate,
                    broken=broken,
                )

            try:
                listed = run.go(spec, weights.data, recorder, stop)
                added = None
                if night is not None and tenure.is_owner and not stop.is_set():
                    added = run.publish(listed, numbers(), recorder, stop)
                summary = replace(numbers(), night=asdict(added) if added else None)
            except (ClusterError, StorageError):
                if tenure.is_owner and tally.has_begun:
                    with suppress(StorageError):
                        _write_summary(target, numbers(broken=True))
                raise
            if failed_only or not listed.intake.is_whole:
                bury_all_dead(target, index, run_id)
            tenure.check()
            if tenure.is_owner:
                target.put(keys.DEAD_LETTER_KEY, index.dead_letters())
                _write_summary(target, summary)
                is_over = listed.intake.is_whole and not failed_only
                is_over = is_over and not settings.include and not settings.exclude
                if is_over and tenure.is_alone and not summary.unfinished + summary.failed:
                    with suppress(StorageError):  # 'verify --clean' does it otherwise
                        remove_below(target, keys.SCRATCH_PREFIX)
    return summary


@dataclass(frozen=True, slots=True)
class _Run:
    """What one run works with."""

    settings: JobSettings
    failed_only: bool
    source: Store
    target: Store
    tenure: Tenure
    parameters: PixelParameters
    index: LedgerIndex
    estimate: PixelEstimate
    tally: Tally
    night: Night | None

    def go(self, spec: WorkerSpec, weights: bytes | None, recorder: Recorder, stop: Flag) -> Pass:
        """Go through the listing, and once more for what others have left; returns the last."""
        while True:
            parts = read_ledger(self.target, self.index)
            if self.tenure.is_alone:
                compact_ledger(self.target, self.index, parts)
            listed = self._dead_letters(stop) if self.failed_only else self._listing(stop)
            self.tally.begin_pass(listed)
            self._work(listed.survey, spec, weights, stop)
            recorder.finish()
            is_whole = not listed.survey.elsewhere
            if stop.is_set() or is_whole or not self.tenure.outlasts_others(stop):
                return listed
            self.index.exhume()

    def _listing(self, stop: Flag) -> Pass:
        listing = list_in_parallel(self.source, threads=self.settings.list_threads)
        intake = Intake(
            listing if self.night is None else self.night.sources.watched(listing),
            include=self.settings.include,
            exclude=self.settings.exclude,
            since_s=self.settings.since_s,
            is_stopping=stop.is_set,
        )
        manifest = Manifest(self.target) if self.tenure.is_owner else None
        survey = Survey(
            intake,
            manifest,
            self.index,
            self.parameters,
            claim=self.tenure.claim,
            record=self.tally.record,
        )
        return Pass(intake, survey)

    def _dead_letters(self, stop: Flag) -> Pass:
        sources = dead_sources(self.source, self.index.lines(failed_only=True))
        intake = Intake(sources, include=("*",), is_stopping=stop.is_set)
        return Pass(intake, RetrySurvey(intake, self.index, self.parameters))

    def _work(self, survey: Survey, spec: WorkerSpec, weights: bytes | None, stop: Flag) -> None:
        fewest, most = self.settings.worker_range
        scheduler = Scheduler(
            min_workers=fewest, max_workers=most, drain_s=self.settings.drain_seconds
        )
        shards = plan_shards(
            self.estimate.added(self._affordable(survey.items())),
            num_workers=most,
            max_images=MAX_SHARD_IMAGES,
            target_px=lambda: scheduler.pace.shard_px,
        )
        first = next(shards, None)
        if first is not None:
            self._drive(chain([first], shards), scheduler, spec, weights, stop)

    def _affordable(self, items: Iterator[WorkItem]) -> Iterator[WorkItem]:
        """What this run begins with; the rest is left for the next one, and counted."""
        for item in items:
            hours = self.tally.gpu_hours(self.settings.gpus_per_worker)
            if self.settings.is_enough(self.tally.begun, hours):
                self.tally.deferred += 1
                continue
            self.tally.begun += 1
            yield item

    def publish(
        self, listed: Pass, summary: Summary, recorder: Recorder, stop: Flag
    ) -> NightRecord | None:
        """Make the pairs that were drawn part of the dataset; None where there is nothing new."""
        given, night = self.settings, self.night
        if night is None or not isinstance(given, DegradeSettings):
            raise TypeError("there are no pairs to publish")
        read_ledger(self.target, self.index, run_id=recorder.run_id)

        def check() -> None:
            self.tenure.check()
            if stop.is_set():
                raise StoppedError

        run = NightRun(
            parameters=self.parameters,
            check=check,
            forget=recorder.add,
            source=self.source.url,
            shard_bytes=given.shard_mb * 1_000_000,
            failed=summary.failed,
            done=summary.done,
            seconds=summary.seconds,
            mp_per_s=summary.mp_per_s,
            gpu_hours=self.tally.gpu_hours(given.gpus_per_worker),
            worker_seconds=summary.worker_seconds,
        )
        try:
            added = night.publish(
                self.index, run, knows_all=listed.intake.is_whole and not self.failed_only
            )
        except StoppedError:
            self.tally.is_unpublished = True
            return None
        finally:
            recorder.finish()
        if self.tenure.is_alone:
            with suppress(StorageError):  # 'verify --clean' does it otherwise
                remove_below(self.target, keys.PIECES_PREFIX)
        return added

    def _drive(
        self,
        shards: Iterator[Shard],
        scheduler: Scheduler,
        spec: WorkerSpec,
        weights: bytes | None,
        stop: Flag,
    ) -> None:
        from sdflow.driver.loop import Driver, worker_pool  # Ray takes a second to load

        with worker_pool(spec, weights, self.settings) as pool:
            take_signals(stop)  # Ray takes them when it starts
            try:
                Driver(pool, self.tally, scheduler).run(shards, stop, self.tenure.check)
            finally:
                self.tally.devices |= pool.devices
                self.tally.peak_rss_worker = max(self.tally.peak_rss_worker, pool.peak_rss_bytes)
        take_signals(stop)  # and puts back what it found


def _write_summary(target: Store, summary: Summary) -> None:
    target.put(keys.SUMMARY_KEY, summary.to_json().encode() + b"\n")


def _night(
    target: Store, settings: JobSettings
) -> AbstractContextManager[Night] | nullcontext[None]:
    """The dataset of a job that makes one."""
    if not isinstance(settings, DegradeSettings):
        return nullcontext()
    return open_night(target, may_shrink=settings.accept_vanished)
