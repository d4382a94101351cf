"""Jobs handed to a real head through its job server."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from sdflow.storage import keys
from sdflow.storage.local import LocalStore
from tests.integration.clusters import started
from tests.integration.photos import photo_bytes, photos, results, write_folder

pytestmark = [pytest.mark.ray, pytest.mark.slow]

_OF_THE_DASHBOARD = ("aiohttp", "aiohttp_cors", "grpc", "opencensus", "smart_open")
_SECRET = "hush-hush"  # noqa: S105  # it is none


def _free_ports(count: int) -> list[int]:
    """Ports above those that Ray gives to its workers."""
    found: list[int] = []
    for port in range(20_000 + os.getpid() % 9_000, 32_000):
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


def _environment() -> dict[str, str]:
    """Of the head and of commands: this Python first, no tokens, nothing of other clusters."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**ours, "PATH": path, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """A head of its own, with the address of its job server."""
    lacking = [name for name in _OF_THE_DASHBOARD if importlib.util.find_spec(name) is None]
    if lacking:
        pytest.skip(f"a head with a job server needs pip install 'ray[default]': no {lacking[0]}")
    gcs, http, agent = _free_ports(3)
    folder = Path(tempfile.mkdtemp(prefix="sdf-", dir="/tmp"))  # sockets: short names
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *(f"--port={gcs}", f"--dashboard-port={http}", f"--dashboard-agent-listen-port={agent}"),
        *("--include-dashboard=true", "--dashboard-host=127.0.0.1", "--num-cpus=2"),
        *(f"--temp-dir={folder}", "--object-store-memory=100000000", "--disable-usage-stats"),
    ]
    log = folder / "start.log"
    with (
        log.open("wb") as file,
        subprocess.Popen(  # noqa: S603
            command, stdout=file, stderr=file, env=_environment()
        ) as process,
    ):
        try:
            address = f"http://127.0.0.1:{http}"
            while not _answers(address):
                assert process.poll() is None, log.read_text()
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()  # it ends all it has started
    _end_rest(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/api/version", timeout=5):  # noqa: S310
            return True
    except (URLError, OSError):
        return False


def _end_rest(folder: Path) -> None:
    """End what that head has left: processes that were given its folder."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if str(folder).encode() in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)


def _command(head: str, *words: str) -> list[str]:
    return [sys.executable, "-m", "jobs.cli", "submit", "--address", head, *words]


def _submit(head: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        _command(head, *map(str, words)),
        capture_output=True,
        text=True,
        check=False,
        env={**_environment(), "AWS_SECRET_ACCESS_KEY": _SECRET},
    )


def test_job_is_done_and_its_summary_comes_back(tmp_path: Path, head: str) -> None:
    source = write_folder(tmp_path / "in", photos(4, side=12))
    words = ("upscale", source, tmp_path / "out", "--weights", "bicubic")
    done = _submit(head, *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] == 4
    assert '"task"' not in done.stderr
    assert "Running entrypoint" in done.stderr
    assert results(LocalStore(tmp_path / "out")).outputs.keys() == photos(4).keys()

    write_folder(source, {"broken.jpg": b"\xff\xd8\xff nothing"})
    again = _submit(head, *words)
    assert again.returncode == 3, again.stderr
    summary = json.loads(again.stdout)
    assert (summary["skipped"], summary["failed"], summary["exit_status"]) == (4, 1, 3)

    other = _submit(head, *words, "--outscale", "2")
    assert (other.returncode, other.stdout) == (2, "")
    assert "--redo" in other.stderr
    with urlopen(f"{head}/api/jobs/", timeout=30) as answer:  # noqa: S310
        listed = answer.read().decode()
    names = [one["submission_id"] for one in json.loads(listed) if one["submission_id"]]
    assert len(names) == 3
    assert {name.removesuffix("-2").removesuffix("-3") for name in names} == {min(names, key=len)}
    assert _SECRET not in listed


def test_source_that_is_not_there(tmp_path: Path, head: str) -> None:
    done = _submit(head, "upscale", tmp_path / "nowhere", tmp_path / "out", "--weights", "bicubic")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nowhere" in done.stderr


def test_stopped_job_drains_and_is_resumed(tmp_path: Path, head: str) -> None:
    count = 24
    files = {f"{i}.png": photo_bytes(4 * i + 2, kind="PNG", side=500) for i in range(count)}
    source, target = write_folder(tmp_path / "in", files), LocalStore(tmp_path / "out")
    words = ("upscale", str(source), target.url, "--weights", "bicubic", "--png-level", "9")
    log = tmp_path / "log"
    with started(_command(head, *words), log) as first:
        while not any(not keys.is_job_key(info.key) for info in target.list()):
            assert first.poll() is None, log.read_text()
            time.sleep(0.1)
        attached = _submit(head, "--no-wait", *words)
        first.send_signal(signal.SIGTERM)
        output, _ = first.communicate()
    told = log.read_text()
    assert first.returncode == 4, told
    assert "asked to stop" in told
    assert "stopping: images in progress are finished" in told
    summary = json.loads(output)
    assert summary["exit_status"] == 4
    assert 0 < summary["done"] < count
    name = attached.stdout.strip()
    assert attached.returncode == 0
    assert name in told
    assert "runs already" in attached.stderr

    second = _submit(head, *words)
    assert second.returncode == 0, second.stderr
    resumed = json.loads(second.stdout)
    assert (resumed["skipped"], resumed["done"]) == (summary["done"], count - summary["done"])
    assert f"{name}-2" in second.stderr
    assert results(target).outputs.keys() == files.keys()


def test_second_signal_leaves_at_once_and_says_how_to_go_on(tmp_path: Path, head: str) -> None:
    files = {f"{i}.png": photo_bytes(4 * i + 2, kind="PNG", side=700) for i in range(8)}
    source, target = write_folder(tmp_path / "in", files), LocalStore(tmp_path / "out")
    words = ("upscale", str(source), target.url, "--weights", "bicubic", "--png-level", "9")
    log = tmp_path / "log"
    with started(_command(head, *words), log) as first:
        while not any(not keys.is_job_key(info.key) for info in target.list()):
            assert first.poll() is None, log.read_text()
            time.sleep(0.1)
        first.send_signal(signal.SIGINT)
        while "asked to stop" not in log.read_text():  # two of a kind at once would be one
            time.sleep(0.02)
        first.send_signal(signal.SIGINT)
        output, _ = first.communicate()
    told = log.read_text()
    assert first.returncode == 4, told
    assert output == b""
    assert "ray job logs --follow --address" in told
    assert "ray job stop --address" in told
    assert _submit(head, *words).returncode in (0, 4)  # follows what is being stopped, or resumes
