"""Several drivers on one job: refused, or sharing it without doing anything twice."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from sdflow.errors import SdflowError
from sdflow.storage import keys
from sdflow.storage.local import LocalStore
from sdflow.storage.s3 import S3Store
from sdflow.storage.store import Store
from tests.integration.clusters import started, upscale_command
from tests.integration.photos import photo_bytes, photos, results, run, write_folder
from tests.servers.faultproxy import Fault, FaultProxy
from tests.servers.fixtures import Bucket

pytestmark = pytest.mark.ray


def _wait_for_results(store: Store, count: int, process: subprocess.Popen[bytes]) -> None:
    while sum(not keys.is_job_key(info.key) for info in store.list()) < count:
        assert process.poll() is None, "the job ended before that"
        time.sleep(0.1)


def test_second_driver_is_refused_while_the_first_one_lives(
    tmp_path: Path, small_weights: str, ray_session: str
) -> None:
    source = write_folder(tmp_path / "in", photos(150))
    target = LocalStore(tmp_path / "out")
    settings = ("--weights", small_weights, "--tile", "64", "--halo", "16")
    command = upscale_command(str(source), target.url, *settings, "--address", ray_session)
    with started(command, tmp_path / "log") as first:
        _wait_for_results(target, 1, first)
        with pytest.raises(SdflowError, match=r"pid \d+.*--join") as refused:
            run("upscale", source, target.url, weights=small_weights, tile=64, halo=16)
        output, _ = first.communicate()
    assert refused.value.code == "job.taken"
    assert first.returncode == 0
    assert json.loads(output)["done"] == 150


@pytest.mark.s3
@pytest.mark.slow
@pytest.mark.parametrize("dies", [False, True], ids=["both finish", "the owner is killed"])
def test_drivers_that_join_share_the_job_and_do_nothing_twice(
    tmp_path: Path, s3_bucket: Bucket, fault_proxy: FaultProxy, ray_session: str, *, dies: bool
) -> None:
    body = photo_bytes(2, kind="PNG", side=8)
    names = [f"{number:04d}.png" for number in range(900)]
    for name in names:
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=f"src/{name}", Body=body)
    store = S3Store(s3_bucket.name, "out/", s3_bucket.options)
    fault_proxy.inject(Fault("latency", path=r"\.png", times=None, delay_s=0.2))
    command = upscale_command(
        *(f"s3://{s3_bucket.name}/src/", store.url, "--weights", "bicubic"),
        *("--endpoint-url", fault_proxy.url, "--address", ray_session),
    )
    with started(command, tmp_path / "owner") as owner:
        _wait_for_results(store, 1, owner)
        with started([*command, "--join"], tmp_path / "guest") as guest:
            if dies:
                _wait_for_results(store, 200, owner)
                owner.kill()
            outputs = [json.loads(process.communicate()[0] or "{}") for process in (owner, guest)]
        assert guest.returncode == 0, (tmp_path / "guest").read_text()
        assert owner.returncode == (-9 if dies else 0), (tmp_path / "owner").read_text()
    found = results(store)
    assert found.outputs.keys() == set(names)
    summary = found.summary
    assert summary["done"] + summary["skipped"] == summary["listed"] == len(names)
    assert summary["unfinished"] == 0
    gets = Counter(
        request.path
        for request in fault_proxy.requests
        if request.method == "GET" and "/src/" in request.path
    )
    assert len(gets) == len(names)
    if dies:
        assert max(gets.values()) <= 2
        assert summary["done"] == outputs[1]["done"]
        return
    assert set(gets.values()) == {1}
    assert sum(output["done"] for output in outputs) == len(names)
    assert min(output["done"] for output in outputs) > 0


@pytest.mark.s3
def test_store_without_conditional_puts_is_said_and_cannot_be_shared(
    tmp_path: Path,
    s3_bucket: Bucket,
    fault_proxy: FaultProxy,
    ray_session: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    del ray_session
    source = write_folder(tmp_path / "in", photos(2, side=8))
    target = f"s3://{s3_bucket.name}/out/"
    fault_proxy.inject(Fault("answer", method="PUT", path="probe-", times=None, status=501))
    settings = {"weights": "bicubic", "endpoint_url": fault_proxy.url}
    with pytest.raises(SdflowError, match=r"--join: .*no conditional puts") as refused:
        run("upscale", source, target, join=True, **settings)
    assert refused.value.code == "usage"
    assert run("upscale", source, target, **settings).done == 2
    assert "has no conditional puts" in capsys.readouterr().out
