"""What calibrating measures holds for images it has not seen."""

from __future__ import annotations

import numpy as np
import pytest

from sdflow import TiledEngine
from sdflow.model.config import PAPER, SMALL
from sdflow.worker.calibrate import candidate_halos, measure
from sdflow.worker.charts import drawn_photos
from tests.model.seeded import photo, seeded_model


def test_calibrated_halo_keeps_the_seam_law_on_other_images() -> None:
    model = seeded_model(SMALL)
    lines: list[str] = []
    calibration = measure(model, drawn_photos(256), report=lines.append)
    assert 0 < calibration.upscale.halo < model.config.upscale.reach
    assert min(calibration.upscale.bf16_db, calibration.downscale.bf16_db) > 45
    assert any(line.startswith("downscale: halo") for line in lines)
    wide = TiledEngine(model, tile=1 << 16)
    model.calibration = calibration
    for number, (height, width) in enumerate([(70, 111), (128, 49)]):
        image = photo(height, width, seed=number + 5)
        whole = wide.upscale(image, key="other", tau=0.8).astype(int)
        tiled = TiledEngine(model, tile=24).upscale(image, key="other", tau=0.8)
        assert np.abs(tiled - whole).max() <= 1
        image = photo(4 * height, 4 * width, seed=number)
        whole = wide.downscale(image, key="other", tau=0.8).astype(int)
        tiled = TiledEngine(model, tile=24).downscale(image, key="other", tau=0.8)
        assert np.abs(tiled - whole).max() <= 1


@pytest.mark.parametrize("requirement", [PAPER.upscale, PAPER.downscale, SMALL.downscale])
def test_halos_to_try_grow_up_to_the_reach(requirement: object) -> None:
    halos = candidate_halos(requirement)  # type: ignore[arg-type]  # a SizeRequirement
    assert halos == sorted(set(halos))
    assert halos[0] == 8
    assert halos[-1] - requirement.multiple_of < requirement.reach <= halos[-1]  # type: ignore[attr-defined]  # as above
    assert all(halo % requirement.multiple_of == 0 for halo in halos)  # type: ignore[attr-defined]  # as above
