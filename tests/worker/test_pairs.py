from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from sdflow.work.dataset import TAR_END
from sdflow.work.names import pair_name
from sdflow.work.parameters import PairParameters
from tests.worker.bench import PARAMETERS, Bench, image_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sdflow.work.ledger import LedgerLine
    from sdflow.work.parameters import PixelParameters

_PAIRS = PairParameters("webdataset", tau_to=1.0, crop=None, stride=None, min_texture=0)


def _parameters(samples: int = 2, **changes: Any) -> PixelParameters:  # noqa: ANN401  # fields
    pairs = replace(_PAIRS, **changes)
    return replace(
        PARAMETERS, task="degrade", format="png", metadata="strip", samples=samples, pairs=pairs
    )


def _pixels(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)))


def _members(bench: Bench, line: LedgerLine) -> dict[str, bytes]:
    (piece,) = line.outputs
    data = bench.target.get(piece.key) + TAR_END
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def test_a_piece_holds_aligned_pairs_and_says_what_they_are() -> None:
    bench = Bench()
    item = bench.put("2024/a.b.jpg", data := image_bytes("RGB", (71, 50), "PNG"))
    line = bench.run(item, parameters=_parameters()).done[item.key]
    members = _members(bench, line)
    base = f"2024_a_b-{line.identity[:12]}"
    assert list(members) == [f"{base}.{end}" for end in ("hr.png", "lr0.png", "lr1.png", "json")]
    hr, lr = _pixels(members[f"{base}.hr.png"]), _pixels(members[f"{base}.lr0.png"])
    assert hr.shape == (48, 68, 3)
    assert lr.shape == (12, 17, 3)
    np.testing.assert_array_equal(hr, _pixels(data)[:48, :68])
    record = json.loads(members[f"{base}.json"])
    assert (record["key"], record["etag"], record["seed"]) == (item.key, item.etag, 0)
    assert (record["id"], record["crop"]) == (line.identity, [0, 0, 48, 68])
    assert [one["sample"] for one in record["lr"]] == [0, 1]
    for one in (record["hr"], *record["lr"]):
        assert hashlib.sha256(members[one["name"]]).hexdigest() == one["sha256"]
    assert (line.pairs, line.shape) == (1, "48,68,3")


def test_crops_of_both_sizes_show_the_same_place() -> None:
    bench = Bench()
    item = bench.put("a.png", image_bytes("RGB", (96, 64), "PNG"))
    whole = _members(bench, bench.run(item, parameters=_parameters(1)).done["a.png"])
    small = next(_pixels(data) for name, data in whole.items() if name.endswith("lr0.png"))
    given = _parameters(1, crop=32, stride=24)
    line = bench.run(item, parameters=given).done["a.png"]
    members = _members(bench, line)
    assert line.pairs == 3 * 4  # rows at 0, 24, 32; columns at 0, 24, 48, 64
    records = [json.loads(data) for name, data in members.items() if name.endswith(".json")]
    assert [record["crop"][:2] for record in records][:5] == [
        [0, 0],
        [0, 24],
        [0, 48],
        [0, 64],
        [24, 0],
    ]
    for record in records:
        y, x, height, width = (side // 4 for side in record["crop"])
        cut = small[y : y + height, x : x + width]
        np.testing.assert_array_equal(_pixels(members[record["lr"][0]["name"]]), cut)


def test_flat_and_small_photos_end_without_a_pair_and_say_why() -> None:
    bench = Bench()
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(buffer, "PNG")
    flat = bench.put("flat.png", buffer.getvalue())
    small = bench.put("small.png", image_bytes("RGB", (40, 20), "PNG"))
    dot = bench.put("dot.png", image_bytes("RGB", (9, 3), "PNG"))
    ends = bench.run(flat, small, dot, parameters=_parameters(crop=32, min_texture=2.0))
    assert {key: (line.pairs, line.outputs, line.note) for key, line in ends.done.items()} == {
        "flat.png": (0, (), "no pair: not enough texture"),
        "small.png": (0, (), "no pair: smaller than 32 px"),
        "dot.png": (0, (), "no pair: smaller than 32 px"),
    }
    assert ends.totals.busy_s == 0  # nothing was drawn of them


def test_folders_have_the_same_names_on_both_sides() -> None:
    bench = Bench()
    item = bench.put("x/a.jpg", image_bytes("RGB", (64, 64), "JPEG"))
    for samples, numbers in ((1, [""]), (2, [".s0", ".s1"])):
        given = _parameters(samples, layout="folders", crop=32)
        line = bench.run(item, parameters=given).done[item.key]
        names = [output.key for output in line.outputs]
        base = f"x_a-{line.identity[:12]}"
        assert names[: 1 + samples] == [
            f"HR/{base}_c0000.png",
            *(f"LRx4/{base}_c0000{number}.png" for number in numbers),
        ]
        assert names[-1] == f"meta/{base}.json"
        record = json.loads(bench.target.get(names[-1]))
        assert len(record["pairs"]) == line.pairs == 4
        for pair in record["pairs"]:
            for one in (pair["hr"], *pair["lr"]):
                data = bench.target.get(one["name"])
                assert hashlib.sha256(data).hexdigest() == one["sha256"]


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_kinds_of_channels_stay(mode: str) -> None:
    bench = Bench()
    item = bench.put("a.png", image_bytes(mode, (32, 32), "PNG"))
    line = bench.run(item, parameters=_parameters()).done["a.png"]
    modes = {
        Image.open(io.BytesIO(data)).mode
        for name, data in _members(bench, line).items()
        if name.endswith(".png")
    }
    assert modes == {mode}
    assert line.shape == f"32,32,{len(mode)}"


def test_bytes_depend_on_the_content_and_not_on_when_it_was_written() -> None:
    data = image_bytes("RGB", (64, 48), "PNG")
    contents = []
    for order in (("a.png", "b.png"), ("b.png", "a.png")):
        bench = Bench()
        items = {key: bench.put(key, data) for key in order}
        ends = bench.run(*items.values(), parameters=_parameters(crop=32))
        contents.append({key: _members(bench, line) for key, line in ends.done.items()})
    assert contents[0] == contents[1]
    assert contents[0]["a.png"].keys() != contents[0]["b.png"].keys()


def test_deep_photos_keep_their_depth_or_are_rounded() -> None:
    bench = Bench()
    deep = np.random.default_rng(0).integers(0, 65536, (32, 32), np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(deep).save(buffer, "PNG")
    item = bench.put("a.png", buffer.getvalue())
    for depth, expected in (("keep", deep), (8, np.rint(deep / 257).astype(np.uint8))):
        line = bench.run(item, parameters=_parameters(1, depth=depth)).done["a.png"]
        members = _members(bench, line)
        hr = next(data for name, data in members.items() if name.endswith("hr.png"))
        np.testing.assert_array_equal(_pixels(hr), expected)


@pytest.mark.parametrize(
    "key", ["a/b c, d.e\n.jpg", "\udce9t\udce9.png", "x" * 300 + ".png", ".jpg"]
)
def test_names_are_what_every_loader_and_file_system_takes(key: str) -> None:
    name = pair_name(key, "0123456789abcdef")
    assert re.fullmatch(r"[\w-]*-0123456789ab", name)
    assert len(f"{name}_c0000.s63.png".encode()) < 255
