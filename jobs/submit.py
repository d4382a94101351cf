"""``sdflow submit``: a job on a running Ray cluster."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shlex
import sys
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import structlog

from sdflow.config import JobSettings, StorageSettings, flag_name, load_target_settings
from sdflow.driver.degrade_settings import DegradeSettings
from sdflow.driver.places import job_places, s3_options
from sdflow.driver.signals import signals_set
from sdflow.driver.submission import JobServer, Submission
from sdflow.driver.submit_settings import api_server
from sdflow.errors import UsageError
from sdflow.storage.location import StoreLocation, overlaps
from sdflow.training.settings import TrainSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic.fields import FieldInfo

    from sdflow.driver.submit_settings import SubmitSettings

_MODELS: dict[str, type[StorageSettings]] = {
    "upscale": JobSettings,
    "downscale": JobSettings,
    "degrade": DegradeSettings,
    "train": TrainSettings,
}
TASKS = tuple(_MODELS)
_FIXED = {"address": "auto", "log_format": "json"}
_NOT_SENT = ("config", "src", "dst", "tau_to", *_FIXED)
_MARGIN_S = 30  # to write the ledger, and to leave Ray
_CHECKPOINT_S = 300  # train has no --drain-seconds: it ends its step and writes all it has
_LEFT = 4
_log = structlog.get_logger()


def run(
    settings: SubmitSettings,
    task: str,
    flags: Mapping[str, Any],
    *,
    address: str | None,
    report: Callable[[str], None],
) -> int:
    """Hand a job to a cluster and follow it.

    Args:
        settings: What comes with it.
        task: One of ``TASKS``.
        flags: The job's own, by field name.
        address: ``--address``, where it was given.
        report: Given the summary, or the id where nobody waits.

    Returns:
        The job's exit status.

    Raises:
        UsageError: The job's settings are wrong; nothing was submitted.
        ClusterError: The cluster cannot be reached, or the job not be begun.
    """
    planned = plan_submission(task, load_job(task, flags), settings.working_dir)
    server_at = api_server(address, os.environ)
    server = JobServer(server_at, job_headers(os.environ))
    name = server.submit(planned)
    if settings.no_wait:
        report(name)
        return 0
    stop = Event()
    try:
        with signals_set(stop):
            ended = server.follow(name, stop, _tell)
    except KeyboardInterrupt:
        place = shlex.join(["--address", server.shown, name])
        _log.warning(
            "left; what it was told goes on",
            submission=name,
            follow=f"ray job logs --follow {place}",
            stop=f"ray job stop {place}",
        )
        return _LEFT
    if ended.summary:
        report(ended.summary)
    _log.info("ended", submission=name, exit_status=ended.exit_status)
    return ended.exit_status


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def load_job(task: str, flags: Mapping[str, Any]) -> StorageSettings:
    """The job's settings, gathered and checked here.

    Raises:
        UsageError: Naming what is wrong.
    """
    if flags.get("address", "auto") != "auto":
        raise UsageError(
            f"--address goes before {task}: the job itself runs where it is submitted to",
            item="--address",
        )
    settings = load_target_settings(_MODELS[task], dict(flags))
    for field, value in settings:
        address = value if isinstance(value, str) else ""
        if "@" in address.partition("://")[2].partition("/")[0]:
            raise UsageError(
                f"{flag_name(field)}: an address with credentials in it, which Ray would show to "
                "everybody: give them to the nodes, in their environment or a profile",
                item=flag_name(field),
            )
    return settings


def plan_submission(task: str, settings: StorageSettings, working_dir: str | None) -> Submission:
    """What is handed over.

    Args:
        task: One of ``TASKS``.
        settings: The job's.
        working_dir: A folder here, or the address of a zip.

    Raises:
        UsageError: The job's places cannot be, or there is no such folder.
    """
    places = _places(settings)
    # Files and variables of this machine are settled here: they would be others there.
    words = [*places.pop("positions"), *_sent(settings, places)]
    command = ["python", "-m", "jobs.cli", task, *words]
    environment: dict[str, Any] = {
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(_stop_wait_s(settings))}
    }
    if working_dir is not None:
        if "://" not in working_dir and not Path(working_dir).exists():
            raise UsageError(f"--working-dir {working_dir}: no such folder", item="--working-dir")
        environment["working_dir"] = working_dir
    return Submission(submission_id(task, settings), f"exec {shlex.join(command)}", environment)


def submission_id(task: str, settings: StorageSettings) -> str:
    """The same for the same task, sources and destination, whatever the other settings."""
    places = _places(settings)
    facts = [task, *places["positions"], places.get("hr"), places.get("lr"), settings.endpoint_url]
    digest = hashlib.sha256(json.dumps(facts).encode("utf-8", "surrogateescape")).hexdigest()
    return f"sdflow-{task}-{digest[:16]}"


def _places(settings: StorageSettings) -> dict[str, Any]:
    """Canonical addresses: what comes first in the command, and photos to train on."""
    if isinstance(settings, JobSettings):
        return {"positions": [place.url for place in job_places(settings)]}
    if not isinstance(settings, TrainSettings):
        raise TypeError(type(settings))
    settings.recipe()
    options = s3_options(settings)
    target = StoreLocation(settings.dst, options)
    photos = {name: StoreLocation(getattr(settings, name), options) for name in ("hr", "lr")}
    for name, place in photos.items():
        if overlaps(place, target):
            raise UsageError(f"{flag_name(name)} {place.url} and DST {target.url} overlap")
    return {"positions": [target.url], **{name: place.url for name, place in photos.items()}}


def _sent(settings: StorageSettings, places: dict[str, Any]) -> list[str]:
    """What was set, as flags; what was not is the nodes' own to say."""
    given = settings.model_fields_set
    if isinstance(settings, DegradeSettings) and given & {"tau", "tau_to"}:
        places = {**places, "tau": f"{settings.tau}:{settings.tau_to}"}
    words = []
    for name, field in type(settings).model_fields.items():
        value = places.get(name, getattr(settings, name))
        if (name in given or name in places) and name not in _NOT_SENT and not _is_fixed(field):
            words += _flags(flag_name(name), value)
    return words + [f"{flag_name(name)}={value}" for name, value in _FIXED.items()]


def _flags(flag: str, value: object) -> list[str]:
    if value is None or value is False:
        return []
    if value is True:
        return [flag]
    values = value if isinstance(value, tuple) else (value,)
    return [f"{flag}={one}" for one in values]


def _is_fixed(field: FieldInfo) -> bool:
    """Whether it can have one value alone, and so no flag."""
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1


def _stop_wait_s(settings: StorageSettings) -> int:
    """How long Ray waits for a job that it was asked to stop, before it kills it."""
    drain_s = settings.drain_seconds if isinstance(settings, JobSettings) else _CHECKPOINT_S
    return math.ceil(drain_s) + _MARGIN_S


def job_headers(environ: Mapping[str, str]) -> dict[str, str] | None:
    """What ``RAY_JOB_HEADERS`` says, for proxies before the cluster.

    Raises:
        UsageError: If it is no JSON object; what it is goes into no message.
    """
    text = environ.get("RAY_JOB_HEADERS")
    if text is None:
        return None
    try:
        headers = json.loads(text)
    except ValueError:
        headers = None
    if not isinstance(headers, dict):
        raise UsageError(
            'RAY_JOB_HEADERS: expected a JSON object, such as {"Authorization": "Bearer …"}',
            item="RAY_JOB_HEADERS",
        )
    return headers
