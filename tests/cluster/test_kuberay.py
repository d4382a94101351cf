"""The manifests for KubeRay: what its schemas say, what they would run, and with what rights."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from copy import deepcopy
from typing import Any

import pytest
import yaml

from jobs.cli import parse
from jobs.flags import given_flags
from sdflow.config import JobSettings, StorageSettings, load_target_settings
from sdflow.training.settings import TrainSettings
from tests.cluster.manifests import (
    KUBERAY,
    OVERLAY,
    cluster_spec,
    complaints,
    document,
    documents,
    images,
    patched,
)

_RAY = ["cluster.yaml", "upscale.yaml", "train.yaml"]
_JOBS: dict[str, type[StorageSettings]] = {"upscale.yaml": JobSettings, "train.yaml": TrainSettings}
_KUBECTL = shutil.which("kubectl")


def _nightly_ray_job() -> dict[str, Any]:
    (config,) = (one for one in documents(KUBERAY / "nightly.yaml") if one["kind"] == "ConfigMap")
    job: dict[str, Any] = yaml.safe_load(config["data"]["rayjob.yaml"])
    return job


def _groups(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    spec = cluster_spec(manifest)
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def _settings(manifest: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401  # the model is the command's
    """Of the command that a job runs, in the environment of the head."""
    (head,) = cluster_spec(manifest)["headGroupSpec"]["template"]["spec"]["containers"]
    for variable in head["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    program, *words = shlex.split(manifest["spec"]["entrypoint"])
    assert program == "sdflow"
    model = _JOBS[f"{words[0]}.yaml"]
    return load_target_settings(model, given_flags(parse(words)))


def _overlaid(manifest: dict[str, Any]) -> dict[str, Any]:
    (kustomization,) = documents(OVERLAY / "kustomization.yaml")
    (patch,) = (
        one["patch"]
        for one in kustomization["patches"]
        if one["target"] == {"kind": manifest["kind"]}
    )
    return patched(manifest, yaml.safe_load(patch))


@pytest.mark.parametrize("name", _RAY)
def test_manifests_are_what_kuberay_takes(name: str) -> None:
    assert complaints(document(name)) == []


def test_the_nightly_ray_job_is_what_kuberay_takes() -> None:
    assert complaints(_nightly_ray_job()) == []


@pytest.mark.parametrize(
    "path",
    [
        [],
        ["autoscalerOptions"],
        ["headGroupSpec"],
        ["workerGroupSpecs", 0],
        ["workerGroupSpecs", 0, "template", "spec"],
        ["workerGroupSpecs", 0, "template", "spec", "tolerations", 0],
        ["workerGroupSpecs", 0, "template", "spec", "containers", 0, "securityContext"],
    ],
)
def test_misspelt_fields_fail(path: list[str | int]) -> None:
    manifest = document("upscale.yaml")
    place: Any = cluster_spec(manifest)
    for part in path:
        place = place[part]
    place["misspelt"] = "x"
    (complaint,) = complaints(manifest)
    assert "misspelt" in complaint


def test_values_of_a_wrong_kind_fail() -> None:
    manifest = document("cluster.yaml")
    manifest["spec"]["autoscalerOptions"]["version"] = "v3"
    manifest["spec"]["workerGroupSpecs"][0]["maxReplicas"] = "8"
    assert len(complaints(manifest)) == 2


@pytest.mark.parametrize("name", _JOBS)
def test_jobs_run_commands_that_are_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = document(name)
    settings = _settings(manifest, monkeypatch)
    (group,) = cluster_spec(manifest)["workerGroupSpecs"]
    (worker,) = group["template"]["spec"]["containers"]
    assert settings.gpus_per_worker == int(worker["resources"]["limits"]["nvidia.com/gpu"])
    assert (settings.address, settings.log_format) == ("auto", "json")
    assert manifest["spec"]["shutdownAfterJobFinishes"]
    assert manifest["spec"]["activeDeadlineSeconds"] > 0


def test_workers_of_an_upscale_job_are_those_that_the_cluster_may_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest = document("upscale.yaml")
    spec = cluster_spec(manifest)
    (group,) = spec["workerGroupSpecs"]
    settings = _settings(manifest, monkeypatch)
    assert settings.worker_range == (group["minReplicas"], group["maxReplicas"])
    assert spec["enableInTreeAutoscaling"]
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert (group["replicas"], group["minReplicas"]) == (0, 0)


def test_a_training_has_all_its_workers_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = document("train.yaml")
    spec = cluster_spec(manifest)
    (group,) = spec["workerGroupSpecs"]
    workers = _settings(manifest, monkeypatch).workers
    assert workers > 1  # a single one would compute on the head
    assert {group[name] for name in ("replicas", "minReplicas", "maxReplicas")} == {workers}
    assert "enableInTreeAutoscaling" not in spec


def test_a_job_has_the_time_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = document("upscale.yaml")
    drain = _settings(manifest, monkeypatch).drain_seconds
    for name in _JOBS:
        manifest = document(name)
        variables = yaml.safe_load(manifest["spec"]["runtimeEnvYAML"])["env_vars"]
        wait = int(variables["RAY_JOB_STOP_WAIT_TIME_S"])
        graces = {
            group["template"]["spec"]["terminationGracePeriodSeconds"]
            for group in _groups(manifest)
        }
        assert drain < wait < min(graces)


def test_the_job_and_the_standing_cluster_are_alike() -> None:
    assert cluster_spec(document("upscale.yaml")) == cluster_spec(document("cluster.yaml"))


@pytest.mark.parametrize("name", _RAY)
def test_only_the_driver_is_on_the_head(name: str) -> None:
    head = cluster_spec(document(name))["headGroupSpec"]
    assert head["rayStartParams"] == {"num-cpus": "0"}
    assert "tolerations" not in head["template"]["spec"]


@pytest.mark.parametrize("name", _RAY)
def test_pods_are_not_root_and_hold_no_right_too_many(name: str) -> None:
    """What Kubernetes' restricted pod security standard asks for."""
    manifest = document(name)
    for group in _groups(manifest):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 1000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["restartPolicy"] == "Never"  # autoscaler v2 accepts nothing else
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
    spec = cluster_spec(manifest)
    if "autoscalerOptions" in spec:
        assert spec["autoscalerOptions"]["securityContext"] == container["securityContext"]
    for group in spec["workerGroupSpecs"]:
        assert group["template"]["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", _RAY)
