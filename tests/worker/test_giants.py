"""Images in parts: the very bytes of the whole, whatever order, attempt or worker."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from sdflow.images import codec
from sdflow.work.handling import Handling
from sdflow.work.ledger import LedgerLine
from sdflow.work.names import parts_prefix
from sdflow.work.shard import ASSEMBLY, Shard, WorkItem
from sdflow.worker.report import Ending, Parted
from tests.worker.bench import PARAMETERS
from tests.worker.giantbench import (
    SIZE,
    SOURCES,
    Job,
    SmallParts,
    content,
    photo,
    with_parameters,
)

if TYPE_CHECKING:
    from sdflow.work.parameters import Task


@pytest.mark.parametrize("key", SOURCES)
@pytest.mark.parametrize("task", ["upscale", "downscale"])
def test_parts_make_the_same_bytes_as_the_whole(key: str, task: Task) -> None:
    data = SOURCES[key]()
    whole, parted = (
        Job(with_parameters(task=task), Handling(giant_pixels=limit)) for limit in (10**9, 1000)
    )
    line = whole.run(whole.put(key, data)).outcome
    assert isinstance(line, LedgerLine)
    assert line.status == "done", line
    item = parted.put(key, data)
    assert parted.finish(item).status == "done"
    assert len(parted.runs) > 4
    assert content(parted, key) == content(whole, key)


@pytest.mark.parametrize("outscale", [1.0, 2.5, 7.0])
@pytest.mark.parametrize("key", ["photo.jpg", "deep.png"])
def test_final_scale_is_the_same_in_parts(key: str, outscale: float) -> None:
    data = SOURCES[key]()
    whole, parted = (
        Job(with_parameters(outscale=outscale), Handling(giant_pixels=limit))
        for limit in (10**9, 1000)
    )
    whole.run(whole.put(key, data))
    parted.finish(parted.put(key, data))
    result = codec.decode(whole.target.get(key), key=key, max_pixels=10**7).pixels
    assert result.shape[:2] == tuple(int(side * outscale + 0.5) for side in SIZE)
    assert result.dtype == (np.uint16 if key == "deep.png" else np.uint8)
    assert content(parted, key) == content(whole, key)


def test_what_is_done_is_not_done_again() -> None:
    job = Job(with_parameters(samples=2), Handling(giant_pixels=1000))
    item = job.put("a.jpg", SOURCES["photo.jpg"]())
    first, second, *others, assembly = job.divide(item)
    for part in (second, first):
        job.run(part)
    left = job.divide(item)
    assert left == [*others, assembly]
    for part in left:
        ending = job.run(part)
    assert isinstance(ending.outcome, LedgerLine)
    assert [output.key for output in ending.outcome.outputs] == ["a.s0.jpg", "a.s1.jpg"]
    assert len(job.runs) == len(set(job.runs)) + 1  # it was divided twice


def test_pixels_are_counted_once() -> None:
    job = Job(PARAMETERS, Handling(giant_pixels=1000))
    item = job.put("a.jpg", SOURCES["photo.jpg"]())
    begun = job.run(item)
    assert isinstance(begun.outcome, Parted)
    parts = [replace(item, part=number, pixels=px) for number, px in begun.outcome.parts]
    endings = [begun, *(job.run(part) for part in parts)]
    height, width = SIZE
    assert sum(ending.totals.pixels_in for ending in endings) == height * width
    assert sum(ending.totals.pixels_out for ending in endings) == 16 * height * width
    assert sum(ending.totals.bytes_read for ending in endings) == item.size_bytes
    assert [ending.totals.done for ending in endings] == [0] * len(parts) + [1]
    assert endings[-1].totals.bytes_written == len(job.target.get("a.jpg"))


def test_what_was_given_up_for_a_part_is_on_the_line_of_the_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = Job(PARAMETERS, Handling(giant_pixels=1000))
    pages = BytesIO()
    with tifffile.TiffWriter(pages) as writer:
        for page in (photo(), photo()):
            writer.write(page, photometric="rgb", metadata=None)
    first, *parts, assembly = job.divide(job.put("a.tif", pages.getvalue()))
    for part in parts:
        job.run(part)
    monkeypatch.setattr(SmallParts, "note", "tiles were smaller")
    job.run(first)
    line = job.run(assembly).outcome
    assert isinstance(line, LedgerLine)
    assert line.note == "the first of 2 images in the file; tiles were smaller"


@pytest.mark.parametrize(
    ("key", "outscale", "weight"),
    [
        ("photo.jpg", 4.0, 16),
        ("grey.jpg", 4.0, 16),  # three channels are drawn
        ("photo.jpg", 2.0, 32),  # in 16 bits, because it is resampled
        ("photo.jpg", 8.0, 64),
        ("strips.tif", 4.0, 32),
        ("deep.png", 4.0, 16 * 8 / 3),
    ],
)
def test_images_are_as_large_as_the_memory_they_take(
    key: str, outscale: float, weight: float
) -> None:
    limit = int(SIZE[0] * SIZE[1] * weight)
    for giant_pixels, is_parted in ((limit - 2, True), (limit + 2, False)):
        job = Job(with_parameters(outscale=outscale), Handling(giant_pixels=giant_pixels))
        outcome = job.run(job.put(key, SOURCES[key]())).outcome
        assert isinstance(outcome, Parted) is is_parted


def test_parts_that_were_cut_in_another_way_are_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = Job(PARAMETERS, Handling(giant_pixels=1000))
    item = job.put("a.jpg", SOURCES["photo.jpg"]())
    for part in job.divide(item)[:3]:
        job.run(part)
    monkeypatch.setattr("tests.worker.giantbench.SMALLER", 8)
    assert job.finish(item).status == "done"
    whole = Job(PARAMETERS, Handling())
    whole.run(whole.put("a.jpg", SOURCES["photo.jpg"]()))
    assert job.target.get("a.jpg") == whole.target.get("a.jpg")


def test_giants_that_wait_can_be_handed_back() -> None:
    job = Job(PARAMETERS, Handling(giant_pixels=1000))
    items = tuple(job.put(f"{n}.jpg", SOURCES["photo.jpg"]()) for n in range(5))
    pipeline, endings = job.pipeline(), list[Ending]()
    held = pipeline.hold(1, Shard(items))

    def emit(ending: Ending) -> None:
        endings.append(ending)
        if len(endings) == 1:
            assert len(held.give_back(5)) == 4

    pipeline.work(held, emit)
    pipeline.close()
    assert len(endings) == 1


def test_other_versions_have_other_parts() -> None:
    item = WorkItem("a.jpg", "v1", 1)
    names = {
        parts_prefix(item, PARAMETERS),
        parts_prefix(replace(item, part=3), PARAMETERS),
        parts_prefix(replace(item, etag="v2"), PARAMETERS),
        parts_prefix(replace(item, key="b.jpg"), PARAMETERS),
        parts_prefix(item, with_parameters(tau=0.5)),
    }
    assert len(names) == 4


def test_what_cannot_be_written_is_refused_before_anything_is_drawn() -> None:
    job = Job(with_parameters(format="jpeg"), Handling(giant_pixels=1000))
    line = job.run(job.put("a.png", SOURCES["mirrored.png"]())).outcome
    assert isinstance(line, LedgerLine)
    assert (line.status, line.error) == ("failed", "encode.unsupported")
    assert list(job.target.list()) == []


def test_damaged_giant_is_a_dead_letter() -> None:
    job = Job(PARAMETERS, Handling(giant_pixels=1000))
    line = job.run(job.put("a.png", SOURCES["deep.png"]()[:-4000])).outcome
    assert isinstance(line, LedgerLine)
    assert (line.status, line.error) == ("failed", "decode.truncated")


def test_parts_that_are_gone_are_begun_anew_by_the_next_run() -> None:
    job = Job(PARAMETERS, Handling(giant_pixels=1000))
    item = job.put("a.jpg", SOURCES["photo.jpg"]())
    *parts, assembly = job.divide(item)
    assert assembly.part == ASSEMBLY
    for part in parts:
        job.run(part)
    (gone, *_) = job.target.list(parts_prefix(item, PARAMETERS) + "part-")
    job.target.delete(gone.key)
    line = job.run(assembly).outcome
    assert isinstance(line, LedgerLine)
    assert line.error == "storage.not_found"
    assert not line.settles(item.etag, PARAMETERS.hash)
    assert len(job.divide(item)) == 2
