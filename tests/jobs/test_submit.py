"""What is handed to a cluster, and what is not."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from ray.job_submission import JobStatus

from jobs.cli import main, parse
from jobs.flags import given_flags
from jobs.submit import TASKS, job_headers, load_job, plan_submission, submission_id
from sdflow.config import JobSettings, StorageSettings
from sdflow.driver.submission import Submission, run_id, run_number
from sdflow.driver.submission_log import LogLines, ending
from sdflow.driver.submit_settings import DEFAULT_ADDRESS, api_server
from sdflow.errors import ClusterError, UsageError

SUMMARY = json.dumps({"task": "upscale", "devices": ["cpu"], "exit_status": 4}, indent=2)
_JOBS = {
    "upscale": "s3://a/in/ s3://a/out --tau 0.3 --include *.jpg --include 'a b/*' --region x",
    "downscale": "in out --samples 3 --workers 1:4 --drain-seconds 40.5",
    "degrade": "in out --tau 0.2:0.9 --crop 512 --since 2026-11-01 --limit 7",
    "train": "s3://a/run --hr s3://a/hr --lr lr --preset small --frozen encoder --loss gan_hr=0.2",
}


@pytest.fixture(autouse=True)
def usual_logs() -> Iterator[None]:
    """The command's logs go to what pytest took for stderr meanwhile; later ones must not."""
    yield
    structlog.reset_defaults()


def _settings(task: str, words: str) -> StorageSettings:
    return load_job(task, given_flags(parse([task, *shlex.split(words)])))


def _plan(task: str, words: str, working_dir: str | None = None) -> Submission:
    return plan_submission(task, _settings(task, words), working_dir)


def _sent(submission: Submission) -> list[str]:
    head, *words = shlex.split(submission.entrypoint)
    assert [head, *words[:3]] == ["exec", "python", "-m", "jobs.cli"]
    return words[3:]


def _told(settings: StorageSettings) -> dict[str, Any]:
    return settings.model_dump(
        exclude={"src", "dst", "hr", "lr", "address", "log_format", "config"}
    )


@pytest.mark.parametrize("task", TASKS)
def test_the_cluster_understands_what_was_understood_here(task: str) -> None:
    here = _settings(task, _JOBS[task])
    words = _sent(plan_submission(task, here, None))
    assert words[0] == task
    there = load_job(task, given_flags(parse(words)))
    assert _told(there) == _told(here)
    assert there.log_format == "json"
    assert "--address=auto" in words


