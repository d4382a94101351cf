"""The memory of every process of a command, whoever has become its parent."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Self

_PERIOD_S = 0.2
_KINDS = (
    ("worker", r"^ray::Worker"),
    ("other Ray process", r"^ray::|default_worker\.py"),
    ("raylet", r"/raylet(\s|$)"),
    ("gcs", r"/gcs_server(\s|$)"),
    ("agent", r"dashboard|runtime_env|log_monitor|monitor\.py"),
    ("driver", r"jobs\.cli"),
)


@dataclass
class Peak:
    """The most that one process had.

    Attributes:
        kind: What it is: driver, worker, raylet, ...
        rss_mb: Largest of the samples, memory shared with others included.
        anonymous_mb: The same of its own pages alone, files and shared memory left out.
        high_water_mb: The kernel's own record of the whole.
    """

    kind: str
    rss_mb: float = 0.0
    anonymous_mb: float = 0.0
    high_water_mb: float = 0.0


@dataclass
class MemoryWatch:
    """Looks five times a second at all processes whose environment has a mark.

    Attributes:
        variable: Name of the variable that marks them.
        value: Its value.
        peaks: By process id.
    """

    variable: str
    value: str
    peaks: dict[int, Peak] = field(default_factory=dict)
    _others: set[int] = field(default_factory=set)
    _over: Event = field(default_factory=Event)
    _thread: Thread | None = None

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._watch, name="memory-watch")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def living(self, kind: str) -> list[int]:
        """Ids of the processes of one kind that run now."""
        return [
            pid
            for pid, peak in list(self.peaks.items())
            if peak.kind == kind and Path(f"/proc/{pid}/environ").exists()
        ]

    def report(self) -> list[str]:
        """A line for each kind of process: how many there were, and the most that one had."""
        lines = []
        for kind in sorted({peak.kind for peak in self.peaks.values()}):
            some = [peak for peak in self.peaks.values() if peak.kind == kind]
            lines.append(
                f"{kind} ({len(some)}): peak RSS {max(peak.rss_mb for peak in some):.0f} MB, "
                f"anonymous {max(peak.anonymous_mb for peak in some):.0f} MB, "
                f"VmHWM {max(peak.high_water_mb for peak in some):.0f} MB"
            )
        return lines

    def _watch(self) -> None:
        while not self._over.wait(_PERIOD_S):
            for folder in Path("/proc").glob("[0-9]*"):
                if int(folder.name) not in self._others:
                    self._look(int(folder.name), folder)

    def _look(self, pid: int, folder: Path) -> None:
        try:
            if pid not in self.peaks and not self._is_marked(folder):
                self._others.add(pid)
                return
            status = (folder / "status").read_text()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended, or belongs to someone else
            return
        sizes = {name: int(size) / 1000 for name, size in re.findall(r"(\w+):\s*(\d+) kB", status)}
        if "VmRSS" not in sizes:  # it has ended, and waits for its parent
            return
        peak = self.peaks.setdefault(pid, Peak(""))
        peak.kind = next((kind for kind, mark in _KINDS if re.search(mark, command)), command[:40])
        peak.rss_mb = max(peak.rss_mb, sizes["VmRSS"])
        peak.anonymous_mb = max(peak.anonymous_mb, sizes["RssAnon"])
        peak.high_water_mb = max(peak.high_water_mb, sizes["VmHWM"])

    def _is_marked(self, folder: Path) -> bool:
        mark = os.fsencode(f"{self.variable}={self.value}")
        return mark in (folder / "environ").read_bytes().split(b"\0")
