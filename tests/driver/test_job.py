from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sdflow.config import JobSettings, load_settings
from sdflow.driver.job import open_job
from sdflow.driver.summary import exit_status
from sdflow.driver.weights import JobWeights
from sdflow.errors import StorageError, UsageError
from sdflow.storage import keys
from sdflow.storage.memory import MemoryStore
from sdflow.work.parameters import PixelParameters

_WEIGHTS = JobWeights("a" * 64, data=b"", tile=512, halo=230)


def _open(target: MemoryStore, settings: JobSettings) -> PixelParameters:
    return open_job("upscale", settings, _WEIGHTS, source=MemoryStore(), target=target)


def _settings(**more: object) -> JobSettings:
    return load_settings({"src": "in", "dst": "out", **more})


def test_defaults_are_resolved_and_recorded() -> None:
    target = MemoryStore()
    parameters = _open(target, _settings())
    assert (parameters.tile, parameters.halo, parameters.precision) == (512, 230, "fp32")
    record = json.loads(target.get(keys.JOB_KEY))
    assert record["parameters"]["tile"] == 512
    assert record["settings"]["tau"] == 0.8


def test_tile_of_the_record_outlives_a_new_default() -> None:
    target = MemoryStore()
    _open(target, _settings(tile=96, halo=0))
    parameters = _open(target, _settings())
    assert (parameters.tile, parameters.halo) == (96, 0)


def test_calibration_that_came_or_went_changes_no_byte_of_a_job() -> None:
    target = MemoryStore()
    calibrated = replace(_WEIGHTS, halo=24)
    begun = open_job("upscale", _settings(), calibrated, source=MemoryStore(), target=target)
    assert (begun.halo, begun.overlap) == (24, 0)
    assert _open(target, _settings()) == begun
    assert _open(MemoryStore(), _settings(halo=24)).overlap == 8  # less than needed: blended


def test_precision_of_the_record_outlives_a_machine_that_would_choose_another() -> None:
    target, halved = MemoryStore(), replace(_WEIGHTS, precision="bf16")

    def reopen(weights: JobWeights, **more: object) -> PixelParameters:
        source = MemoryStore()
        return open_job("upscale", _settings(**more), weights, source=source, target=target)

    reopen(halved)
    assert reopen(_WEIGHTS).precision == "bf16"
    with pytest.raises(UsageError, match="precision: 'bf16' there, now 'fp32'"):
        reopen(_WEIGHTS, precision="fp32")


def test_other_weights_bring_their_own_halo() -> None:
    target = MemoryStore()
    _open(target, _settings())
    other = JobWeights("b" * 64, data=b"", tile=256, halo=24, precision="bf16")
    parameters = open_job(
        "upscale", _settings(redo=True), other, source=MemoryStore(), target=target
    )
    assert (parameters.tile, parameters.halo, parameters.precision) == (256, 24, "bf16")


def test_record_that_somebody_broke_is_named() -> None:
    target = MemoryStore()
    target.put(keys.JOB_KEY, b"{}")
    with pytest.raises(StorageError, match=r"job.json is no record of a job"):
        _open(target, _settings())


def test_every_difference_is_named_at_once() -> None:
    target = MemoryStore()
    _open(target, _settings())
    with pytest.raises(UsageError, match=r"tau: 0.8 there, now 0.5; seed: 0 there, now 3"):
        _open(target, _settings(tau=0.5, seed=3))


class _Overtaken(MemoryStore):
    """Another driver claims the destination between the look and the claim."""

    def put_if_absent(self, key: str, data: bytes) -> str:
        if key == keys.JOB_KEY and not list(self.list(keys.JOB_KEY)):
            self.put(key, data.replace(b'"seed": 0', b'"seed": 9'))
        return super().put_if_absent(key, data)


def test_driver_that_was_overtaken_compares_with_the_winner() -> None:
    with pytest.raises(UsageError, match="seed: 9 there, now 0"):
        _open(_Overtaken(), _settings())


def test_parameters_hash_changes_with_every_parameter() -> None:
    base = _open(MemoryStore(), _settings())
    others = [
        _open(MemoryStore(), _settings(**change))
        for change in (
            {"tau": 0.7},
            {"seed": 1},
            {"samples": 2},
            {"format": "png"},
            {"quality": 90},
            {"tile": 256},
            {"halo": 12},
        )
    ]
    assert len({parameters.hash for parameters in (base, *others)}) == len(others) + 1


@pytest.mark.parametrize(
    ("failed", "stopped", "rate", "status"),
    [
        (0, False, 0.0, 0),
        (1, False, 0.0, 3),
        (1, False, 0.1, 0),
        (2, False, 0.1, 3),
        (1, True, 0, 4),
    ],
)
def test_exit_status(failed: int, stopped: bool, rate: float, status: int) -> None:
    found = exit_status(listed=10, failed=failed, stopped=stopped, max_failure_rate=rate)
    assert found == status


def test_allowed_share_of_failures_is_exact() -> None:
    for failed in range(101):
        rate = failed / 100
        assert exit_status(listed=100, failed=failed, stopped=False, max_failure_rate=rate) == 0
    assert exit_status(listed=0, failed=0, stopped=False, max_failure_rate=0) == 0
