"""Processes of workers that belong to this test run."""

from __future__ import annotations

import os
from pathlib import Path


def worker_processes() -> list[int]:
    """Actors whose processes descend from this one."""
    found = []
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if status.read_bytes().startswith(b"ray::Worker") and _is_ours(status.parent.name):
                found.append(int(status.parent.name))
        except OSError:
            continue
    return found


def _is_ours(pid: str) -> bool:
    while pid not in ("0", "1"):
        if pid == str(os.getpid()):
            return True
        stat = Path(f"/proc/{pid}/stat").read_text()
        pid = stat.rpartition(")")[2].split()[1]  # the parent
    return False
