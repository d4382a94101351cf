from __future__ import annotations

import json
import math
from typing import Any

import pytest

from sdflow.evaluation.intervals import mean_interval, paired_difference
from sdflow.evaluation.result import Result, summarised, to_json
from sdflow.evaluation.table import bits_line, count_line, score_table
from sdflow.evaluation.upscaling import ImageScores

_NAN = math.nan


def _image(key: str, bicubic: float, ours: float, ms_ssim: float = 0.9, bits: float = 3) -> Any:  # noqa: ANN401
    scores = {
        "bicubic": {"psnr_y": bicubic, "ms_ssim_y": ms_ssim, "niqe": 7.0},
        "tau 0": {"psnr_y": ours, "ms_ssim_y": ms_ssim, "niqe": 7.0, "lr_psnr_own": math.inf},
        "truth": {"niqe": 4.0},
    }
    return ImageScores(key, 10, 20, scores, {"hr": bits, "lr": _NAN})


_IMAGES = [_image("a", 20, 22), _image("b", 30, 31.5, ms_ssim=_NAN), _image("c", 25, 25.5, bits=4)]


def _cells(table: str) -> dict[str, list[str]]:
    lines = [line.strip("|").split("|") for line in table.splitlines()]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}


def test_a_line_for_every_measure_and_a_column_for_every_method() -> None:
    table = score_table(summarised(_IMAGES))
    cells = _cells(table)
    assert cells[""] == ["bicubic", "tau 0", "truth"]
    assert cells["PSNR-Y, dB ↑"] == ["25.00 ± 12.42", "26.33 ± 11.94", ""]
    assert cells["PSNR-Y over bicubic"] == ["", "+1.33 ± 1.90", ""]
    assert cells["NIQE ↓"] == ["7.000 ± 0.000", "7.000 ± 0.000", "4.000 ± 0.000"]
    assert cells["NIQE over bicubic"] == ["", "+0.000 ± 0.000", "-3.000 ± 0.000"]
    assert cells["LR consistency, own, dB ↑"] == ["", "inf", ""]
    assert "LPIPS ↓" not in cells
    assert len({len(line) for line in table.splitlines()}) == 1


def test_a_measure_of_some_images_alone_says_of_how_many() -> None:
    cells = _cells(score_table(summarised(_IMAGES)))
    assert cells["MS-SSIM-Y ↑"] == ["0.9000 ± 0.0000 (2)", "0.9000 ± 0.0000 (2)", ""]


def test_one_image_has_means_without_intervals() -> None:
    result = summarised(_IMAGES[:1])
    assert _cells(score_table(result))["PSNR-Y over bicubic"] == ["", "+2.00", ""]
    assert count_line(result).startswith("1 image;")


def test_bits_are_told_where_there_are_any() -> None:
    assert bits_line(summarised(_IMAGES)) == "bits per dimension: 3.33 ± 1.43 for full-size photos"
    assert bits_line(Result({}, {}, {}, 3)) == ""


def test_means_and_differences_are_over_images() -> None:
    result = summarised(_IMAGES)
    assert result.scores["tau 0"]["psnr_y"] == mean_interval([22, 31.5, 25.5])
    expected = paired_difference([22, 31.5, 25.5], [20, 30, 25])
    assert result.over_bicubic["tau 0"]["psnr_y"] == expected
    assert "bicubic" not in result.over_bicubic


def test_json_holds_every_number_and_null_for_what_is_none() -> None:
    found = json.loads(
        to_json(summarised(_IMAGES), {"task": "upscale"}), parse_constant=pytest.fail
    )
    assert (found["task"], found["num_images"], found["confidence"]) == ("upscale", 3, 0.95)
    scores = found["methods"]["tau 0"]["scores"]
    assert scores["psnr_y"]["mean"] == pytest.approx(79 / 3)
    assert scores["ms_ssim_y"]["num"] == 2
    assert scores["lr_psnr_own"] == {"mean": None, "low": None, "high": None, "num": 3}
    assert found["methods"]["tau 0"]["over_bicubic"]["psnr_y"]["mean"] == pytest.approx(4 / 3)
    assert found["images"][1]["scores"]["bicubic"] == {"psnr_y": 30, "ms_ssim_y": None, "niqe": 7}
    assert found["bits_per_dimension"]["hr"]["num"] == 3
    assert set(found["measures"]) == {"psnr_y", "ms_ssim_y", "niqe", "lr_psnr_own"}