def test_shared_memory_holds_the_object_store_within_the_memory(name: str) -> None:
    for group in _groups(document(name)):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        (volume,) = pod["volumes"]
        (mount,) = container["volumeMounts"]
        assert mount == {"name": volume["name"], "mountPath": "/dev/shm"}  # noqa: S108
        assert volume["emptyDir"]["medium"] == "Memory"
        limits, requests = container["resources"]["limits"], container["resources"]["requests"]
        assert limits["memory"] == requests["memory"]
        memory = int(limits["memory"].removesuffix("Gi"))
        assert 0.3 * memory <= int(volume["emptyDir"]["sizeLimit"].removesuffix("Gi")) <= memory / 2


@pytest.mark.parametrize("name", ["s3-secret.yaml", "s3-irsa.yaml"])
def test_either_way_to_s3_has_the_account_of_the_pods(name: str) -> None:
    given = {one["kind"]: one for one in documents(KUBERAY / name)}
    account = given["ServiceAccount"]["metadata"]
    secret = given.get("Secret")
    for manifest in map(document, _RAY):
        for group in _groups(manifest):
            pod = group["template"]["spec"]
            assert pod["serviceAccountName"] == account["name"]
            (source,) = pod["containers"][0]["envFrom"]
            assert source["secretRef"]["optional"]
            if secret:
                assert source["secretRef"]["name"] == secret["metadata"]["name"]
    if secret:
        assert {value for key, value in secret["stringData"].items() if "KEY" in key} == {
            "CHANGE-ME"
        }
    else:
        assert account["annotations"]["eks.amazonaws.com/role-arn"].startswith("arn:aws:iam::")


def test_prometheus_finds_the_pods() -> None:
    monitor = document("podmonitor.yaml")
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"] == {"matchLabels": {"ray.io/is-ray-node": "yes"}}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == "metrics"
    # KubeRay adds the port unless the container lists one of that name.
    for manifest in map(document, _RAY):
        assert all("ports" not in g["template"]["spec"]["containers"][0] for g in _groups(manifest))


def test_the_kustomization_names_manifests_that_are_there() -> None:
    kustomization = document("kustomization.yaml")
    assert {*_RAY, "podmonitor.yaml"} == set(kustomization["resources"])
    labels = [document(name)["metadata"]["labels"] for name in kustomization["resources"]]
    assert len({label["app.kubernetes.io/component"] for label in labels}) == len(labels)
    (image,) = kustomization["images"]
    named = {given for name in _RAY for given in images(document(name))}
    assert named == {f"{image['name']}:{image['newTag']}"}


@pytest.mark.parametrize("name", _RAY)
def test_the_cpu_overlay_leaves_no_gpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = document(name)
    result = _overlaid(manifest)
    assert complaints(result) == []
    assert "nvidia" not in json.dumps(result)
    (before,), (after,) = (cluster_spec(one)["workerGroupSpecs"] for one in (manifest, result))
    assert after["groupName"] == "cpu"
    tolerations = [one["template"]["spec"]["tolerations"] for one in (before, after)]
    assert tolerations[1] == tolerations[0][1:]
    if name in _JOBS:
        assert _settings(result, monkeypatch).gpus_per_worker == 0


def test_the_cpu_overlay_notices_that_its_places_have_moved() -> None:
    manifest = document("cluster.yaml")
    moved = deepcopy(manifest)
    (group,) = cluster_spec(moved)["workerGroupSpecs"]
    group["template"]["spec"]["tolerations"].reverse()
    with pytest.raises(AssertionError, match="tolerations"):
        _overlaid(moved)


@pytest.mark.skipif(_KUBECTL is None, reason="needs kubectl")
def test_kustomize_builds_the_same_overlay() -> None:
    built = subprocess.run(  # noqa: S603
        [str(_KUBECTL), "kustomize", str(OVERLAY)], check=True, capture_output=True, text=True
    ).stdout
    got = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(built)}
    for manifest in map(document, _RAY):
        text = json.dumps(_overlaid(manifest)).replace("sdflow:latest", "sdflow:cpu")
        assert got.pop((manifest["kind"], manifest["metadata"]["name"])) == json.loads(text)
    assert [kind for kind, _ in got] == ["PodMonitor"]
