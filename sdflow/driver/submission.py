"""Jobs on a running Ray cluster, through its job server."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, TypeVar

import requests
import structlog
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from sdflow.driver.submission_log import Ending, LogLines, ending, last_words
from sdflow.driver.submit_settings import without_password
from sdflow.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
_TIMEOUT_S = (10.0, 60.0)  # to connect, and between two pieces of an answer
_POLL_S = 1.0
_STEP_S = 0.1  # a signal is seen after that long
_PATIENCE_S = 120.0  # without an answer, while a job is followed
_LAST_LINES_S = 10.0
_NO_DASHBOARD = "what answers there is not the dashboard of a Ray head"
_log = structlog.get_logger()
for _talkative in (*(one.__module__ for one in JobSubmissionClient.__mro__[:2]), "ray._private"):
    logging.getLogger(_talkative).setLevel(logging.WARNING)
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Submission:
    """A job as it is handed over. Everybody who may see the cluster's jobs may read all of it.

    Attributes:
        id: The same for the same job; runs after the first one get ``id-2``, ``id-3``, …
        entrypoint: What a shell on the cluster runs.
        runtime_env: Ray's, for the driver and its workers.
    """

    id: str
    entrypoint: str
    runtime_env: dict[str, Any]


class _UnreachableError(ClusterError):
    """Nobody answers just now."""


class _Client(JobSubmissionClient):
    """Ray's client, which would wait for an answer for ever."""

    def _do_request(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401  # as Ray's own
        return super()._do_request(*args, **{"timeout": _TIMEOUT_S, **options})


class JobServer:
    """The job server of a cluster.

    Args:
        address: HTTP address of the head's dashboard.
        headers: Sent with every request, for proxies that want to know who asks.

    Raises:
        ClusterError: If nobody answers there, or this machine or the head lacks libraries.
    """

    def __init__(self, address: str, headers: dict[str, str] | None) -> None:
        self._address = address
        self.shown = without_password(address)
        with _address_variable(address), self._explained():
            self._client = _Client(address, headers=headers)

    def submit(self, wanted: Submission) -> str:
        """Hand a job over, unless it runs already.

        Returns:
            The id of the run: of a new one, or of the one that has not ended yet.

        Raises:
            ClusterError: If the server refuses.
            UsageError: If the working folder cannot be sent.
        """
        for _ in range(10):
            number, latest = self._latest(wanted.id)
            if latest is not None and not latest.status.is_terminal():
                name = str(latest.submission_id)
                _log.info("runs already, and is followed", submission=name, address=self.shown)
                if latest.entrypoint != wanted.entrypoint:
                    _log.warning(
                        "it was begun with other settings, and keeps them", submission=name
                    )
                return name
            name = run_id(wanted.id, number + 1)
            if self._submit(name, wanted):
                _log.info("submitted", submission=name, address=self.shown)
                return name
        raise ClusterError(f"others submit {wanted.id} again and again", item=wanted.id)

    def _latest(self, submission: str) -> tuple[int, Any]:
        found = {
            number: job
            for job in self._ask(self._client.list_jobs)
            if (number := run_number(submission, job.submission_id or ""))
        }
        return max(found.items(), default=(0, None), key=lambda item: item[0])

    def _submit(self, name: str, wanted: Submission) -> bool:
        """Whether it was taken; False if somebody else was quicker."""
        try:
            self._ask(
                lambda: self._client.submit_job(
                    entrypoint=wanted.entrypoint,
                    submission_id=name,
                    runtime_env=wanted.runtime_env,
                )
            )
        except ValueError as error:  # Ray's own words about the working folder
            raise UsageError(f"--working-dir: {error}", item="--working-dir") from error
        except ClusterError as error:
            if "already exists" in str(error):
                return False
            raise
        return True

    def follow(self, name: str, should_stop: Event, tell: Callable[[str], None]) -> Ending:
        """Wait until a run has ended; its lines are told as they come.

        Args:
            name: Its id.
            should_stop: Set from outside to have it stopped; it is followed to its end even so.
            tell: Given every line of its log but those of its summary.

        Raises:
            ClusterError: If the server does not answer any more, or the run could not begin.
        """
        lines = LogLines(tell)
        reader = _LogReader(self._client, name, lines)
        reader.start()
        try:
            info = self._wait(name, should_stop)
        finally:
            reader.end()
        if not reader.has_all:
            with suppress(ClusterError):
                lines.take(0, self._ask(lambda: self._client.get_job_logs(name)))
        lines.close()
        return ending(info, lines)

    def _wait(self, name: str, should_stop: Event) -> Any:  # noqa: ANN401  # Ray's JobDetails
        is_told, answered = False, monotonic()
        while True:
            try:
                info = self._ask(lambda: self._client.get_job_info(name))
                if info.status.is_terminal():
                    return info
                if should_stop.is_set() and not is_told:
                    is_told = self._ask(lambda: self._client.stop_job(name))  # False: not begun
                    if is_told:
                        _log.warning("asked to stop; again leaves it alone", submission=name)
                answered = monotonic()
            except _UnreachableError as error:
                if monotonic() - answered > _PATIENCE_S:
                    raise ClusterError(
                        f"{error}; {name} may go on, the same command follows it again",
                        item="--address",
                    ) from error
            before, until = should_stop.is_set(), monotonic() + _POLL_S
            while monotonic() < until and should_stop.is_set() == before:
                sleep(_STEP_S)

    def _ask(self, question: Callable[[], _Answer]) -> _Answer:
        with self._explained():
            return question()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        place = f"--address {self.shown}"
        try:
            yield
        except AuthenticationError as error:
            raise ClusterError(
                f"{place}: the cluster wants a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN "
                "(or RAY_AUTH_TOKEN_PATH) to the head's",
                item="--address",
            ) from error
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else "unknown"
            raise ClusterError(
                f"{place}: HTTP status {status}: is this the dashboard of a Ray head? Proxies get "
                "what RAY_JOB_HEADERS says",
                item="--address",
            ) from error
        except (KeyError, requests.JSONDecodeError) as error:
            raise ClusterError(f"{place}: {_NO_DASHBOARD}", item="--address") from error
        except (ConnectionError, requests.RequestException) as error:
            raise _UnreachableError(
                f"{place}: nobody answers there; is Ray's dashboard on? The head needs "
                "pip install 'ray[default]' and ray start --head --dashboard-host 0.0.0.0, and its "
                "port must be open from here (kubectl port-forward, ssh -L)",
                item="--address",
            ) from error
        except RuntimeError as error:
            if "ray[default]" in str(error):
                raise ClusterError(
                    "handing a job to a cluster needs more of Ray on this machine: "
                    "pip install 'ray[default]'"
                ) from error
            if "Version check returned 404" in str(error):
                raise ClusterError(f"{place}: {_NO_DASHBOARD}", item="--address") from error
            is_passing = re.search(r"status code 5\d\d", str(error)) is not None
            raise (_UnreachableError if is_passing else ClusterError)(
                f"{place}: {last_words(str(error))}", item="--address"
            ) from error


def run_id(submission: str, number: int) -> str:
    """What the first, second, … run of a job is called. Ray's ids cannot be used again."""
    return submission if number == 1 else f"{submission}-{number}"


def run_number(submission: str, name: str) -> int:
    """Which run of the job ``name`` is; 0 if it is another job's."""
    found = re.fullmatch(rf"{re.escape(submission)}(?:-([1-9]\d*))?", name)
    return int(found[1] or 1) if found else 0


class _LogReader(Thread):
    """Reads a run's log while it is written, and again from its begin when the line breaks."""

    def __init__(self, client: _Client, name: str, lines: LogLines) -> None:
        super().__init__(daemon=True)
        self.has_all = False
        self._client = client
        self._run = name
        self._lines = lines
        self._is_over = Event()

    def end(self) -> None:
        """The run has ended: what is still on its way gets a while."""
        self._is_over.set()
        self.join(_LAST_LINES_S)

    def run(self) -> None:
        """Read until the server says that this was all of it."""
        while True:
            was_over = self._is_over.is_set()
            try:
                asyncio.run(self._read())
                self.has_all = self._is_over.wait(2 * _POLL_S)
            except Exception as error:  # noqa: BLE001  # whatever: the rest is fetched at the end
                self.has_all = False
                _log.info("the log breaks off and is read again", reason=type(error).__name__)
                self._is_over.wait(_POLL_S)
            if self.has_all or was_over:
                return

    async def _read(self) -> None:
        offset = 0
        async for text in self._client.tail_job_logs(self._run):
            offset = self._lines.take(offset, text)


@contextmanager
def _address_variable(address: str) -> Iterator[None]:
    """Ray's client lets the variable win over its argument: both say the same for a while."""
    before = os.environ.get(_ADDRESS_VARIABLE)
    os.environ[_ADDRESS_VARIABLE] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ADDRESS_VARIABLE]
        else:
            os.environ[_ADDRESS_VARIABLE] = before
