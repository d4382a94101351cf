"""``status``, ``retry`` and ``verify`` on what a job has left."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import structlog
from PIL import Image

from jobs.cli import main
from sdflow.driver.tenure import hold_job
from sdflow.storage import keys
from sdflow.storage.local import LocalStore
from sdflow.storage.location import StoreLocation, open_store
from sdflow.storage.store import Store
from tests.integration.photos import photo_bytes, photos, results
from tests.servers.fixtures import Bucket

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

Command = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs a command; returns its exit status and the JSON objects on its stdout."""

    def run(*arguments: object) -> tuple[int, list[dict[str, Any]]]:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        sys.stderr.write(printed.err)  # pytest shows it where a test fails
        decoder, text, found = json.JSONDecoder(), printed.out.strip(), []
        while text:
            value, end = decoder.raw_decode(text)
            found.append(value)
            text = text[end:].lstrip()
        return status, found

    yield run
    structlog.reset_defaults()


def _fill(store: Store, files: dict[str, bytes]) -> None:
    for key, data in files.items():
        store.put(key, data)


def _versions(store: Store) -> dict[str, str]:
    return {info.key: info.etag for info in store.list()}


def _whole_story(
    command: Command, source: Store, target: Store, reach: list[str], *, names: list[str]
) -> None:
    """A job with bad images, its status, a retry, damage, a repair."""
    _fill(source, {**photos(4, side=12), "cut.jpg": b"\xff\xd8\xff", "note.png": b"no picture"})
    job = ["upscale", source.url, target.url, "--weights", "bicubic", "--format", "png", *reach]
    assert command(*job)[0] == 3
    before = _versions(target)
    status, (found,) = command("status", target.url, *reach)
    assert status == 0
    assert (found["task"], found["source"]) == ("upscale", source.url)
    assert (found["state"], found["driver"]) == ("finished", None)
    assert (found["listed"], found["unlisted"], found["waiting"]) == (6, 0, 0)
    assert (found["done"], found["failed"]) == (4, 2)
    assert sum(found["dead_letters"].values()) == 2
    assert found["done_in_last_10_minutes"] == 4
    assert found["summary"]["done"] == 4
    assert _versions(target) == before

    first_seen = {letter["key"]: letter["first_seen"] for letter in results(target).dead_letters}
    source.put("cut.jpg", photo_bytes(9, kind="JPEG", side=12))
    source.put("new.jpg", photo_bytes(8, kind="JPEG", side=12))  # no dead letter: not retried
    status, (summary,) = command("retry", target.url, "--workers", 2, *reach)
    assert (status, summary["exit_status"]) == (3, 3)
    assert (summary["listed"], summary["done"], summary["failed"]) == (2, 1, 1)
    after = results(target)
    assert after.summary == summary
    (letter,) = after.dead_letters
    assert letter["key"] == "note.png"
    assert letter["first_seen"] == first_seen["note.png"] < letter["last_seen"]
    assert after.outputs.keys() == {*names, "cut.png"}
    assert command("status", target.url, *reach)[1][0]["done"] == 5

    assert command("verify", target.url, *reach) == (
        0,
        [_counts(whole=5)],
    )
    lost, changed = sorted(names)[:2]
    target.delete(lost)
    target.put(changed, b"x")
    target.put("stray.txt", b"?")
    status, lines = command("verify", target.url, *reach)
    found_problems = {(line["problem"], line["output"]) for line in lines[:-1]}
    assert found_problems == {("missing", lost), ("changed", changed), ("orphan", "stray.txt")}
    assert (status, lines[-1]) == (
        3,
        _counts(whole=3, missing=1, changed=1, orphans=1, exit_status=3),
    )
    status, lines = command("verify", target.url, "--repair", *reach)
    assert (status, lines[-1]["images_to_make_again"]) == (3, 2)
    (found,) = command("status", target.url, *reach)[1]
    assert (found["state"], found["waiting"], found["done"]) == ("stopped", 2, 3)
    status, (summary,) = command(*job)
    assert (summary["done"], summary["skipped"]) == (3, 3)  # the new one as well
    assert command("verify", target.url, *reach) == (
        0,
        [
            {"problem": "orphan", "key": None, "output": "stray.txt", "next_step": _REMOVE},
            _counts(whole=6, orphans=1),
        ],
    )
    assert results(target).outputs[lost] == after.outputs[lost]
    assert results(target).outputs[changed] == after.outputs[changed]


_REMOVE = "nothing in the ledger names it: remove it if it is of no use"


def _counts(**more: int) -> dict[str, int]:
    names = ("whole", "missing", "changed", "orphans", "superseded", "images_to_make_again")
    return {**dict.fromkeys(names, 0), "exit_status": 0, **more}


_NAMES = ["2024/photo 001.png", "2024/été 100% + more/photo 002.png", "photo 000.png"]
_NAMES.append("photo 003.png")


def test_bad_images_are_told_retried_and_damage_is_found_and_repaired(
    command: Command, tmp_path: Path
) -> None:
    source, target = LocalStore(tmp_path / "in"), LocalStore(tmp_path / "out")
    _whole_story(command, source, target, [], names=_NAMES)


@pytest.mark.s3
def test_the_same_on_s3(command: Command, s3_bucket: Bucket) -> None:
    source, target = (
        open_store(StoreLocation(f"s3://{s3_bucket.name}/{name}/", s3_bucket.options))
        for name in ("in", "out")
    )
    reach = ["--endpoint-url", str(s3_bucket.options.endpoint_url)]
    _whole_story(command, source, target, reach, names=_NAMES)


