from __future__ import annotations

import pytest
import torch

from sdflow.errors import WeightsError
from sdflow.model.config import PAPER, SMALL, ModelConfig
from sdflow.model.sdflow import SDFlow
from tests.model.seeded import TINY, paper_model, seeded_model


def test_parameter_counts_are_the_published_ones() -> None:
    counts = {
        name: sum(tensor.numel() for tensor in part.parameters())
        for name, part in paper_model(7).named_children()
    }
    assert counts == {
        "hr_flow": 8_266_644,
        "content_flow": 240_336,
        "deg_flow": 3_810_032,
        "encoder": 1_782_307,
    }


def test_reach_of_the_published_network() -> None:
    assert PAPER.upscale.reach == 230
    assert PAPER.downscale.reach == 207


def _reached_rows(output: torch.Tensor, scale: int) -> tuple[int, int]:
    """First and last LR row that a NaN has spread to."""
    rows = output.isnan().any(dim=1).any(dim=2)[0].nonzero().flatten() // scale
    return int(rows.min()), int(rows.max())


def test_upscale_reach_is_exactly_as_far_as_a_nan_spreads() -> None:
    model, reach = seeded_model(TINY).double(), TINY.upscale.reach
    row = reach + 5
    lr = torch.zeros(1, 3, 2 * row, 2, dtype=torch.float64)
    lr[:, :, row] = torch.nan
    noise = torch.zeros(1, 45, 2 * row, 2, dtype=torch.float64)
    hr = model.upscale(lr, tau=0, noise=noise)
    assert _reached_rows(hr, 4) == (row - reach, row + reach)


def test_downscale_reach_is_exactly_as_far_as_a_nan_spreads() -> None:
    model, reach = seeded_model(TINY).double(), TINY.downscale.reach
    even = (reach + 6) // 2 * 2
    noise = torch.zeros(1, 12, even, 2, dtype=torch.float64)
    for row, expected in [(even, (reach - 1, reach)), (even + 1, (reach, reach - 1))]:
        hr = torch.zeros(1, 3, 8 * even, 16, dtype=torch.float64)
        hr[:, :, 4 * row : 4 * row + 4] = torch.nan
        lr = model.downscale(hr, tau=0, noise=noise, component=torch.tensor([0]))
        first, last = _reached_rows(lr, 1)
        assert (row - first, last - row) == expected  # cells hold two rows


def _mega_operations(model: SDFlow) -> tuple[float, float]:
    """Convolution FLOP (2 per multiply-add) per LR pixel, without the 1x1 flows: (up, down)."""
    total = [0]

    def count(layer: torch.nn.Module, _: object, out: torch.Tensor) -> None:
        assert isinstance(layer, torch.nn.Conv2d)
        total[0] += 2 * out.numel() * layer.weight[0].numel()

    hooks = [
        layer.register_forward_hook(count)
        for layer in model.modules()
        if isinstance(layer, torch.nn.Conv2d)
    ]
    model.upscale(torch.zeros(1, 3, 16, 16), tau=0, noise=torch.zeros(1, 45, 16, 16))
    up, total[0] = total[0], 0
    noise, component = torch.zeros(1, 12, 8, 8), torch.tensor([0])
    model.downscale(torch.zeros(1, 3, 64, 64), tau=0, noise=noise, component=component)
    for hook in hooks:
        hook.remove()
    return up / 256e6, total[0] / 256e6


def test_operations_are_the_published_ones_and_small_needs_a_tenth() -> None:
    paper = _mega_operations(paper_model(7).float())
    assert paper == pytest.approx((21.2, 9.8), abs=0.05)
    small = _mega_operations(seeded_model(SMALL))
    for ours, published in zip(small, paper, strict=True):
        assert 0.08 < ours / published < 0.12


def test_sizes_survive_the_way_through_a_file() -> None:
    assert ModelConfig.from_dict(SMALL.to_dict()) == SMALL


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flow_steps": 0}, "at least 1"),
        ({"flow_steps": 1.5}, "whole numbers"),
        ({"depth": 3}, "unknown or missing sizes: depth"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        ModelConfig.from_dict({**TINY.to_dict(), **change})
