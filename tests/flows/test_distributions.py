from __future__ import annotations

import math

import torch

from sdflow.flows.distributions import (
    GaussianMixture,
    gaussian_log_density,
    gaussian_sample,
    standard_normal_log_prob,
)


def test_density_is_the_normal_one_but_for_its_small_constant() -> None:
    x, mean, std = torch.randn(50).double(), torch.tensor(0.4).double(), torch.tensor(1.7).double()
    expected = torch.distributions.Normal(mean, std).log_prob(x)
    torch.testing.assert_close(
        gaussian_log_density(x, mean, std.log()), expected, atol=1e-5, rtol=0
    )


def test_small_constant_stands_beside_the_variance() -> None:
    x = torch.tensor(1e-3, dtype=torch.float64)
    log_std = x.log()
    expected = -0.5 * (2 * math.log(1e-3) + 1e-6 / 2e-6 + math.log(2 * math.pi))
    value = gaussian_log_density(x, torch.zeros(()).double(), log_std)
    assert math.isclose(value.item(), expected, rel_tol=1e-12)


def test_standard_normal_sums_over_everything_but_the_batch() -> None:
    x = torch.randn(2, 3, 4, 5)
    expected = torch.distributions.Normal(0, 1).log_prob(x).sum(dim=(1, 2, 3))
    torch.testing.assert_close(standard_normal_log_prob(x), expected, rtol=1e-5, atol=1e-3)


def test_temperature_scales_the_noise_and_zero_gives_the_mean() -> None:
    mean, log_std, noise = torch.tensor(2.0), torch.tensor(0.0), torch.randn(9)
    assert torch.equal(gaussian_sample(mean, log_std, noise, 0), torch.full((9,), 2.0))
    expected = 2 + (1 + 1e-6) * 0.5 * noise
    torch.testing.assert_close(gaussian_sample(mean, log_std, noise, 0.5), expected)


def test_mixture_weighs_its_components_equally_for_every_element() -> None:
    mixture = GaussianMixture(3).double()
    x = torch.randn(2, 2, 3, 3).double()
    components = torch.distributions.Normal(mixture.means, mixture.log_stds.exp())
    each = components.log_prob(x[..., None]).exp().mean(dim=-1).log()
    torch.testing.assert_close(mixture.log_prob(x), each.sum(dim=(1, 2, 3)), rtol=1e-5, atol=1e-4)


def test_every_image_can_have_its_own_temperature() -> None:
    mixture, noise, component = GaussianMixture(3), torch.randn(3, 12, 2, 2), torch.arange(3)
    drawn = mixture.sample(noise, component, torch.tensor([0.0, 0.3, 1.0]).view(-1, 1, 1, 1))
    for index, tau in enumerate((0.0, 0.3, 1.0)):
        some = slice(index, index + 1)
        assert torch.equal(drawn[some], mixture.sample(noise[some], component[some], tau))


def test_components_as_quadratics_are_the_same_density() -> None:
    mixture, x = GaussianMixture(3).double(), torch.randn(2, 2, 3, 3).double()
    means, sharpnesses, heights = mixture.quadratics()
    terms = heights - sharpnesses * (x.unsqueeze(-1) - means).square()
    density = terms.logsumexp(dim=-1).sum(dim=(1, 2, 3))
    torch.testing.assert_close(density, mixture.log_prob(x), rtol=1e-12, atol=0)


def test_mixture_draws_one_component_for_a_whole_image() -> None:
    mixture = GaussianMixture(4)
    component = torch.tensor([3, 1])
    drawn = mixture.sample(torch.zeros(2, 12, 3, 3), component, 0.8)
    assert torch.equal(drawn[0].unique(), mixture.means[3:4])
    assert torch.equal(drawn[1].unique(), mixture.means[1:2])
