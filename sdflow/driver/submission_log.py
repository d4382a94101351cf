"""What a submitted job said, and how it ended."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from sdflow.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable

_STATUSES = (1, 2, 3, 4)
_STOPPED = 4
_COMMAND_NOT_FOUND = 127
_WITHOUT_SDFLOW = "No module named 'jobs'"


class LogLines:
    """The log of a run, from pieces that may come twice.

    Args:
        tell: Given every whole line, but for those of the summary.

    Attributes:
        summary: What the job printed to its stdout, or "". Ray keeps stdout and stderr in one file:
            it is the indented JSON object that has a task and an exit status.
        lacks_sdflow: Whether Python did not find the job there.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.summary = ""
        self.lacks_sdflow = False
        self._tell = tell
        self._length = 0
        self._begun = ""
        self._held: list[str] = []
        self._is_closed = False
        self._lock = Lock()

    def take(self, offset: int, text: str) -> int:
        """Add what begins at a place of the log; returns the place where it ends."""
        with self._lock:
            if not self._is_closed and offset + len(text) > self._length:
                *whole, self._begun = (self._begun + text[self._length - offset :]).split("\n")
                self._length = offset + len(text)
                for line in whole:
                    self._add(line)
        return offset + len(text)

    def close(self) -> None:
        """Nothing is to come any more."""
        with self._lock:
            self._is_closed = True
            if self._begun:
                self._add(self._begun)
            self._release()

    def _add(self, line: str) -> None:
        self.lacks_sdflow |= _WITHOUT_SDFLOW in line
        if line == "{":
            self._release()
        elif not self._held:
            self._tell(line)
            return
        self._held.append(line)
        if line == "}":
            text = "\n".join(self._held)
            if _is_summary(text):
                self.summary = text
                self._held.clear()
            self._release()
        elif not line.startswith(("{", " ")):
            self._release()

    def _release(self) -> None:
        for line in self._held:
            self._tell(line)
        self._held.clear()


def _is_summary(text: str) -> bool:
    try:
        return set(json.loads(text)) >= {"task", "exit_status"}
    except ValueError:
        return False


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes:
        exit_status: The driver's own. Ray tells none where the run was stopped: then it is the
            summary's, else 4.
        summary: JSON, or "" where the job printed none.
    """

    exit_status: int
    summary: str


def ending(info: Any, lines: LogLines) -> Ending:  # noqa: ANN401  # Ray's JobDetails
    """How a run ended, from what Ray and its log say.

    Raises:
        ClusterError: If its command could not begin or was killed.
    """
    if info.status == "SUCCEEDED":
        return Ending(0, lines.summary)
    if info.status == "STOPPED":
        status = json.loads(lines.summary)["exit_status"] if lines.summary else _STOPPED
        return Ending(int(status), lines.summary)
    name, code = info.submission_id, info.driver_exit_code
    if lines.lacks_sdflow or code == _COMMAND_NOT_FOUND:
        raise ClusterError(
            f"{name}: the cluster has no sdflow: install it on all nodes, or send a checkout of it "
            "with --working-dir",
            item="--working-dir",
        )
    if code in _STATUSES:
        return Ending(code, lines.summary)
    how = f"status {code}" if code is not None else last_words(info.message or "no reason given")
    raise ClusterError(f"{name} broke off: {how}; the same command resumes it", item=name)


def last_words(text: str) -> str:
    """The end of a trace: its last line with words in it."""
    lines = [line.strip() for line in text.splitlines() if re.search(r"\w{2}", line)]
    return lines[-1] if lines else text.strip()
