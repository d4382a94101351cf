"""Where a model begins."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812  # torch's own convention

from sdflow.flows.conv1x1 import InvertibleConv1x1
from sdflow.model.config import PAPER, PRESETS
from sdflow.model.sdflow import SDFlow
from sdflow.training.losses import bicubic_quarter
from sdflow.training.recipe import TINY
from sdflow.training.start import fit_to_data, haar_mix, start_from_haar
from tests.training.runs import small_recipe, some_batches


@pytest.fixture(scope="module")
def begun() -> tuple[SDFlow, torch.Tensor, torch.Tensor]:
    """A model after the first batch, and that batch's HR and LR patches."""
    batch = some_batches(small_recipe(batch=6, patch=64, steps=1))[0]
    torch.manual_seed(0)
    model = SDFlow(TINY).train()
    start_from_haar(model)
    fit_to_data(model, batch.hr, batch.lr)
    return model.requires_grad_(requires_grad=False), batch.hr, batch.lr


@pytest.mark.parametrize("colours", [3, 12])
def test_haar_is_orthonormal_with_the_averages_first(colours: int) -> None:
    mix = haar_mix(colours)
    torch.testing.assert_close(mix @ mix.T, torch.eye(4 * colours))
    cells = F.pixel_unshuffle(torch.rand(1, colours, 2, 2), 2)
    averages = (mix @ cells[0, :, 0, 0])[:colours]
    torch.testing.assert_close(averages, 2 * cells.view(colours, 4).mean(dim=1))


@pytest.mark.parametrize("config", [PAPER, PRESETS["small"], TINY])
def test_reversals_come_in_pairs(config: object) -> None:
    assert config in (PAPER, PRESETS["small"], TINY)
    with torch.random.fork_rng(devices=()):
        model = SDFlow(config)
    start_from_haar(model)
    for steps in (model.hr_flow.hf_flow, model.content_flow.get_submodule("steps")):
        product = torch.eye(1)
        for part in steps.modules():
            if isinstance(part, InvertibleConv1x1):
                eye = torch.eye(part.num_channels)
                weight = part.weight().detach()
                assert torch.equal(weight, eye) or torch.equal(weight, eye.flip(0))
                product = weight @ product if product.shape == weight.shape else weight
        assert torch.equal(product, torch.eye(len(product)))


def test_content_begins_as_an_affine_map_of_the_block_mean(
    begun: tuple[SDFlow, torch.Tensor, torch.Tensor],
) -> None:
    model, hr, _ = begun
    content, mean = model.hr_content(hr), F.avg_pool2d(hr, 4)
    for channel in range(3):
        pairs = torch.stack([content[:, channel].flatten(), mean[:, channel].flatten()])
        assert float(torch.corrcoef(pairs)[0, 1]) > 0.999


def test_the_encoder_finds_the_content_of_a_bicubic_image(
    begun: tuple[SDFlow, torch.Tensor, torch.Tensor],
) -> None:
    model, hr, _ = begun
    content = model.hr_content(hr)
    found = model.encode_content(bicubic_quarter(hr))
    assert float((found - content).abs().mean()) < 0.1 * float(content.std())


def test_the_lr_flow_gives_the_bicubic_image_of_a_content(
    begun: tuple[SDFlow, torch.Tensor, torch.Tensor],
) -> None:
    model, hr, lr = begun
    plain, _ = model.content_flow.inverse(model.hr_content(hr))
    assert float((plain - bicubic_quarter(hr)).abs().mean()) < 0.04
    latent, _ = model.content_flow(lr)
    assert float((latent - model.encoder(lr)).abs().mean()) < 0.1 * float(latent.std())


def test_the_flows_are_still_inverted_exactly(
    begun: tuple[SDFlow, torch.Tensor, torch.Tensor],
) -> None:
    model, hr, lr = begun
    content, noise, _ = model.hr_flow.encode(hr)
    torch.testing.assert_close(model.hr_flow.decode(content, noise), hr, rtol=0, atol=1e-4)
    latent, _ = model.content_flow(lr)
    torch.testing.assert_close(model.content_flow.inverse(latent)[0], lr, rtol=0, atol=1e-4)


def test_the_degradation_flow_waits_for_its_own_first_batch(
    begun: tuple[SDFlow, torch.Tensor, torch.Tensor],
) -> None:
    assert not begun[0].has_degradation
