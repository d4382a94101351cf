"""What a worker makes of images, and what it says about them."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sdflow.storage import keys
from sdflow.worker.engine import TiledEngine
from tests.model.seeded import TINY, seeded_model
from tests.worker.bench import PARAMETERS, Bench, image_bytes


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_every_kind_of_image_comes_out_four_times_as_large_in_its_own_format(bench: Bench) -> None:
    kinds = [
        ("grey.png", "L", "PNG"),
        ("cut.png", "RGBA", "PNG"),
        ("photo.jpg", "RGB", "JPEG"),
        ("sub/web.webp", "RGB", "WEBP"),
        ("scan.tif", "LA", "TIFF"),
    ]
    items = [bench.put(key, image_bytes(mode, (9, 7), kind)) for key, mode, kind in kinds]
    report = bench.run(*items)
    assert report.totals.done == len(kinds)
    assert report.totals.pixels_in == 63 * len(kinds)
    assert report.totals.pixels_out == 16 * 63 * len(kinds)
    assert report.totals.bytes_read == sum(item.size_bytes for item in items)
    for key, mode, kind in kinds:
        result = bench.result(key)
        assert (result.size, result.mode, result.format) == ((36, 28), mode, kind)
    assert {line.status for line in report.lines.values()} == {"done"}


def test_ledger_names_outputs_that_are_there(bench: Bench) -> None:
    report = bench.run(bench.put("a.png", image_bytes("RGB", (4, 4), "PNG")))
    (output,) = report.lines["a.png"].outputs
    stored = bench.target.head(output.key)
    assert (stored.etag, stored.size_bytes) == (output.etag, output.size_bytes)


def test_bad_images_become_dead_letters_and_their_neighbours_are_done(bench: Bench) -> None:
    good = image_bytes("RGB", (40, 40), "JPEG")
    items = [
        bench.put("cut.jpg", good[: len(good) // 2]),
        bench.put("note.png", b"hello"),
        bench.put("empty.png", b""),
        bench.put("huge.png", image_bytes("L", (101, 100), "PNG")),
        bench.put("good.jpg", good),
    ]
    report = bench.run(*items, attempt=2)
    assert report.totals.done == 1
    assert not report.retries
    assert {key: line.error for key, line in report.failed.items()} == {
        "cut.jpg": "decode.truncated",
        "note.png": "decode.unsupported",
        "empty.png": "decode.empty",
        "huge.png": "too_large",
    }
    assert all(line.attempts == 2 and line.key in line.message for line in report.failed.values())
    assert report.lines["good.jpg"].status == "done"
    assert {info.key for info in bench.target.list() if not keys.is_job_key(info.key)} == {
        "good.jpg"
    }


def test_source_that_changed_since_it_was_listed_is_not_taken_for_the_old_one(bench: Bench) -> None:
    item = bench.put("a.png", image_bytes("RGB", (4, 4), "PNG"))
    bench.put("a.png", image_bytes("RGB", (4, 4), "PNG", seed=1))
    report = bench.run(item)
    assert [line.error for line in report.failed.values()] == ["storage.changed"]


def test_format_and_samples_are_in_the_names(bench: Bench) -> None:
    items = [
        bench.put("a.jpg", image_bytes("RGB", (4, 4), "JPEG")),
        replace(bench.put("b.jpg", image_bytes("RGB", (4, 4), "JPEG")), keeps_full_name=True),
    ]
    bench.run(*items, parameters=replace(PARAMETERS, format="png", samples=2))
    names = {info.key for info in bench.target.list() if not keys.is_job_key(info.key)}
    assert names == {"a.s0.png", "a.s1.png", "b.jpg.s0.png", "b.jpg.s1.png"}
    assert bench.result("a.s0.png").format == "PNG"


def test_what_a_format_cannot_hold_is_refused_and_not_dropped(bench: Bench) -> None:
    item = bench.put("cut.png", image_bytes("RGBA", (4, 4), "PNG"))
    report = bench.run(item, parameters=replace(PARAMETERS, format="jpeg"))
    assert [line.error for line in report.failed.values()] == ["encode.unsupported"]
    assert "--format" in report.failed["cut.png"].message


def test_network_runs_both_directions_and_downscaling_rounds_up(bench: Bench) -> None:
    item = bench.put("a.png", image_bytes("RGB", (37, 18), "PNG"))
    engine = TiledEngine(seeded_model(TINY))
    bench.run(item, engine=engine)
    assert bench.result("a.png").size == (148, 72)
    report = bench.run(item, engine=engine, parameters=replace(PARAMETERS, task="downscale"))
    assert bench.result("a.png").size == (10, 5)
    assert report.totals.pixels_out == 50


def test_grey_stays_grey_and_flat_alpha_flat_through_the_network(bench: Bench) -> None:
    grey = bench.put("grey.png", image_bytes("L", (8, 8), "PNG"))
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (10, 20, 30, 77)).save(buffer, "PNG")
    flat = bench.put("flat.png", buffer.getvalue())
    bench.run(grey, flat, engine=TiledEngine(seeded_model(TINY)))
    assert bench.result("grey.png").mode == "L"
    assert bench.result("flat.png").getchannel("A").getextrema() == (77, 77)


def test_alpha_stays_with_its_colour_whatever_the_size(bench: Bench) -> None:
    edge = np.zeros((41, 43, 4), np.uint8)
    edge[:, 20:] = 255
    edge[17:, :, 3] = edge[17:, :, 0] = 255  # what is visible is red, the rest black
    buffer = io.BytesIO()
    Image.fromarray(edge).save(buffer, "PNG")
    item = bench.put("cut.png", buffer.getvalue())
    bench.run(item, parameters=replace(PARAMETERS, task="downscale"))
    pixels = np.asarray(bench.result("cut.png")).astype(int)
    assert pixels.shape == (11, 11, 4)
    red, alpha = pixels[..., 0], pixels[..., 3]
    assert (red[alpha > 8] > 240).all()  # the black under full transparency does not show
    assert (alpha[8:] == 255).all()
    assert (alpha[0, :2] == 0).all()


def test_file_too_long_for_its_pixels_is_not_read_to_the_end(bench: Bench) -> None:
    report = bench.run(bench.put("vast.png", image_bytes("L", (9, 7), "PNG") + bytes(65_000_000)))
    assert [line.error for line in report.failed.values()] == ["too_large"]
