"""The benchmark measures the same function in every form, and says all it promises."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from jobs import bench
from sdflow.bench.flops import downscale_flop, high_frequency_flop, upscale_flop
from sdflow.bench.forms import ENGINE_FORMS, PLAIN_FORMS, Case, draw_inputs, make_form
from sdflow.bench.weights import drawn_model
from sdflow.model.config import PAPER, SMALL
from tests.model.seeded import TINY


def test_arithmetic_is_that_of_the_specification() -> None:
    assert upscale_flop(PAPER) == pytest.approx(21.2e6, rel=0.01)
    assert downscale_flop(PAPER) == pytest.approx(9.8e6, rel=0.01)
    published = downscale_flop(PAPER) + high_frequency_flop(PAPER)
    assert published == pytest.approx(24.1e6, rel=0.01)
    assert upscale_flop(SMALL) / upscale_flop(PAPER) == pytest.approx(0.107, abs=0.01)
    for flop in (upscale_flop, downscale_flop):
        one, two, three = (flop(PAPER, samples=count) for count in (1, 2, 3))
        assert three - two == pytest.approx(two - one)
        assert two < 2 * one


@pytest.mark.parametrize(
    "case",
    [
        Case("upscale", 10, 3, 2),
        Case("downscale", 8, 3, 2),
        Case("downscale", 8, 3, 2, scored=True),
    ],
)
def test_every_form_computes_the_same(case: Case) -> None:
    model = drawn_model(TINY)
    inputs = draw_inputs(case, torch.device("cpu"))
    outputs = {
        name: make_form(name, drawn_model(TINY), case, inputs, batch=2)()
        for name in (*PLAIN_FORMS, *ENGINE_FORMS)
    }
    with torch.inference_mode():
        if case.task == "upscale":
            expected = model.upscale(inputs.images, tau=0.8, noise=inputs.noise[0])
        else:
            expected = model.downscale(
                inputs.images, tau=0.8, noise=inputs.noise[0], component=inputs.component
            )
    for name, output in outputs.items():
        error = float((output - expected).norm() / expected.norm())
        assert error < (0.05 if "bf16" in name else 1e-4), name


def test_bench_reports_every_form_of_every_case_as_json() -> None:
    command = [sys.executable, "-m", "jobs.bench", "--preset", "small", "--sizes", "8,16"]
    command += ["--batch-sizes", "8"]
    done = subprocess.run(  # noqa: S603  # our own command
        [*command, "--runs", "1", "--json", "-"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {row["form"] for row in rows} == {"plain", "fp32", "bf16"}
    cases = {row["case"] for row in rows}
    assert {"upscale 8²", "downscale 16²", "upscale 16² 4 samples", "upscale 32 x 8²"} <= cases
    assert "downscale 16² 8 samples" in cases
    for row in rows:
        assert row["px_per_s"] > 0
        assert row["roofline"] > 0
        assert row["speedup"] > 0
        assert (row["psnr_db"] is None) == (row["form"] != "bf16")


def test_steps_are_a_table_of_all_forms() -> None:
    command = [sys.executable, "-m", "jobs.bench", "--preset", "small", "--sizes", "8", "--steps"]
    done = subprocess.run(  # noqa: S603  # our own command
        [*command, "--runs", "1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(f"| {form} |" in done.stdout for form in (*PLAIN_FORMS, *ENGINE_FORMS))


def test_tiles_are_measured_and_none_of_them_shows() -> None:
    command = [sys.executable, "-m", "jobs.bench", "--preset", "small", "--tiles", "16,32"]
    done = subprocess.run(  # noqa: S603  # our own command
        [*command, "--runs", "1", "--json", "-"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert len(rows) == 2 * 2 * 2
    for row in rows:
        assert row["seam"] <= 1
        assert row["overhead"] == pytest.approx((1 + 2 * row["halo"] / row["tile"]) ** 2)
        assert 0 < row["px_per_s"] < row["computed_px_per_s"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tiles", "64x"], "--tiles takes numbers"),
        (["--cases", "sideways"], "--cases 'sideways' is not one of upscale"),
        (["--sizes", "64x"], "--sizes takes numbers"),
        (["--sizes", "7"], "--sizes takes even sides"),
        (["--runs", "0"], "--runs must be at least 1"),
    ],
)
def test_wrong_flags_are_named(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main(flags) == 2
    assert message in capsys.readouterr().err
