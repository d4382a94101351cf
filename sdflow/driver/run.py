"""A whole job, from settings to summary."""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from threading import Event as Flag
from time import perf_counter
from typing import TYPE_CHECKING

import structlog

from sdflow.driver.address import check_listens
from sdflow.driver.job import open_job, read_ledger
from sdflow.driver.survey import Survey
from sdflow.driver.tally import Tally
from sdflow.driver.weights import find_weights
from sdflow.errors import UsageError
from sdflow.storage import keys
from sdflow.storage.location import S3Options, StoreLocation, open_store, overlaps
from sdflow.work.ledger import LedgerIndex
from sdflow.work.plan import plan_shards
from sdflow.worker.worker import WorkerSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from sdflow.config import JobSettings
    from sdflow.driver.summary import Summary
    from sdflow.work.parameters import Task

_SHARD_IMAGES = 32
_SHARD_BYTES = 64_000_000
_log = structlog.get_logger()


def run_job(task: Task, settings: JobSettings) -> Summary:
    """Do a job, or what is left of it.

    A SIGTERM or SIGINT ends it after the shards in progress; a second one at once.

    Raises:
        UsageError: If the settings cannot be; nothing was started.
        SdflowError: If the job cannot run: weights, storage or cluster.
        KeyboardInterrupt: On the second signal.
    """
    started = perf_counter()
    source_at, target_at = _locations(settings)
    source, target = open_store(source_at), open_store(target_at)
    source.check()
    check_listens(settings.address)
    weights = find_weights(settings, task, source_at.s3)
    if weights.data is None:
        _log.warning("weights are 'bicubic': plain interpolation, not the SDFlow network")
    parameters = open_job(task, settings, weights, source=source, target=target)
    target.delete(keys.SUMMARY_KEY)  # a run that breaks off must not leave the last one's
    spec = WorkerSpec(source_at, target_at, parameters, settings.max_pixels)
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    stop = Flag()
    with (
        tempfile.TemporaryDirectory(prefix="sdflow-") as scratch,
        LedgerIndex(Path(scratch) / "ledger.sqlite") as index,
        _signals_set(stop),
    ):
        read_ledger(target, index)
        survey = Survey(source, target, index, parameters, settings.include, settings.exclude)
        tally = Tally(target, index, parameters, run_id=run_id)
        shards = plan_shards(
            survey.items(),
            num_workers=settings.workers,
            max_images=_SHARD_IMAGES,
            max_bytes=_SHARD_BYTES,
        )
        first = next(shards, None)
        if first is not None:
            from sdflow.driver.loop import Driver, worker_pool  # Ray takes a second to load

            # Ray takes over the signals when it starts: take them back.
            with worker_pool(spec, weights.data, settings) as pool, _signals_set(stop):
                Driver(pool, tally, run_id=run_id).run(chain([first], shards), stop)
                tally.devices = tuple(sorted(pool.devices))
        target.put(keys.DEAD_LETTER_KEY, index.dead_letters())
    summary = tally.summary(
        survey,
        seconds=perf_counter() - started,
        workers=settings.workers,
        stopped=stop.is_set(),
        max_failure_rate=settings.max_failure_rate,
    )
    target.put(keys.SUMMARY_KEY, summary.to_json().encode() + b"\n")
    return summary


def _locations(settings: JobSettings) -> tuple[StoreLocation, StoreLocation]:
    options = S3Options(
        endpoint_url=settings.endpoint_url or _from_environment("AWS_ENDPOINT_URL"),
        profile=settings.profile,
        region=settings.region or os.environ.get("AWS_REGION"),
        no_sign_request=settings.no_sign_request,
    )
    source, target = StoreLocation(settings.src, options), StoreLocation(settings.dst, options)
    if overlaps(source, target):
        raise UsageError(
            f"SRC {source.url} and DST {target.url} overlap: results would become sources; "
            "choose a DST outside of SRC",
            item="DST",
        )
    return source, target


def _from_environment(name: str) -> str | None:
    """An endpoint as the AWS SDK finds it, taken here because workers may have none."""
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return None
    return os.environ.get(f"{name}_S3") or os.environ.get(name)


@contextmanager
def _signals_set(flag: Flag) -> Iterator[None]:
    """The first SIGTERM or SIGINT sets the flag; the second one interrupts."""

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    before = {name: signal.signal(name, handle) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