def test_source_that_is_gone_stays_a_dead_letter_that_says_so(
    command: Command, tmp_path: Path
) -> None:
    source, target = LocalStore(tmp_path / "in"), LocalStore(tmp_path / "out")
    _fill(source, {**photos(1, side=8), "gone.jpg": b"no picture"})
    command("upscale", source.url, target.url, "--weights", "bicubic")
    source.delete("gone.jpg")
    assert command("retry", target.url, "--max-failure-rate", 1)[0] == 0
    (letter,) = results(target).dead_letters
    assert (letter["key"], letter["error"]) == ("gone.jpg", "storage.not_found")
    assert command("retry", target.url)[0] == 3
    (found,) = command("status", target.url)[1]
    assert found["dead_letters"] == {"storage.not_found": 1}


def test_job_that_somebody_works_on_is_running_and_is_not_repaired(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = LocalStore(tmp_path / "in"), LocalStore(tmp_path / "out")
    _fill(source, photos(1, side=8))
    command("upscale", source.url, target.url, "--weights", "bicubic")
    target.delete("photo 000.jpg")
    with hold_job(target, join=False):
        (found,) = command("status", target.url)[1]
        assert found["state"] == "running"
        assert found["driver"]["pid"] == os.getpid()
        assert found["driver"]["heartbeat_age_s"] < 6
        assert main(["verify", target.url, "--repair"]) == 1
        assert "which is alive: wait for its end" in capsys.readouterr().err
        assert main(["retry", target.url]) == 1
        assert command("verify", target.url)[0] == 3
    assert command("status", target.url)[1][0]["state"] == "finished"


def test_retry_without_dead_letters_starts_nothing(command: Command, tmp_path: Path) -> None:
    source, target = LocalStore(tmp_path / "in"), LocalStore(tmp_path / "out")
    _fill(source, photos(1, side=8))
    command("upscale", source.url, target.url, "--weights", "bicubic")
    status, (summary,) = command("retry", target.url)
    assert (status, summary["listed"], summary["devices"]) == (0, 0, [])


def test_retry_needs_the_weights_of_the_job_wherever_they_are_now(
    command: Command, tmp_path: Path, small_weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = LocalStore(tmp_path / "in"), LocalStore(tmp_path / "out")
    _fill(source, {"a.jpg": b"no picture"})
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(Path(small_weights).read_bytes())
    command("upscale", source.url, target.url, "--weights", moved)
    record = LocalStore(tmp_path / "out").get(keys.JOB_KEY)
    moved.unlink()
    source.put("a.jpg", photo_bytes(0, kind="JPEG", side=12))
    assert command("retry", target.url)[0] == 1
    assert main(["retry", target.url, "--weights", "bicubic"]) == 2
    assert "a retry needs the job's own: name them with --weights" in capsys.readouterr().err
    status, (summary,) = command("retry", target.url, "--weights", small_weights)
    assert (status, summary["done"]) == (0, 1)
    assert target.get(keys.JOB_KEY) == record


def test_what_killed_runs_have_left_is_removed_when_asked(command: Command, tmp_path: Path) -> None:
    source, target = LocalStore(tmp_path / "in"), LocalStore(tmp_path / "out")
    _fill(source, photos(2))
    assert command("upscale", source.url, target.url, "--weights", "bicubic")[0] == 0
    before = _versions(target)
    target.put(f"{keys.scratch_prefix('image')}part-00000.s0", b"pixels")
    upload = tmp_path / "out" / ".sdflow-put-killed"
    upload.write_bytes(b"half")
    os.utime(upload, (0, 0))
    assert command("verify", target.url)[0] == 0
    assert upload.exists()
    status, (counts,) = command("verify", target.url, "--clean")
    assert (status, counts["scratch_removed"], counts["uploads_discarded"]) == (0, 1, 1)
    assert not upload.exists()
    left = {key: etag for key, etag in _versions(target).items() if key in before}
    assert left == before
    assert list(target.list(keys.SCRATCH_PREFIX)) == []


def test_parts_of_an_interrupted_job_outlast_runs_that_do_not_list_their_image(
    command: Command, tmp_path: Path
) -> None:
    source, target = LocalStore(tmp_path / "in"), LocalStore(tmp_path / "out")
    _fill(source, {**photos(2, side=8), "bad.jpg": b"no picture"})
    given = ("upscale", source.url, target.url, "--weights", "bicubic")
    part = f"{keys.scratch_prefix('image')}part-00000.s0"
    target.put(part, b"pixels")
    assert command(*given)[0] == 3
    assert command("retry", target.url)[0] == 3
    source.delete("bad.jpg")
    assert command(*given, "--include", "*000*")[0] == 0
    assert target.get(part) == b"pixels"
    assert command(*given)[0] == 0
    assert list(target.list(keys.SCRATCH_PREFIX)) == []


def test_retry_takes_the_first_frame_of_animations_when_told(
    command: Command, tmp_path: Path
) -> None:
    source, target = LocalStore(tmp_path / "in"), LocalStore(tmp_path / "out")
    frames = [Image.new("RGB", (6, 5), (level, 0, 0)) for level in (200, 100)]
    animation = BytesIO()
    frames[0].save(animation, "PNG", save_all=True, append_images=frames[1:])
    _fill(source, {**photos(1, side=8), "moving.png": animation.getvalue()})
    assert command("upscale", source.url, target.url, "--weights", "bicubic")[0] == 3
    (letter,) = results(target).dead_letters
    assert letter["error"] == "decode.unsupported"
    assert "--first-frame" in letter["message"]
    assert command("retry", target.url)[0] == 3
    assert command("retry", target.url, "--first-frame")[0] == 0
    shown = Image.open(BytesIO(target.get("moving.png")))
    assert (shown.size, shown.getpixel((0, 0))) == ((24, 20), (200, 0, 0))