def test_variables_and_job_file_are_settled_here(
    tmp_path: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("tau: 0.25\nsamples: 2\noutscale: 4\nworkers: 3\njoin: true\n")
    monkeypatch.setenv("SDFLOW_TAU", "0.5")
    monkeypatch.setenv("SDFLOW_ADDRESS", "ray://elsewhere:10001")
    words = _sent(_plan("upscale", f"s3://a/in s3://a/out --config {file} --samples 5"))
    assert "--tau=0.5" in words
    assert "--samples=5" in words
    assert "--workers=3" in words
    assert "--join" in words
    assert not any("config" in word or "elsewhere" in word for word in words)
    assert not any(word.startswith("--seed") for word in words)
    assert "--outscale=4" not in _sent(_plan("degrade", f"s3://a/in s3://a/out --config {file}"))


def test_no_credential_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("RAY_JOB_HEADERS", '{"Authorization": "hush"}')
    assert "hush" not in repr(_plan("upscale", "s3://a/in s3://a/out"))
    for words in ("s3://me:hush@a/in s3://a/out", "in out --weights s3://me:hush@a/w.safetensors"):
        with pytest.raises(UsageError, match="credentials in it") as refused:
            _plan("upscale", words)
        assert "hush" not in str(refused.value)


def test_ray_waits_for_the_drain() -> None:
    def seconds(task: str, more: str = "") -> int:
        plan = _plan(task, f"{_JOBS[task]} {more}")
        assert plan.runtime_env.keys() == {"env_vars"}
        assert plan.runtime_env["env_vars"].keys() == {"RAY_JOB_STOP_WAIT_TIME_S"}
        return int(plan.runtime_env["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"])

    assert seconds("upscale") > JobSettings.model_fields["drain_seconds"].default
    assert seconds("upscale", "--drain-seconds 600.5") > 600
    assert seconds("train") >= 60


def test_the_id_is_that_of_task_source_and_destination() -> None:
    def name(task: str, words: str) -> str:
        return submission_id(task, _settings(task, words))

    first = name("upscale", "s3://a/in s3://a/out")
    assert first == name("upscale", "s3://a/in/ s3://a/out/ --tau 0.1 --workers 9")
    others = {
        name("downscale", "s3://a/in s3://a/out"),
        name("upscale", "s3://a/in s3://a/other"),
        name("upscale", "s3://a/else s3://a/out"),
        name("upscale", "s3://a/in s3://a/out --endpoint-url http://another:9000"),
        name("train", "s3://a/out --hr s3://a/in --lr s3://a/lr"),
        name("train", "s3://a/out --hr s3://a/lr --lr s3://a/in"),
    }
    assert len(others) == 6
    assert first not in others
    assert name("upscale", "in out") == name("upscale", "./in out/")


def test_runs_of_a_job_are_numbered() -> None:
    for number in (1, 2, 10):
        assert run_number("sdflow-upscale-1f", run_id("sdflow-upscale-1f", number)) == number
    for other in ("sdflow-upscale-1f0", "sdflow-upscale-1f-x", "sdflow-upscale-1f-02", ""):
        assert run_number("sdflow-upscale-1f", other) == 0


@pytest.mark.parametrize(
    ("flag", "environ", "address"),
    [
        (None, {}, DEFAULT_ADDRESS),
        (None, {"RAY_ADDRESS": "http://a:1"}, "http://a:1"),
        (None, {"RAY_ADDRESS": "ray://a:10001"}, DEFAULT_ADDRESS),
        (None, {"RAY_ADDRESS": "auto", "SDFLOW_ADDRESS": "auto"}, DEFAULT_ADDRESS),
        (
            None,
            {"RAY_ADDRESS": "http://a:1", "RAY_API_SERVER_ADDRESS": "https://b/x/"},
            "https://b/x",
        ),
        (None, {"SDFLOW_ADDRESS": "http://c", "RAY_API_SERVER_ADDRESS": "http://b"}, "http://c"),
        ("http://d:8265/", {"RAY_API_SERVER_ADDRESS": "http://b"}, "http://d:8265"),
    ],
)
def test_address(flag: str | None, environ: Mapping[str, str], address: str) -> None:
    assert api_server(flag, environ) == address


@pytest.mark.parametrize("flag", ["head:8265", "ray://head:10001", "auto", "http://", "http://a:b"])
def test_wrong_address(flag: str) -> None:
    with pytest.raises(UsageError, match="--address: expected the HTTP address"):
        api_server(flag, {})
    with pytest.raises(UsageError, match="RAY_API_SERVER_ADDRESS: expected"):
        api_server(None, {"RAY_API_SERVER_ADDRESS": flag})


def test_headers() -> None:
    assert job_headers({}) is None
    assert job_headers({"RAY_JOB_HEADERS": '{"a": "b"}'}) == {"a": "b"}
    for text in ("hush", '["hush"]'):
        with pytest.raises(UsageError, match="RAY_JOB_HEADERS: expected a JSON object") as refused:
            job_headers({"RAY_JOB_HEADERS": text})
        assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "expected a job: upscale, downscale, degrade, train"),
        ("status out", "got 'status'"),
        ("--addres http://a upscale in out", "unknown argument --addres"),
        ("upscale", "SRC is missing; DST is missing"),
        ("upscale in out --tau 3", "--tau"),
        ("upscale in out --wokers 3", "did you mean --workers?"),
        ("upscale in in/out", "overlap"),
        ("upscale ftp://in out", "unknown scheme"),
        ("upscale in out --no-wait", "--no-wait goes before upscale"),
        ("upscale in out --working-dir=x", "--working-dir goes before upscale"),
        ("upscale in out --address http://a:8265", "--address goes before upscale"),
        ("train in --hr in/a --lr b", "--hr"),
        ("train out --hr a --lr b --loss nonsense=1", "nonsense"),
        ("--working-dir /nowhere/at/all upscale in out", "no such folder"),
        ("--working-dir https://me:hush@a/x.zip upscale in out", "may carry no credential"),
        ("--address head:8265 upscale in out", "--address: expected the HTTP address"),
    ],
)
def test_wrong_usage_submits_nothing(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", *words.split()]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "--address", "http://me:hush@127.0.0.1:9", "upscale", "in", "out"]) == 1
    printed = capsys.readouterr().err
    assert "--address http://127.0.0.1:9: nobody answers there" in printed
    assert "pip install 'ray[default]'" in printed
    assert "hush" not in printed


def _lines(*pieces: tuple[int, str]) -> tuple[LogLines, list[str]]:
    told: list[str] = []
    lines = LogLines(told.append)
    for offset, text in pieces:
        lines.take(offset, text)
    lines.close()
    return lines, told


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_log_in_pieces_that_come_twice(size: int) -> None:
    text = f'{{"event": "a"}}\n{{\nodd\n{{\n  "x": 1\n}}\n{SUMMARY}\nlast'
    pieces = [(start, text[start : start + size]) for start in range(0, len(text), size)]
    lines, told = _lines(*pieces[:5], *pieces)
    assert lines.summary == SUMMARY
    assert "\n".join(told) == text.replace(f"{SUMMARY}\n", "")


@pytest.mark.parametrize(
    ("status", "code", "log", "exit_status"),
    [
        (JobStatus.SUCCEEDED, 0, SUMMARY, 0),
        (JobStatus.FAILED, 3, SUMMARY, 3),
        (JobStatus.FAILED, 2, "sdflow: wrong", 2),
        (JobStatus.FAILED, 1, "", 1),
        (JobStatus.STOPPED, None, SUMMARY, 4),
        (JobStatus.STOPPED, None, SUMMARY.replace("4", "0"), 0),
        (JobStatus.STOPPED, None, "", 4),
    ],
)
def test_exit_status_is_carried_back(
    status: JobStatus, code: int | None, log: str, exit_status: int
) -> None:
    info = SimpleNamespace(status=status, driver_exit_code=code, submission_id="a", message="")
    assert ending(info, _lines((0, log))[0]).exit_status == exit_status


@pytest.mark.parametrize(
    ("code", "log", "words"),
    [
        (1, "ModuleNotFoundError: No module named 'jobs'", "no sdflow.*--working-dir"),
        (127, "sh: python: not found", "no sdflow"),
        (-9, "", "status -9; the same command resumes"),
        (None, "", "pip failed; the same command"),
    ],
)
def test_jobs_that_break_off_say_why(code: int | None, log: str, words: str) -> None:
    info = SimpleNamespace(
        status=JobStatus.FAILED, driver_exit_code=code, submission_id="a", message="x\npip failed\n"
    )
    with pytest.raises(ClusterError, match=words):
        ending(info, _lines((0, log))[0])
