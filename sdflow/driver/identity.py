"""Which process a driver is, and whether that process is still there."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sdflow.telemetry import utc_now


@dataclass(frozen=True, slots=True)
class DriverIdentity:
    """One driver.

    Attributes:
        id: Random, so that no two drivers share it.
        host: Name of its machine.
        pid: Its process there.
        process: Tells that very process from all others, for :func:`has_ended`; "" where the
            system does not say.
        started: When, ISO 8601 in UTC.
    """

    id: str
    host: str
    pid: int
    process: str
    started: str

    @classmethod
    def current(cls) -> Self:
        """A new driver in this process."""
        pid, place = os.getpid(), _place()
        start = _start(pid) if place else None
        process = f"{place}:{pid}:{start}" if start else ""
        return cls(secrets.token_hex(8), socket.gethostname(), pid, process, utc_now())

    def __str__(self) -> str:
        return f"the driver on {self.host} (pid {self.pid}, since {self.started})"


def has_ended(process: str) -> bool:
    """Whether a process of this machine and pid namespace is no more; False if nobody can say.

    Args:
        process: As in :class:`DriverIdentity`.
    """
    place, pid, start = process.rsplit(":", 2) if process.count(":") >= 2 else ("", "", "")
    if not place or place != _place() or not pid.isdecimal():
        return False
    try:
        return _start(int(pid)) != start
    except OSError:
        return False


def _place() -> str:
    """Where a pid means what it means here: host, boot and pid namespace; "" if that is unknown."""
    try:
        if Path("/proc/self").readlink().name != str(os.getpid()):  # another namespace's /proc
            return ""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}:{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _start(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None if it has ended."""
    try:
        # The name, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        try:
            os.kill(pid, 0)  # /proc may hide the processes of other users
        except ProcessLookupError:
            return None
        raise
    return None if fields[0] in "ZX" else fields[19]
