from __future__ import annotations

import pytest
import torch

from sdflow.model.encoder import Modulation
from sdflow.model.sdflow import SDFlow
from tests.model.seeded import TINY, seeded_model


def _images(*shape: int) -> torch.Tensor:
    return (
        torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    )


def test_hr_flow_inverts_its_own_encoding() -> None:
    model = seeded_model(TINY).double()
    hr = _images(2, 3, 16, 24)
    content, noise, _ = model.hr_flow.encode(hr)
    torch.testing.assert_close(model.hr_flow.decode(content, noise), hr, rtol=0, atol=1e-9)


def test_hr_likelihood_is_the_density_of_the_whole_map() -> None:
    model = seeded_model(TINY).double()
    hr = _images(1, 3, 8, 8)

    def latent(values: torch.Tensor) -> torch.Tensor:
        content, noise, _ = model.hr_flow.encode(values.view(1, 3, 8, 8))
        return torch.cat([content.flatten(), noise.flatten()])

    jacobian = torch.autograd.functional.jacobian(latent, hr.flatten())
    _, noise, log_det = model.hr_flow.encode(hr)
    torch.testing.assert_close(log_det[0], torch.linalg.slogdet(jacobian)[1], rtol=1e-9, atol=1e-9)
    prior = torch.distributions.Normal(0, 1).log_prob(noise).sum()
    torch.testing.assert_close(model.hr_log_prob(hr)[0], prior + log_det[0], rtol=1e-5, atol=1e-5)


def test_condition_of_the_high_frequencies_gets_no_gradient() -> None:
    model = seeded_model(TINY).double()
    content = _images(1, 3, 4, 4).requires_grad_()
    noise = _images(1, 45, 4, 4)
    (detached,) = torch.autograd.grad(model.hr_flow.decode(content, noise).sum(), content)
    high_frequency, _ = model.hr_flow.hf_flow.inverse(noise, model.hr_flow.condition(content))
    full = torch.cat([content, high_frequency], dim=1)
    (attached,) = torch.autograd.grad(model.hr_flow.blocks.inverse(full)[0].sum(), content)
    assert not torch.allclose(detached, attached)


def test_modulation_bound_keeps_its_small_constant() -> None:
    layer = Modulation(1).double()
    torch.nn.init.constant_(layer.log_scale, -14.0)
    torch.nn.init.ones_(layer.affine.weight)
    torch.nn.init.zeros_(layer.affine.bias)  # type: ignore[arg-type]  # the layer has a bias
    bound = torch.tensor(-14.0, dtype=torch.float64).exp()
    expected = torch.tanh(5e-7 / (bound + 1e-6)) * bound
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    value = layer(one, one * 5e-7).item() - 5e-7  # scale and shift are both 5e-7
    assert value == pytest.approx(expected.item(), rel=1e-6)


def test_samples_differ_and_temperature_zero_ignores_the_noise() -> None:
    model = seeded_model(TINY).double()
    lr, noise = _images(1, 3, 6, 6), _images(2, 45, 6, 6)
    first, second = (model.upscale(lr, tau=0.8, noise=noise[i : i + 1]) for i in (0, 1))
    assert not torch.allclose(first, second)
    quiet = [model.upscale(lr, tau=0, noise=noise[i : i + 1]) for i in (0, 1)]
    assert torch.equal(*quiet)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.encode_content(torch.zeros(1, 3, 1, 5)), "at least 2"),
        (lambda m: m.encode_content(torch.zeros(3, 5, 5)), "image batch"),
        (lambda m: m.hr_content(torch.zeros(1, 3, 10, 8)), "multiples of 4"),
        (lambda m: m.lr_log_prob(torch.zeros(1, 3, 5, 4)), "multiples of 2"),
        (
            lambda m: m.upscale(torch.zeros(1, 3, 4, 4), tau=0, noise=torch.zeros(1, 3, 4, 4)),
            "noise",
        ),
        (
            lambda m: m.upscale(torch.zeros(1, 3, 4, 4), tau=2, noise=torch.zeros(1, 45, 4, 4)),
            "tau",
        ),
        (
            lambda m: m.downscale(
                torch.zeros(1, 3, 8, 16), tau=0, noise=torch.zeros(0), component=torch.zeros(1)
            ),
            "at least 16",
        ),
        (
            lambda m: m.downscale(
                torch.zeros(1, 3, 16, 16),
                tau=0,
                noise=torch.zeros(1, 12, 2, 2),
                component=torch.zeros(2),
            ),
            "component",
        ),
    ],
)
def test_wrong_shapes_are_refused_by_name(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=message):
        call(seeded_model(TINY))


def test_fresh_model_trains_first_and_infers_then() -> None:
    model = SDFlow(TINY)
    hr, lr = _images(2, 3, 16, 16).float(), _images(2, 3, 8, 8).float()
    loss = -(model.hr_log_prob(hr).mean() + model.lr_log_prob(lr).mean())
    loss.backward()
    assert all(tensor.grad is not None for tensor in model.parameters() if tensor.numel() > 1)
    model.eval()
    noise = torch.zeros(2, 45, 8, 8)
    assert torch.isfinite(model.upscale(lr, tau=0, noise=noise)).all()
