"""What a second run does, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdflow.errors import StorageError, UsageError
from sdflow.storage import keys
from sdflow.storage.local import LocalStore
from tests.integration.photos import photo_bytes, photos, results, run, write_folder
from tests.servers.faultproxy import FaultProxy
from tests.servers.fixtures import Bucket

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

BICUBIC = {"weights": "bicubic"}


def _times(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and "_sdflow" not in path.parts
    }


def test_second_run_touches_nothing_and_a_third_does_only_what_is_new_or_changed(
    tmp_path: Path,
) -> None:
    source, target = write_folder(tmp_path / "in", photos(6)), tmp_path / "out"
    first = run("upscale", source, target, **BICUBIC)
    assert first.done == 6
    assert 0 < first.worker_busy_fraction <= 1
    before = _times(target)
    second = run("upscale", source, target, **BICUBIC)
    assert (second.listed, second.done, second.skipped, second.exit_status) == (6, 0, 6, 0)
    assert _times(target) == before

    write_folder(source, {"new.png": photo_bytes(99, kind="PNG", side=20)})
    write_folder(source, {"photo 000.jpg": photo_bytes(98, kind="JPEG", side=20)})
    third = run("upscale", source, target, **BICUBIC)
    assert (third.listed, third.done, third.skipped) == (7, 2, 5)
    changed = {key for key, time in _times(target).items() if before.get(key) != time}
    assert changed == {"new.png", "photo 000.jpg"}


def test_changed_settings_are_refused_by_name_and_redone_on_request(
    tmp_path: Path, small_weights: str
) -> None:
    source, target = write_folder(tmp_path / "in", photos(2, side=12)), tmp_path / "out"
    run("upscale", source, target, weights=small_weights)
    first = results(LocalStore(target)).outputs
    with pytest.raises(UsageError, match=r"tau: 0\.8 there, now 0\.4.*--redo"):
        run("upscale", source, target, weights=small_weights, tau=0.4)
    with pytest.raises(UsageError, match="task: 'upscale' there, now 'downscale'"):
        run("downscale", source, target, weights=small_weights)
    other = write_folder(tmp_path / "other", photos(2, side=12))
    with pytest.raises(UsageError, match=r"SRC: .*in there, now .*other"):
        run("upscale", other, target, weights=small_weights)
    redone = run("upscale", source, target, weights=small_weights, tau=0.4, redo=True)
    assert (redone.done, redone.skipped) == (2, 0)
    assert all(results(LocalStore(target)).outputs[key] != data for key, data in first.items())
    assert run("upscale", source, target, weights=small_weights, tau=0.4).skipped == 2


def test_tile_of_the_job_that_is_there_is_kept(tmp_path: Path, small_weights: str) -> None:
    source, target = write_folder(tmp_path / "in", photos(1, side=12)), tmp_path / "out"
    run("upscale", source, target, weights=small_weights, tile=64, halo=16)
    assert run("upscale", source, target, weights=small_weights).skipped == 1
    record = json.loads((target / keys.JOB_KEY).read_bytes())
    assert (record["parameters"]["tile"], record["parameters"]["halo"]) == (64, 16)
    assert record["parameters"]["weights"] != "bicubic"
    assert record["settings"]["tile"] == 64
    assert record["versions"]["sdflow"]


def test_failure_that_is_not_the_images_fault_is_tried_again(tmp_path: Path) -> None:
    source, target = write_folder(tmp_path / "in", photos(2, side=8)), tmp_path / "out"
    blocked = target / "2024"
    blocked.parent.mkdir()
    blocked.write_bytes(b"a file where a folder must be")
    first = run("upscale", source, target, **BICUBIC)
    assert (first.done, first.failed, first.exit_status) == (1, 1, 3)
    (letter,) = results(LocalStore(target)).dead_letters
    assert letter["error"] == "storage"
    blocked.unlink()
    second = run("upscale", source, target, **BICUBIC)
    assert (second.done, second.skipped, second.failed) == (1, 1, 0)
    assert results(LocalStore(target)).dead_letters == []


def test_run_that_breaks_off_leaves_no_summary_of_the_run_before(tmp_path: Path) -> None:
    source, target = write_folder(tmp_path / "in", photos(1, side=8)), tmp_path / "out"
    run("upscale", source, target, **BICUBIC)
    (target / keys.LEDGER_PREFIX / "zzz.jsonl").write_bytes(b"not a ledger line")
    with pytest.raises(StorageError, match=r"zzz\.jsonl line 1"):
        run("upscale", source, target, **BICUBIC)
    assert not (target / keys.SUMMARY_KEY).exists()


def test_archive_that_grew_overwrites_no_result(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    write_folder(source, {"a.jpg": photo_bytes(0, kind="JPEG", side=8)})
    run("upscale", source, target, format="png", **BICUBIC)
    before = (target / "a.png").read_bytes()
    write_folder(source, {"a.png": photo_bytes(1, kind="PNG", side=8)})
    assert run("upscale", source, target, format="png", **BICUBIC).done == 1
    assert (target / "a.png").read_bytes() == before
    assert (target / "a.png.png").exists()


def test_clashing_names_are_kept_apart(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    files = {
        "a.jpg": photo_bytes(0, kind="JPEG", side=8),
        "a.png": photo_bytes(1, kind="PNG", side=8),
        "b.webp": photo_bytes(2, kind="WEBP", side=8),
    }
    write_folder(source, files)
    run("upscale", source, target, format="png", samples=2, **BICUBIC)
    assert results(LocalStore(target)).outputs.keys() == {
        *("a.jpg.s0.png", "a.jpg.s1.png", "a.s0.png", "a.s1.png", "b.s0.png", "b.s1.png"),
    }


def test_result_of_one_job_is_no_source_of_the_next_but_for_its_images(tmp_path: Path) -> None:
    source, middle = write_folder(tmp_path / "in", photos(2, side=16)), tmp_path / "middle"
    run("upscale", source, middle, **BICUBIC)
    summary = run("downscale", middle, tmp_path / "out", include=("*",), **BICUBIC)
    assert (summary.listed, summary.done) == (2, 2)


def test_globs_choose_and_the_manifest_says_what_was_chosen(tmp_path: Path) -> None:
    source, target = write_folder(tmp_path / "in", photos(8, side=8)), tmp_path / "out"
    summary = run("upscale", source, target, include=("2024/*",), exclude=("*.webp",), **BICUBIC)
    store = LocalStore(target)
    chosen = {key for key in photos(8) if key.startswith("2024/") and not key.endswith(".webp")}
    assert summary.listed == len(chosen)
    assert results(store).outputs.keys() == chosen
    (part,) = store.list(keys.MANIFEST_PREFIX)
    import gzip

    lines = gzip.decompress(store.get(part.key)).splitlines()
    assert {json.loads(line)["key"] for line in lines} == chosen
    run("upscale", source, target, include=("nothing",), **BICUBIC)
    assert list(store.list(keys.MANIFEST_PREFIX)) == []


def test_nothing_to_do_is_done_at_once(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", {"readme.txt": b"no image"})
    summary = run("upscale", source, tmp_path / "out", **BICUBIC)
    assert (summary.listed, summary.exit_status) == (0, 0)
    assert summary.devices == ()


@pytest.mark.s3
def test_what_is_done_is_never_read_again_whatever_the_number_of_workers(
    s3_bucket: Bucket, fault_proxy: FaultProxy
) -> None:
    for key, data in photos(12, side=8).items():
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=f"src/{key}", Body=data)
    source, target = (f"s3://{s3_bucket.name}/{name}/" for name in ("src", "out"))
    settings = {**BICUBIC, "endpoint_url": fault_proxy.url}

    def sources_read(workers: str) -> list[str]:
        before = len(fault_proxy.requests)
        summary = run("upscale", source, target, workers=workers, **settings)
        assert summary.done + summary.skipped == summary.listed
        return [
            request.path
            for request in fault_proxy.requests[before:]
            if request.method == "GET" and "/src/" in request.path
        ]

    assert len(sources_read("1")) == 12
    assert sources_read("3") == []
    s3_bucket.client.put_object(
        Bucket=s3_bucket.name, Key="src/new.png", Body=photo_bytes(5, kind="PNG", side=8)
    )
    assert [path.rpartition("/")[2] for path in sources_read("0:2")] == ["new.png"]
