"""Exit statuses and messages: they name the thing and the next step, and are no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from jobs.cli import main
from sdflow.model.checkpoint import encode_safetensors
from tests.integration.photos import photos, write_folder
from tests.model.seeded import TINY, official_files, seeded_model
from tests.servers.fixtures import Bucket


@pytest.fixture(autouse=True)
def usual_logs() -> Iterator[None]:
    """The command's logs go to what pytest took for stderr meanwhile; later ones must not."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def source(tmp_path: Path) -> str:
    return str(write_folder(tmp_path / "in", photos(1, side=8)))


def _fails(arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must fail; returns its message."""
    assert main(arguments) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    (message,) = [line for line in printed.err.splitlines() if line.startswith("sdflow: ")]
    return message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["upcsale", "a", "b"], "invalid choice: 'upcsale'"),
        (["upscale"], "SRC is missing; DST is missing"),
        (
            ["upscale", "a", "b", "--wokers", "3"],
            "unknown argument --wokers: did you mean --workers?",
        ),
        (["upscale", "a", "b", "c"], "unknown argument c"),
        (["upscale", "a", "b", "--tau", "hot"], "--tau"),
        (["upscale", "ftp://a", "b"], "unknown scheme 'ftp://'"),
        (["upscale", "s3://", "b"], "names no bucket"),
        (["upscale", "a", "a"], "overlap"),
        (["upscale", "a", "a/b"], "choose a DST outside of SRC"),
        (["upscale", "s3://b/a/c", "s3://b/a"], "overlap"),
        (["weights", "info"], "required: path"),
        (["status"], "DST is missing"),
        (["status", "a", "--regoin", "x"], "unknown argument --regoin: did you mean --region?"),
        (["retry", "a", "--tau", "0.5"], "unknown argument --tau"),
        (["verify", "a", "--repiar"], "unknown argument --repiar: did you mean --repair?"),
        (["verify", "ftp://a"], "unknown scheme 'ftp://'"),
    ],
)
def test_wrong_usage_ends_with_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in _fails(arguments, 2, capsys)


def test_missing_source_and_weights_end_with_1(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(tmp_path / "out")
    assert "does not exist" in _fails(["upscale", str(tmp_path / "no"), target], 1, capsys)
    missing = ["upscale", source, target, "--weights", str(tmp_path / "no.safetensors")]
    message = _fails(missing, 1, capsys)
    assert "--weights" in message
    assert "'bicubic'" in message
    damaged = tmp_path / "bad.safetensors"
    damaged.write_bytes(b"\x00" * 100)
    message = _fails(["upscale", source, target, "--weights", str(damaged)], 1, capsys)
    assert "bad.safetensors is damaged" in message
    assert not Path(target).exists()


def test_destination_that_cannot_be_written_ends_with_1(
    source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "cannot be made" in _fails(["upscale", source, "/proc/nowhere"], 1, capsys)


def test_cluster_that_is_not_there_ends_with_1(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["upscale", source, str(tmp_path / "out"), "--address", "127.0.0.1:1"]
    assert "nobody answers there" in _fails(arguments, 1, capsys)


@pytest.mark.s3
def test_wrong_bucket_and_credentials_end_with_1(
    s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = str(s3_bucket.options.endpoint_url)
    reach = ["--endpoint-url", endpoint]
    message = _fails(["upscale", "s3://no-such-bucket/a", "b", *reach], 1, capsys)
    assert f"bucket 'no-such-bucket' does not exist at {endpoint}" in message
    place = f"s3://{s3_bucket.name}/a/"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    message = _fails(["upscale", place, "b", *reach], 1, capsys)
    assert "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or --profile" in message
    assert "wrong-secret" not in message
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "no credentials were found" in _fails(["upscale", place, "b", *reach], 1, capsys)


@pytest.mark.parametrize("command", ["status", "retry", "verify"])
def test_destination_without_a_job_ends_with_1(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = _fails([command, str(tmp_path)], 1, capsys)
    assert f"there is no job in {tmp_path}: _sdflow/job.json is missing" in message
    assert "does not exist" in _fails([command, str(tmp_path / "no")], 1, capsys)
    assert list(tmp_path.iterdir()) == []


def test_weights_are_described_and_converted_both_ways(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "official", official_files(7))
    single, back = str(tmp_path / "model.safetensors"), str(tmp_path / "back")
    assert main(["weights", "convert", str(folder), single]) == 0
    assert main(["weights", "convert", single, back]) == 0
    capsys.readouterr()
    facts = []
    for path in (str(folder), single, back):
        assert main(["weights", "info", path]) == 0
        facts.append(json.loads(capsys.readouterr().out))
    assert facts[0] == facts[1] == facts[2]
    assert facts[0]["preset"] == "paper"
    assert facts[0]["parameters"]["total"] == 14_099_319
    assert facts[0]["reach_lr_px"] == {"upscale": 230, "downscale": 207}
    assert "exists already" in _fails(["weights", "convert", single, back], 1, capsys)


def test_only_published_sizes_convert_to_official_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(encode_safetensors(seeded_model(TINY)))
    message = _fails(["weights", "convert", str(path), str(tmp_path / "out")], 1, capsys)
    assert "published (paper) sizes" in message


def test_help_of_every_command_has_an_example_or_a_line_each(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with_example = ("upscale", "downscale", "status", "retry", "verify", "train", "evaluate")
    others: tuple[list[str], ...] = ([], ["demo"], ["weights"], ["weights", "convert"])
    for command in (*others, *([name] for name in with_example)):
        with pytest.raises(SystemExit) as ended:
            main([*command, "--help"])
        assert ended.value.code == 0
        text = capsys.readouterr().out
        assert "usage: sdflow" in text
        assert command in others or f"example:\n  sdflow {command[0]} " in text


def test_the_installed_command_answers() -> None:
    program = Path(sys.executable).with_name("sdflow")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.startswith("sdflow ")


@pytest.mark.ray
@pytest.mark.slow
def test_demo_makes_photos_and_results_and_says_where(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("sdflow")
    done = subprocess.run(  # noqa: S603
        [program, "demo", tmp_path / "demo"], capture_output=True, text=True, check=True
    )
    assert "bicubic" not in done.stderr  # the bundled weights are what runs
    for task in ("upscale", "downscale"):
        folder = tmp_path / "demo" / f"{task}d"
        assert f"results  {folder}" in done.stdout
        assert f"summary  {folder / '_sdflow' / 'summary.json'}" in done.stdout
        assert f"{task}: 4 done, 0 skipped, 0 failed" in done.stdout
        assert len([path for path in folder.iterdir() if path.is_file()]) == 4
