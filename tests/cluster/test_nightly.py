"""The nightly manifest: what it would run, and what it may do."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.cli import parse
from jobs.flags import given_flags
from sdflow.config import load_target_settings
from sdflow.driver.degrade_settings import DegradeSettings

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def manifests() -> dict[str, Any]:
    text = (_ROOT / "cluster/kuberay/nightly.yaml").read_text()
    return {given["kind"]: given for given in yaml.safe_load_all(text)}


def test_the_ray_job_runs_a_night_that_the_command_accepts(manifests: dict[str, Any]) -> None:
    spec = yaml.safe_load(manifests["ConfigMap"]["data"]["rayjob.yaml"])["spec"]
    program, *words = shlex.split(spec["entrypoint"])
    assert (program, words[0]) == ("sdflow", "degrade")
    settings = load_target_settings(DegradeSettings, given_flags(parse(words)))
    group = spec["rayClusterSpec"]["workerGroupSpecs"][0]
    assert settings.worker_range == (group["minReplicas"], group["maxReplicas"])
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert settings.gpus_per_worker == int(limits["nvidia.com/gpu"])
    assert spec["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    wait = yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]
    assert float(wait) > settings.drain_seconds


def test_one_night_at_a_time_and_no_right_too_many(manifests: dict[str, Any]) -> None:
    cron = manifests["CronJob"]["spec"]
    assert cron["concurrencyPolicy"] == "Forbid"
    pod = cron["jobTemplate"]["spec"]["template"]["spec"]
    name = manifests["ServiceAccount"]["metadata"]["name"]
    assert pod["serviceAccountName"] == name
    assert pod["volumes"][0]["configMap"]["name"] == manifests["ConfigMap"]["metadata"]["name"]
    (rule,) = manifests["Role"]["rules"]
    assert (rule["resources"], sorted(rule["verbs"])) == (["rayjobs"], ["create", "get"])
    assert manifests["RoleBinding"]["subjects"] == [{"kind": "ServiceAccount", "name": name}]
    (script,) = pod["containers"][0]["args"]
    assert "/nightly/rayjob.yaml" in script
    assert pod["containers"][0]["volumeMounts"][0]["mountPath"] == "/nightly"


def test_the_crontab_line_of_the_readme_is_a_command() -> None:
    text = (_ROOT / "README.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("30 1 * * *"))
    command = line.partition(".venv/bin/sdflow ")[2].partition(" >>")[0]
    settings = load_target_settings(DegradeSettings, given_flags(parse(shlex.split(command))))
    assert (settings.samples, settings.dst) == (4, "s3://data/pairs/")
