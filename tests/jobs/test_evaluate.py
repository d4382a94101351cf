"""``sdflow evaluate`` from the command line: tables, files and exit statuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
import torch
from PIL import Image

from jobs.cli import main
from sdflow.images.codec import decode
from sdflow.model.checkpoint import encode_safetensors, weights_hash
from tests.evaluation.networks import mild_model, young_model
from tests.model.seeded import TINY, photo, seeded_model

Evaluate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def evaluate(capsys: pytest.CaptureFixture[str]) -> Iterator[Evaluate]:
    """Runs the command; returns exit status, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["evaluate", *map(str, arguments)])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return status, printed.out, printed.err

    yield run
    structlog.reset_defaults()


def _photos(folder: Path, *sides: tuple[int, int], **kinds: str) -> Path:
    folder.mkdir()
    for number, (height, width) in enumerate(sides):
        image = Image.fromarray(photo(height, width, seed=number) // 2 + 64)
        name = f"p{number}"
        image.convert(kinds.get(name, "RGB")).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def full_size(tmp_path: Path) -> Path:
    return _photos(tmp_path / "full", (203, 220), (192, 192), (200, 240), p1="L", p2="RGBA")


@pytest.fixture
def tiny_weights(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(encode_safetensors(seeded_model(TINY)))
    return path


def _json(folder: Path) -> Any:  # noqa: ANN401  # whatever is in it
    return json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))


def _columns(table: str) -> list[str]:
    return [cell.strip() for cell in table.splitlines()[0].strip("|").split("|")][1:]


def test_photos_that_are_shrunk_are_compared_with_themselves(
    full_size: Path, tiny_weights: Path, tmp_path: Path, evaluate: Evaluate
) -> None:
    out = tmp_path / "scores"
    status, table, log = evaluate(
        full_size, "--shrink", "--weights", tiny_weights, "--samples", 2, "--out", out
    )
    assert status == 0
    assert _columns(table) == ["bicubic", "lanczos", "tau 0", "tau 0.8", "truth"]
    for label in ("PSNR-Y over bicubic", "MS-SSIM-Y", "HaarPSI", "NIQE", "diversity", "levels"):
        assert label in table
    assert "bits per dimension: " in table
    assert "3 images; ±" in table
    assert "transparency is not measured" in log
    found = _json(out)
    assert (found["task"], found["num_images"], found["left_out"]) == ("upscale", 3, [])
    assert found["weights"]["name"] == weights_hash(seeded_model(TINY))
    assert [image["key"] for image in found["images"]] == ["p0.png", "p1.png", "p2.png"]
    assert [found["images"][0][side] for side in ("height", "width")] == [50, 55]
    psnr = [image["scores"]["bicubic"]["psnr_y"] for image in found["images"]]
    scores = found["methods"]["bicubic"]["scores"]["psnr_y"]
    assert scores["mean"] == pytest.approx(np.mean(psnr))
    assert scores["low"] < scores["mean"] < scores["high"]
    assert found["versions"]["scikit-image"]
    sheet = decode((out / "sheet.png").read_bytes(), key="sheet.png", max_pixels=10**8).pixels
    assert sheet.shape[1] > 6 * 192  # input, bicubic, three of the network, truth
    assert {path.name for path in out.iterdir()} == {"evaluation.json", "sheet.png"}


def test_the_same_command_gives_the_same_bytes(
    full_size: Path, tiny_weights: Path, tmp_path: Path, evaluate: Evaluate
) -> None:
    written = []
    for name in ("a", "b"):
        out = tmp_path / name
        flags = ("--shrink", "--weights", tiny_weights, "--samples", 2, "--limit", 1, "--out", out)
        assert evaluate(full_size, *flags)[0] == 0
        written.append([(out / file).read_bytes() for file in ("evaluation.json", "sheet.png")])
    assert written[0] == written[1]


