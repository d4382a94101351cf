"""The same pixels on a GPU as on a processor, to within a level, whoever shares a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sdflow import TiledEngine
from sdflow.model.config import SMALL
from sdflow.worker.photo import Drawing, Drawn, Photo
from tests.model.seeded import photo, seeded_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("direction", ["upscale", "downscale"])
def test_gpu_and_cpu_agree_to_a_level(direction: str) -> None:
    image = photo(100, 70) if direction == "upscale" else photo(400, 280)
    on_cpu = getattr(TiledEngine(seeded_model(SMALL), tile=48), direction)(image, key="k")
    on_gpu = getattr(TiledEngine(seeded_model(SMALL).cuda(), tile=48), direction)(image, key="k")
    assert np.abs(on_cpu.astype(int) - on_gpu.astype(int)).max() <= 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_neighbours_in_a_batch_change_no_byte_on_a_gpu(precision: str) -> None:
    engine = TiledEngine(seeded_model(SMALL).cuda(), tile=64, halo=16, precision=precision)
    photos = [Photo(f"{n}.png", photo(48, 48, seed=n)) for n in range(7)]
    drawing = Drawing("upscale", seed=0, tau=0.8, samples=(0, 1))

    def draw(some: list[Photo]) -> dict[str, list[bytes]]:
        drawn = {}
        for index, result in engine.draw(drawing, some):
            assert isinstance(result, Drawn)
            drawn[some[index].key] = [sample.tobytes() for sample in result.samples]
        return drawn

    alone = {key: value for one in photos for key, value in draw([one]).items()}
    assert draw(photos) == alone
    assert draw(photos[::-1]) == alone
