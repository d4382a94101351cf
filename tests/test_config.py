from __future__ import annotations

from pathlib import Path

import pytest

from sdflow.config import (
    JobSettings,
    TargetSettings,
    load_retry_settings,
    load_settings,
    load_target_settings,
)
from sdflow.driver.degrade_settings import DegradeSettings
from sdflow.driver.verify_settings import VerifySettings
from sdflow.errors import UsageError

_PLACES = {"src": "in", "dst": "out"}


def _job_file(folder: Path, text: str) -> str:
    path = folder / "job.yaml"
    path.write_text(text)
    return str(path)


def test_flag_wins_over_environment_over_job_file_over_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDFLOW_TAU", "0.2")
    monkeypatch.setenv("SDFLOW_SEED", "2")
    config = _job_file(tmp_path, "tau: 0.1\nseed: 1\nsamples: 3\nsrc: in\ndst: out\n")
    settings = load_settings({"config": config, "tau": "0.3"})
    assert (settings.tau, settings.seed, settings.samples, settings.quality) == (0.3, 2, 3, 95)


def test_job_file_may_be_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDFLOW_CONFIG", _job_file(tmp_path, "seed: 5"))
    assert load_settings(_PLACES).seed == 5


@pytest.mark.parametrize(
    ("text", "globs"),
    [
        ("*.jpg", ("*.jpg",)),
        ("[0-9]*.jpg", ("[0-9]*.jpg",)),
        ('["*.jpg", "a/*"]', ("*.jpg", "a/*")),
        ("{a,b}.jpg", ("{a,b}.jpg",)),
    ],
)
def test_globs_in_the_environment(
    text: str, globs: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDFLOW_INCLUDE", text)
    assert load_settings(_PLACES).include == globs


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"dst": "out"}, "SRC is missing"),
        ({**_PLACES, "tau": "1.5"}, r"--tau: .*less than or equal to 1, got '1.5'"),
        ({**_PLACES, "workers": "many"}, r"--workers: expected N or MIN:MAX, got 'many'"),
        ({**_PLACES, "format": "gif"}, r"--format: .*'keep', 'png'"),
        ({**_PLACES, "config": "/no/such.yaml"}, r"--config /no/such\.yaml: No such file"),
        ({**_PLACES, "endpoint_url": "http://me:secret@host"}, "--endpoint-url: put credentials"),
    ],
)
def test_wrong_flags_are_named(flags: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_settings(flags)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tua: 1", r"'tua' in the job file is not a setting; did you mean 'tau'\?"),
        ("tau: 7", r"tau in the job file: .*got 7"),
        ("- tau", "expected 'setting: value' lines"),
        ("tau: [", "not valid YAML"),
        ("3: 4", "expected 'setting: value' lines"),
    ],
)
def test_wrong_job_files_are_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        load_settings({**_PLACES, "config": _job_file(tmp_path, text)})


def test_wrong_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDFLOW_TAU", "hot")
    with pytest.raises(UsageError, match=r"SDFLOW_TAU: .*got 'hot'"):
        load_settings(_PLACES)
    monkeypatch.delenv("SDFLOW_TAU")
    for of_a_service in ("HEAD_SVC_SERVICE_HOST", "SERVICE_PORT", "PORT", "PORT_6379_TCP_ADDR"):
        monkeypatch.setenv(f"SDFLOW_{of_a_service}", "10.0.0.1")  # as Kubernetes sets them
    assert load_settings(_PLACES).tau == 0.8
    monkeypatch.setenv("SDFLOW_TEMPERATURE", "0.3")
    with pytest.raises(UsageError, match=r"SDFLOW_TEMPERATURE in the environment is not a setting"):
        load_settings(_PLACES)
    monkeypatch.delenv("SDFLOW_TEMPERATURE")
    monkeypatch.setenv("SDFLOW_WOKERS", "3")
    with pytest.raises(UsageError, match=r"SDFLOW_WOKERS .*did you mean 'workers'"):
        load_settings(_PLACES)


def test_command_on_a_destination_takes_flags_and_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SDFLOW_DST", "there")
    monkeypatch.setenv("SDFLOW_REGION", "eu-1")
    monkeypatch.setenv("SDFLOW_TAU", "0.5")  # of jobs, and no concern of this command
    settings = load_target_settings(VerifySettings, {"region": "eu-2", "repair": True})
    assert (settings.dst, settings.region, settings.repair) == ("there", "eu-2", True)
    monkeypatch.delenv("SDFLOW_DST")
    with pytest.raises(UsageError, match="DST is missing"):
        load_target_settings(TargetSettings, {})
    with pytest.raises(UsageError, match="--endpoint-url: put credentials"):
        load_target_settings(TargetSettings, {"dst": "a", "endpoint_url": "http://me:secret@host"})


def test_retry_takes_what_is_recorded_but_for_what_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = {**_PLACES, "tau": 0.3, "workers": 4, "redo": True, "include": ["a/*"]}
    recorded = load_settings({**job, "log_format": "json"}).model_dump(mode="json")
    monkeypatch.setenv("SDFLOW_TAU", "0.9")
    monkeypatch.setenv("SDFLOW_MAX_PIXELS", "7")
    flags = {"dst": "there", "workers": "1:2"}
    settings = load_retry_settings(
        JobSettings, flags, {**recorded, "of_later": 1}, source="s3://archive/"
    )
    assert (settings.src, settings.dst, settings.tau) == ("s3://archive/", "there", 0.3)
    assert (settings.workers, settings.max_pixels, settings.include) == ("1:2", 7, ("a/*",))
    assert (settings.redo, settings.join, settings.log_format) == (False, False, "auto")
    with pytest.raises(UsageError, match=r"--workers: expected N or MIN:MAX"):
        load_retry_settings(JobSettings, {"dst": "there", "workers": "x"}, recorded, source="in")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (0.6, 1.0)),
        ({"tau": "0.8"}, (0.8, 0.8)),
        ({"tau": 0.5}, (0.5, 0.5)),
        ({"tau": "0.2:0.9"}, (0.2, 0.9)),
        ({"tau": 0.2, "tau_to": 0.9}, (0.2, 0.9)),  # as job.json has it
    ],
)
def test_a_temperature_may_be_a_range(
    given: dict[str, object], expected: tuple[float, float]
) -> None:
    settings = load_target_settings(DegradeSettings, {**_PLACES, **given})
    assert (settings.tau, settings.tau_to) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tau": "0.9:0.2"}, "MIN may not be above MAX"),
        ({"tau": "0.2:2"}, "less than or equal to 1"),
        ({"tau": "warm"}, "--tau"),
        ({"stride": 64}, "--stride needs --crop"),
        ({"crop": 100}, "--crop: Input should be a multiple of 8"),
        ({"since": "yesterday"}, "--since"),
        ({"samples": 65}, "--samples"),
    ],
)
def test_what_a_night_cannot_be_told(given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_target_settings(DegradeSettings, {**_PLACES, **given})