def test_pairs_by_name_measure_as_shrinking_does(
    full_size: Path, tmp_path: Path, evaluate: Evaluate
) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    large.mkdir()
    for path in full_size.iterdir():
        with Image.open(path) as image:
            full = image.convert("RGB" if image.mode == "RGBA" else image.mode)
        cut = full.crop((0, 0, full.width // 4 * 4, full.height // 4 * 4))
        cut.save(large / f"{path.stem}_HR.png")
        size = (cut.width // 4, cut.height // 4)
        cut.resize(size, Image.Resampling.BICUBIC).save(small / f"{path.stem}_LR4.png")
    reference = ("--weights", "bicubic", "--sheet", 0)
    assert evaluate(small, "--reference", large, *reference, "--out", tmp_path / "a")[0] == 0
    assert evaluate(full_size, "--shrink", *reference, "--out", tmp_path / "b")[0] == 0
    assert _json(tmp_path / "a")["methods"] == _json(tmp_path / "b")["methods"]
    assert not (tmp_path / "a" / "sheet.png").exists()


def test_lpips_is_measured_where_its_files_are_given(
    full_size: Path, tmp_path: Path, evaluate: Evaluate
) -> None:
    generator = torch.Generator().manual_seed(0)
    layers = {
        0: (64, 3, 11),
        3: (192, 64, 5),
        6: (384, 192, 3),
        8: (256, 384, 3),
        10: (256, 256, 3),
    }
    backbone, heads = {}, {}
    for number, (place, (width, before, side)) in enumerate(layers.items()):
        shape = (width, before, side, side)
        backbone[f"features.{place}.weight"] = torch.randn(shape, generator=generator) / 40
        backbone[f"features.{place}.bias"] = torch.zeros(width)
        heads[f"lin{number}.model.1.weight"] = torch.rand(1, width, 1, 1, generator=generator)
    flags: list[object] = ["--shrink", "--weights", "bicubic", "--limit", 1]
    for name, tensors in (("backbone", backbone), ("heads", heads)):
        torch.save(tensors, tmp_path / f"{name}.pth")
        flags += [f"--lpips-{name}", tmp_path / f"{name}.pth"]
    status, table, _ = evaluate(full_size, *flags)
    assert status == 0
    assert "LPIPS ↓" in table
    assert "LPIPS over bicubic" in table


def test_photos_without_a_truth_get_what_needs_none(full_size: Path, evaluate: Evaluate) -> None:
    status, table, _ = evaluate(full_size, "--weights", "bicubic")
    assert status == 0
    assert _columns(table) == ["bicubic", "lanczos"]
    assert "NIQE" in table
    assert "PSNR-Y" not in table


def test_small_results_are_compared_with_real_photos_as_sets(
    tmp_path: Path, evaluate: Evaluate
) -> None:
    weights = tmp_path / "mild.safetensors"
    weights.write_bytes(encode_safetensors(mild_model()))
    source = _photos(tmp_path / "full", (256, 260), (256, 256))
    real = _photos(tmp_path / "real", (100, 100), (100, 96), (128, 100), (96, 96))
    out = tmp_path / "out"
    flags = ("--weights", weights, "--taus", "0,0.1", "--samples", 2, "--out", out)
    status, table, _ = evaluate(source, "--real-lr", real, *flags)
    assert status == 0
    assert _columns(table) == ["bicubic", "lanczos", "tau 0", "tau 0.1", "real against real"]
    for label in ("noise spectrum", "patch statistics", "Fréchet distance over bicubic"):
        assert label in table
    assert "full-size photos" in table
    assert "2 images, 4 real ones" in table
    found = _json(out)
    assert found["bits_per_dimension"]["lr"]["num"] == 4
    assert found["methods"]["tau 0.1"]["over_bicubic"]["frechet"]["num"] == 2
    assert (out / "sheet.png").exists()


def test_weights_that_cannot_downscale_yet_are_measured_in_what_they_can(
    full_size: Path, tmp_path: Path, evaluate: Evaluate
) -> None:
    weights = tmp_path / "young.safetensors"
    weights.write_bytes(encode_safetensors(young_model()))
    status, table, _ = evaluate(full_size, "--shrink", "--weights", weights, "--limit", 1)
    assert status == 0
    assert "LR consistency, bicubic" in table
    assert "LR consistency, own" not in table
    assert "for full-size photos" in table
    assert "for small photos" not in table
    status, _, log = evaluate(full_size, "--weights", weights, "--real-lr", full_size)
    assert status == 1
    assert "have not learnt to downscale" in log


def test_bad_images_are_left_out_by_name_and_the_status_says_so(
    full_size: Path, tmp_path: Path, evaluate: Evaluate
) -> None:
    (full_size / "cut.png").write_bytes((full_size / "p0.png").read_bytes()[:500])
    status, table, _ = evaluate(
        full_size, "--shrink", "--weights", "bicubic", "--out", tmp_path / "out"
    )
    assert status == 3
    assert "3 images; ±" in table
    assert "left out: cut.png: decode.truncated: cut.png cannot be decoded" in table
    (left_out,) = _json(tmp_path / "out")["left_out"]
    assert (left_out["key"], left_out["error"]) == ("cut.png", "decode.truncated")


def test_a_photo_without_its_reference_is_left_out(
    full_size: Path, tmp_path: Path, evaluate: Evaluate
) -> None:
    large = _photos(tmp_path / "large", (812, 880))
    status, table, _ = evaluate(full_size, "--reference", large, "--weights", "bicubic")
    assert status == 3
    assert "1 image; ±" in table
    assert "left out: p1.png: pair.missing: p1.png has no reference" in table


def test_crop_and_pixel_limit_decide_what_is_measured(full_size: Path, evaluate: Evaluate) -> None:
    flags = ("--shrink", "--weights", "bicubic", "--max-pixels", 40_000)
    status, table, _ = evaluate(full_size, *flags)
    assert status == 3
    assert "left out: p0.png: too_large" in table
    status, table, _ = evaluate(full_size, *flags, "--crop", 128)
    assert status == 0
    assert "3 images; ±" in table


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ((), 2, "SRC is missing"),
        (("full", "--real-lr", "full", "--shrink"), 2, "leave one or the other out"),
        (("full", "--weights", "copy"), 2, "--weights copy makes nothing"),
        (("full", "--shrnk"), 2, "did you mean --shrink?"),
        (("full", "--out", "full/scores"), 2, "overlap"),
        (("full", "--reference", "ref", "--out", "ref"), 2, "overlap"),
        (("full", "--include", "*.jpg", "--weights", "bicubic"), 2, "no photo to measure in"),
        (("nowhere",), 1, "does not exist"),
        (("full", "--weights", "no.safetensors"), 1, "no.safetensors"),
        (
            ("full", "--shrink", "--lpips-backbone", "no.pth", "--lpips-heads", "no.pth"),
            1,
            "no.pth",
        ),
        (("full", "--max-pixels", "16"), 1, "none of 3 photos"),
    ],
)
def test_what_cannot_be_measured_says_why(
    arguments: tuple[str, ...],
    status: int,
    words: str,
    full_size: Path,
    evaluate: Evaluate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(full_size.parent)
    found, printed, log = evaluate(*arguments)
    assert found == status
    assert words in log
    assert printed == ""


def test_without_the_libraries_it_says_how_to_get_them(full_size: Path) -> None:
    code = (
        "import sys; sys.modules['skimage'] = None\n"
        "from jobs.cli import main\n"
        f"sys.exit(main(['evaluate', {str(full_size)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 2
    assert "pip install 'sdflow[train]'" in done.stderr


def test_help_tells_what_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    text = capsys.readouterr().out
    assert "example:\n  sdflow evaluate " in text
    assert "exit status:" in text
