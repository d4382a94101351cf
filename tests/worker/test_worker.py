"""A worker keeps to what others of its kind have learnt, and says so."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from sdflow.model.checkpoint import encode_safetensors
from sdflow.storage import keys
from sdflow.storage.local import LocalStore
from sdflow.storage.location import S3Options, StoreLocation
from sdflow.work.ledger import decode_lines
from sdflow.work.parameters import PixelParameters
from sdflow.work.shard import Shard, WorkItem
from sdflow.worker.limits import Limits
from sdflow.worker.worker import Worker, WorkerSpec
from tests.model.seeded import TINY, photo, seeded_model


def test_limits_of_the_kind_of_device_hold_from_the_start_and_are_reported(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(photo(40, 30)).save(tmp_path / "in" / name)
    source = LocalStore(tmp_path / "in")
    items = tuple(WorkItem(info.key, info.etag, info.size_bytes) for info in source.list(""))
    parameters = PixelParameters(
        task="upscale",
        weights="w",
        tau=0.8,
        seed=0,
        samples=6,
        format="keep",
        quality=95,
        precision="fp32",
        tile=64,
        halo=8,
        overlap=None,
    )
    options = S3Options()
    spec = WorkerSpec(
        StoreLocation(str(tmp_path / "in"), options),
        StoreLocation(str(tmp_path / "out"), options),
        parameters,
        max_pixels=10_000,
        threads=2,
        limits={"cpu": Limits(2000, tile=16)},
    )
    worker = Worker(spec, encode_safetensors(seeded_model(TINY)))
    report = worker.run(Shard(items), "part")
    assert report.totals.done == 2
    assert report.limits == Limits(2000, tile=16)
    target = LocalStore(tmp_path / "out")
    lines = list(decode_lines(target.get(keys.ledger_key("part")), source="part"))
    assert {line.note for line in lines} == {"memory ran out: tile 16"}
    assert [len(line.outputs) for line in lines] == [6, 6]
    drawn = {target.get(output.key) for line in lines for output in line.outputs}
    assert len(drawn) == 12  # every sample and image has noise of its own
