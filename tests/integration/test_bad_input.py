"""Bad images beside good ones: the good are done, the bad are dead letters, nothing dies."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from sdflow.storage.local import LocalStore
from tests.integration.photos import photo_bytes, photos, results, run, write_folder

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def _bomb(side: int) -> bytes:
    """A PNG of ``side`` times ``side`` black pixels, small on disk and vast in memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    compressor = zlib.compressobj(9)
    row = bytes(side // 8 + 1)
    body = b"".join(compressor.compress(row) for _ in range(side)) + compressor.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def test_bad_images_become_dead_letters_and_good_ones_are_done(tmp_path: Path) -> None:
    good = photos(4)
    whole = photo_bytes(7, kind="JPEG", side=64)
    bad = {
        "cut.jpg": whole[: len(whole) // 2],
        "note.png": b"This is no picture.\n",
        "empty.jpg": b"",
        "bomb.png": _bomb(40_000),
    }
    source, target = write_folder(tmp_path / "in", {**good, **bad}), tmp_path / "out"
    summary = run("upscale", source, target, weights="bicubic", workers=2)
    found = results(LocalStore(target))
    assert found.outputs.keys() == good.keys()
    assert {letter["key"]: letter["error"] for letter in found.dead_letters} == {
        "cut.jpg": "decode.truncated",
        "note.png": "decode.unsupported",
        "bomb.png": "too_large",
    }
    for letter in found.dead_letters:
        assert letter.keys() == {
            *("key", "etag", "error", "message", "attempts", "first_seen", "last_seen"),
        }
        assert letter["key"] in letter["message"]
    assert (summary.listed, summary.done, summary.failed) == (7, 4, 3)
    assert summary.ignored == {"empty": 1}
    assert (summary.exit_status, summary.retries) == (3, 0)
    assert summary.peak_rss_worker_mb < 1000  # the bomb alone would be 4,800

    again = run("upscale", source, target, weights="bicubic")
    assert (again.done, again.skipped, again.failed, again.exit_status) == (0, 4, 3, 3)
    kept = {
        letter["key"]: letter["first_seen"] for letter in results(LocalStore(target)).dead_letters
    }
    assert kept == {letter["key"]: letter["first_seen"] for letter in found.dead_letters}


def test_allowed_failures_leave_the_exit_status_at_0(tmp_path: Path) -> None:
    files = {**photos(3, side=8), "note.png": b"no"}
    source = write_folder(tmp_path / "in", files)
    summary = run("upscale", source, tmp_path / "out", weights="bicubic", max_failure_rate=0.25)
    assert (summary.failed, summary.exit_status) == (1, 0)
