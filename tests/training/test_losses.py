"""Every term of the loss where its value is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sdflow.flows.distributions import bits_per_dim
from sdflow.training.losses import (
    bicubic_quarter,
    centred,
    discriminator_gan,
    energy,
    generator_gan,
    l1,
    latent_distance,
    low_pass,
    low_pass_l1,
)


def _images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_uniform_density_over_all_levels_has_eight_bits() -> None:
    shape = torch.Size((2, 3, 4, 4))
    # 256 levels of width 2 / 255 each.
    log_prob = torch.full((2,), -48 * math.log(256 * 2 / 255), dtype=torch.float64)
    torch.testing.assert_close(bits_per_dim(log_prob, shape), torch.full_like(log_prob, 8.0))


def test_a_nat_per_dimension_is_1_44_bits() -> None:
    shape = torch.Size((1, 3, 2, 2))
    one, two = (bits_per_dim(torch.tensor([-12.0 * nats]), shape) for nats in (1, 2))
    assert float(two - one) == pytest.approx(1 / math.log(2), rel=1e-5)


def test_low_pass_keeps_constants_and_ramps() -> None:
    ramp = torch.arange(12.0).expand(1, 3, 12, 12)
    torch.testing.assert_close(
        low_pass(torch.full((1, 3, 8, 8), 0.3)), torch.full((1, 3, 8, 8), 0.3)
    )
    torch.testing.assert_close(low_pass(ramp)[..., 2:-2], ramp[..., 2:-2])


def test_low_pass_of_an_impulse_is_a_gaussian_of_one_pixel() -> None:
    impulse = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    impulse[0, 0, 4, 4] = 1
    weights = np.exp(-(np.arange(-2, 3) ** 2) / 2)
    weights /= weights.sum()
    found = low_pass(impulse)[0, 0]
    torch.testing.assert_close(found[2:7, 2:7], torch.from_numpy(np.outer(weights, weights)))
    assert float(found.sum()) == pytest.approx(1)


def test_bicubic_quarter_is_pillows() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    small = Image.fromarray(pixels).resize((12, 8), Image.Resampling.BICUBIC)
    images = torch.from_numpy(pixels).double().permute(2, 0, 1)[None] / 127.5 - 1
    found = (bicubic_quarter(images)[0].permute(1, 2, 0) + 1) * 127.5
    assert float((found - torch.from_numpy(np.array(small)).double()).abs().max()) <= 1


def test_bicubic_quarter_stays_in_range() -> None:
    edge = torch.full((1, 3, 16, 16), -1.0)
    edge[..., 8:] = 1
    found = bicubic_quarter(edge)
    assert found.min() >= -1
    assert found.max() <= 1


def test_l1_is_the_mean_difference_of_each_sample() -> None:
    a, b = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    b[0], b[1, 0] = 0.5, 3.0
    torch.testing.assert_close(l1(a, b), torch.tensor([0.5, 1.0]))


def test_low_pass_l1_does_not_see_the_finest_pattern() -> None:
    checkers = torch.ones(1, 3, 16, 16)
    checkers[..., ::2, 1::2] = checkers[..., 1::2, ::2] = -1
    plain = torch.zeros_like(checkers)
    assert float(l1(checkers, plain)) == 1
    assert float(low_pass_l1(checkers, plain)) < 0.01
    assert float(low_pass_l1(plain + 0.25, plain)) == pytest.approx(0.25)


def test_latent_distance_is_a_root_mean_square_and_moves_the_flow_alone() -> None:
    latent = torch.full((2, 3, 4, 4), 3.0, requires_grad=True)
    content = torch.tensor([0.0, -1.0]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    content = content.clone().requires_grad_()
    found = latent_distance(latent, content)
    torch.testing.assert_close(found, torch.tensor([3.0, 4.0]))
    found.sum().backward()
    assert content.grad is None
    assert latent.grad is not None


def test_latent_distance_of_equal_latents_has_a_slope() -> None:
    latent = torch.zeros(1, 3, 2, 2, requires_grad=True)
    latent_distance(latent, torch.zeros(1, 3, 2, 2)).sum().backward()
    assert latent.grad is not None
    assert bool(torch.isfinite(latent.grad).all())


def test_energy_is_the_mean_square() -> None:
    torch.testing.assert_close(energy(torch.full((2, 3, 2, 2), -2.0)), torch.tensor([4.0, 4.0]))


@pytest.mark.parametrize(("score", "loss"), [(1.0, 0.0), (0.0, 1.0), (-1.0, 4.0), (3.0, 4.0)])
def test_a_generator_wants_scores_of_one(score: float, loss: float) -> None:
    torch.testing.assert_close(
        generator_gan(torch.full((2, 1, 3, 3), score)), torch.tensor([loss, loss])
    )


def test_a_discriminator_wants_one_for_real_and_zero_for_generated() -> None:
    ones, zeros = torch.ones(4, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    assert float(discriminator_gan(ones, zeros)) == 0
    assert float(discriminator_gan(zeros, ones)) == 1
    assert float(discriminator_gan(ones / 2, zeros + 0.5)) == 0.25


@pytest.mark.parametrize("term", [l1, low_pass_l1, latent_distance])
def test_the_batch_is_the_average_of_its_shares(term: object) -> None:
    assert callable(term)
    a, b = _images(4, 3, 8, 8), _images(4, 3, 8, 8).flip(0)
    shares = [term(a[rows], b[rows]).mean() for rows in (slice(2), slice(2, 4))]
    torch.testing.assert_close(term(a, b).mean(), torch.stack(shares).mean())


def test_without_its_mean_colour_an_image_keeps_what_it_shows() -> None:
    image = _images(2, 3, 8, 8)
    shifted = image + torch.tensor([0.3, -0.2, 0.1]).view(1, 3, 1, 1)
    torch.testing.assert_close(centred(shifted), centred(image))
    torch.testing.assert_close(
        centred(image).mean(dim=(2, 3)), torch.zeros(2, 3), atol=1e-6, rtol=0
    )
