"""The real scheduler through a whole archive, with losses and deadly images."""

from __future__ import annotations

import json

import pytest

from jobs.simulate import main

_HARD = ["--images", "20_000", "--workers", "50", "--loss-per-hour", "2", "--poison", "0.01"]


def test_every_image_ends_once_and_every_deadly_one_is_found(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*_HARD, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts_add_up"]
    assert found["dead_lettered"] == found["deadly"] > 100
    assert found["done"] + found["dead_lettered"] == found["images"] == 20_000
    assert found["twice"] == 0
    assert found["accidents"] > 0
    assert found["splits"] > 0


def test_calm_cluster_is_busy_and_does_nothing_twice(capsys: pytest.CaptureFixture[str]) -> None:
    calm = ["--images", "5_000", "--workers", "10", "--loss-per-hour", "0", "--poison", "0"]
    assert main([*calm, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["utilization"] > 0.97
    assert found["duplicated"] < 0.01
    assert found["kills"] == found["accidents"] == found["dead_lettered"] == 0


def test_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--images", "100", "--workers", "3"]) == 0
    assert "counts_add_up" in capsys.readouterr().out
