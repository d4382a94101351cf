"""``sdflow evaluate`` with everything in buckets of a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import structlog

from jobs.cli import main
from sdflow.storage.location import StoreLocation, open_store
from tests.integration.photos import photo_bytes
from tests.servers.fixtures import Bucket

pytestmark = pytest.mark.s3


def test_photos_weights_and_results_may_be_in_buckets(
    s3_bucket: Bucket, small_weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = f"s3://{s3_bucket.name}"
    store = open_store(StoreLocation(root, s3_bucket.options))
    for number in range(3):
        store.put(f"full/été {number}.png", photo_bytes(number, kind="PNG", side=96))
    store.put("full/bad.png", b"no picture")
    store.put("weights/small.safetensors", Path(small_weights).read_bytes())
    flags = ["--shrink", "--samples", "2", "--endpoint-url", str(s3_bucket.options.endpoint_url)]
    remote = ["--weights", f"{root}/weights/small.safetensors", "--out", f"{root}/scores/"]
    assert main(["evaluate", f"{root}/full/", *flags, *remote]) == 3
    assert "3 images; ±" in capsys.readouterr().out

    for info in store.list("full/"):
        path = tmp_path / "full" / info.key.removeprefix("full/")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(store.get(info.key))
    local = ["--weights", small_weights, "--out", str(tmp_path / "scores")]
    assert main(["evaluate", str(tmp_path / "full"), *flags, *local]) == 3
    structlog.reset_defaults()

    assert store.get("scores/sheet.png") == (tmp_path / "scores" / "sheet.png").read_bytes()
    found = json.loads(store.get("scores/evaluation.json"))
    expected = json.loads((tmp_path / "scores" / "evaluation.json").read_bytes())
    assert (found["source"], found["left_out"][0]["place"]) == (f"{root}/full/", f"{root}/full/")
    for name in ("methods", "images", "bits_per_dimension", "num_images"):
        assert found[name] == expected[name]
