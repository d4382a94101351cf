"""A calibration travels with its weights, and with no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load, save

from sdflow.errors import WeightsError
from sdflow.model.calibration import Calibration, DirectionCalibration
from sdflow.model.checkpoint import decode_weights, encode_safetensors, weights_hash
from sdflow.model.config import PAPER
from tests.model.seeded import TINY, seeded_model

_GOOD = Calibration(DirectionCalibration(8, 61.5, 0.5), DirectionCalibration(16, 58.25, 0.25))


def test_calibration_comes_back_from_the_file_and_leaves_the_hash_alone() -> None:
    model = seeded_model(TINY)
    bare = weights_hash(model)
    model.calibration = _GOOD
    again = decode_weights({"a.safetensors": encode_safetensors(model)})
    assert again.calibration == _GOOD
    assert weights_hash(again) == bare
    assert decode_weights({"a.safetensors": encode_safetensors(again)}).calibration == _GOOD


def test_calibration_of_other_weights_is_refused(tmp_path: Path) -> None:
    model = seeded_model(TINY)
    model.calibration = _GOOD
    data = encode_safetensors(model)
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load(data)
    tensors["encoder.conv_out2.bias"] += 1
    with pytest.raises(WeightsError, match=r"of other weights.*sdflow weights calibrate"):
        decode_weights({"a.safetensors": save(tensors, metadata)})
    bare = decode_weights({"a.safetensors": save(tensors, metadata)}, calibrated=False)
    assert bare.calibration is None  # so that it can be calibrated again


@pytest.mark.parametrize("halo", [7, 4096])
def test_halo_that_cannot_be_is_refused(halo: int) -> None:
    wrong = replace(_GOOD, downscale=DirectionCalibration(halo, 60.0, 0.0))
    with pytest.raises(WeightsError, match=f"downscale halo {halo} cannot be"):
        wrong.check(PAPER)


@pytest.mark.parametrize(
    "values",
    [
        None,
        {"halo": 8, "bf16_db": 60.0},
        {"halo": -8, "bf16_db": 60.0, "bf16_seam": 0.0},
        {"halo": 8.5, "bf16_db": 60.0, "bf16_seam": 0.0},
        {"halo": 8, "bf16_db": float("nan"), "bf16_seam": 0.0},
        {"halo": 8, "bf16_db": 60.0, "bf16_seam": float("inf")},
    ],
)
def test_nonsense_is_refused(values: object) -> None:
    with pytest.raises(WeightsError, match="calibration"):
        Calibration.from_dict(values)
    with pytest.raises(WeightsError, match="calibration"):
        Calibration.from_dict({"upscale": values, "downscale": _GOOD.to_dict()["downscale"]})
