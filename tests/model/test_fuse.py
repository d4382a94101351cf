"""The inference form: the same function as the training form, whatever the batch."""

from __future__ import annotations

import copy

import pytest
import torch

from sdflow.model.config import PAPER, SMALL, ModelConfig
from sdflow.model.fuse.model import FusedSDFlow
from sdflow.model.sdflow import SDFlow
from tests.model.seeded import TINY, paper_model, seeded_model


def _model(config: ModelConfig) -> SDFlow:
    return paper_model(3) if config == PAPER else seeded_model(config)


def _upscale(fused: FusedSDFlow, lr: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    return fused.draw_upscale(fused.prepare_upscale(lr), noise, 0.8)


def _downscale(
    fused: FusedSDFlow, hr: torch.Tensor, noise: torch.Tensor, component: torch.Tensor
) -> torch.Tensor:
    return fused.draw_downscale(fused.prepare_downscale(hr), noise, component, 0.8)


def _relative(value: torch.Tensor, expected: torch.Tensor) -> float:
    return float((value.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("config", [PAPER, SMALL, TINY], ids=["paper", "small", "tiny"])
@pytest.mark.parametrize(
    ("net", "limit"),
    [(torch.float64, 1e-9), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)],
    ids=str,
)
def test_inference_form_equals_training_form(
    config: ModelConfig, net: torch.dtype, limit: float
) -> None:
    exact = copy.deepcopy(_model(config)).double()
    flow = torch.float64 if net == torch.float64 else torch.float32
    fused = FusedSDFlow(
        _model(config) if net != torch.float64 else exact, net_dtype=net, flow_dtype=flow
    )
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        for height, width in ((2, 2), (3, 7), (10, 14)):
            lr = 2 * torch.rand(2, 3, height, width, generator=generator, dtype=torch.float64) - 1
            noise = torch.randn(2, 45, height, width, generator=generator, dtype=torch.float64)
            expected = exact.upscale(lr, tau=0.8, noise=noise)
            assert _relative(_upscale(fused, lr, noise), expected) <= limit
        for height, width in ((4, 4), (6, 14)):
            hr = torch.rand(2, 3, 4 * height, 4 * width, generator=generator, dtype=torch.float64)
            noise = torch.randn(2, 12, height // 2, width // 2, generator=generator).double()
            component = torch.tensor([0, 3])
            expected = exact.downscale(2 * hr - 1, tau=0.8, noise=noise, component=component)
            assert _relative(_downscale(fused, 2 * hr - 1, noise, component), expected) <= limit


@pytest.mark.parametrize("config", [PAPER, SMALL, TINY], ids=["paper", "small", "tiny"])
@pytest.mark.parametrize(
    ("net", "limit"),
    [(torch.float64, 1e-8), (torch.float32, 1e-4), (torch.bfloat16, 2e-2)],
    ids=str,
)
def test_likelihood_of_what_is_drawn_is_that_of_the_training_form(
    config: ModelConfig, net: torch.dtype, limit: float
) -> None:
    exact = copy.deepcopy(_model(config)).double()
    flow = torch.float64 if net == torch.float64 else torch.float32
    model = exact if net == torch.float64 else _model(config)
    fused = FusedSDFlow(model, net_dtype=net, flow_dtype=flow)
    generator = torch.Generator().manual_seed(0)
    component, tau = torch.tensor([0, 3]), torch.tensor([0.2, 0.9]).view(-1, 1, 1, 1)
    with torch.inference_mode():
        for height, width in ((4, 4), (6, 14)):
            hr = torch.rand(2, 3, 4 * height, 4 * width, generator=generator).double()
            noise = torch.randn(2, 12, height // 2, width // 2, generator=generator)
            prepared = fused.prepare_downscale(2 * hr - 1, scored=True)
            lr, log_prob = fused.draw_scored(prepared, noise.to(flow), component, tau.to(flow))
            assert log_prob.shape == (2, height // 2, width // 2)
            assert log_prob.dtype == torch.float64
            content = exact.hr_flow.content(2 * hr - 1)
            latent, log_det = exact.content_flow(lr.double())
            expected = log_det + exact.deg_flow.log_prob(latent - content, content)
            assert _relative(log_prob.sum(dim=(1, 2)), expected) <= limit


@pytest.mark.parametrize("net", [torch.float32, torch.bfloat16], ids=str)
def test_asking_for_likelihoods_changes_no_bit_and_neighbours_change_none_of_them(
    net: torch.dtype,
) -> None:
    fused = FusedSDFlow(seeded_model(SMALL), net_dtype=net)
    hr, noise = torch.rand(5, 3, 56, 88), torch.randn(5, 12, 7, 11)
    component, order = torch.arange(5), torch.tensor([3, 0, 4, 2, 1])
    with torch.inference_mode():
        lr, log_prob = fused.draw_scored(
            fused.prepare_downscale(hr, scored=True), noise, component, 0.8
        )
        assert torch.equal(lr, _downscale(fused, hr, noise, component))
        mixed = fused.prepare_downscale(hr[order], scored=True)
        assert torch.equal(
            fused.draw_scored(mixed, noise[order], component[order], 0.8)[1], log_prob[order]
        )
        for index in range(5):
            some = slice(index, index + 1)
            alone = fused.prepare_downscale(hr[some], scored=True)
            drawn = fused.draw_scored(alone, noise[some], component[some], 0.8)
            assert torch.equal(drawn[1], log_prob[some])
        with pytest.raises(ValueError, match="scored=True"):
            fused.draw_scored(fused.prepare_downscale(hr), noise, component, 0.8)


def test_preparing_once_serves_every_sample() -> None:
    model = seeded_model(SMALL)
    fused = FusedSDFlow(model)
    lr, noise = torch.rand(1, 3, 9, 11), torch.randn(3, 1, 45, 9, 11)
    with torch.inference_mode():
        shared = fused.prepare_upscale(lr)
        for one in noise:
            again = fused.draw_upscale(shared, one, 0.8)
            assert torch.equal(again, _upscale(fused, lr, one))


@pytest.mark.parametrize("net", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("side", [4, 17, 40])
def test_neighbours_in_a_batch_change_no_bit(net: torch.dtype, side: int) -> None:
    fused = FusedSDFlow(seeded_model(SMALL), net_dtype=net)
    lr, noise = torch.rand(5, 3, side, side), torch.randn(5, 45, side, side)
    even = side + side % 2
    hr, latent = torch.rand(5, 3, 4 * even, 4 * even), torch.randn(5, 12, even // 2, even // 2)
    component, order = torch.arange(5), torch.tensor([3, 0, 4, 2, 1])
    with torch.inference_mode():
        large = torch.cat([_upscale(fused, lr[i : i + 1], noise[i : i + 1]) for i in range(5)])
        assert torch.equal(_upscale(fused, lr[order], noise[order]), large[order])
        assert torch.equal(_upscale(fused, lr[:3], noise[:3]), large[:3])
        small = torch.cat(
            [
                _downscale(fused, hr[i : i + 1], latent[i : i + 1], component[i : i + 1])
                for i in range(5)
            ]
        )
        mixed = _downscale(fused, hr[order], latent[order], component[order])
        assert torch.equal(mixed, small[order])


@pytest.mark.parametrize("threads", [1, 3])
def test_number_of_threads_changes_no_bit(threads: int) -> None:
    fused = FusedSDFlow(seeded_model(SMALL))
    lr, noise = torch.rand(2, 3, 13, 18), torch.randn(2, 45, 13, 18)
    before = torch.get_num_threads()
    with torch.inference_mode():
        expected = _upscale(fused, lr, noise)
        try:
            torch.set_num_threads(threads)
            assert torch.equal(_upscale(fused, lr, noise), expected)
        finally:
            torch.set_num_threads(before)
