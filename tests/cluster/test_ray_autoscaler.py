"""The cluster that ``ray up`` makes: Ray's own validation, and what it would cost and run."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from jobs.cli import parse
from jobs.flags import given_flags
from sdflow.config import JobSettings, load_target_settings
from tests.cluster.manifests import CLUSTER

_PATH = CLUSTER / "ray-autoscaler.yaml"


@pytest.fixture
def config() -> dict[str, Any]:
    given: dict[str, Any] = yaml.safe_load(_PATH.read_text())
    return given


def test_ray_takes_it(config: dict[str, Any]) -> None:
    validate_config(prepare_config(config))


@pytest.mark.parametrize("path", [[], ["available_node_types", "gpu_spot"], ["auth"]])
def test_misspelt_keys_fail(config: dict[str, Any], path: list[str]) -> None:
    place = config
    for part in path:
        place = place[part]
    place["max_worker"] = 1
    with pytest.raises(Exception, match="max_worker"):
        validate_config(prepare_config(config))


def test_the_head_does_no_work_and_workers_go_when_idle(config: dict[str, Any]) -> None:
    types = config["available_node_types"]
    head = types.pop(config["head_node_type"])
    assert (head["resources"], head["max_workers"]) == ({"CPU": 0}, 0)
    assert config["idle_timeout_minutes"] > 0
    for worker in types.values():
        assert worker["resources"]["GPU"] == 1
        assert worker["min_workers"] == 0
        assert worker["max_workers"] <= config["max_workers"]
    markets = [
        one["node_config"].get("InstanceMarketOptions", {}).get("MarketType")
        for one in types.values()
    ]
    assert markets == ["spot", None]


def test_rights_come_from_instance_profiles(config: dict[str, Any]) -> None:
    text = _PATH.read_text()
    assert not re.search(r"AKIA|aws_secret|AWS_SECRET|ssh_private_key", text)
    profiles = {
        name: one["node_config"]["IamInstanceProfile"]["Name"]
        for name, one in config["available_node_types"].items()
    }
    assert profiles.pop("head") == "sdflow-head"
    assert set(profiles.values()) == {"sdflow-worker"}


@pytest.mark.parametrize("name", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_ray_is_started_with_many_files_and_a_size_of_its_store(
    config: dict[str, Any], name: str
) -> None:
    stop, start = config[name]
    assert stop.endswith("ray stop")
    assert start.startswith("ulimit -n 65536; ")
    assert "--object-store-memory=" in start


def test_the_command_in_its_head_is_accepted(config: dict[str, Any]) -> None:
    (command,) = re.findall(r"'(sdflow .*)'", _PATH.read_text())
    settings = load_target_settings(JobSettings, given_flags(parse(shlex.split(command)[1:])))
    assert settings.worker_range == (0, config["max_workers"])
    assert settings.gpus_per_worker == 1
