"""One law for every layer: it inverts, and its log_det is the Jacobian's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sdflow.flows.actnorm import ActNorm
from sdflow.flows.base import Transform
from sdflow.flows.conv1x1 import InvertibleConv1x1
from sdflow.flows.coupling import AffineCoupling, AffineInjector
from sdflow.flows.squeeze import Squeeze, Unsqueeze
from sdflow.flows.steps import conditional_flow_steps, flow_steps, transition_block

_LAYERS: dict[str, tuple[Callable[[], Transform], int]] = {
    "actnorm": (lambda: ActNorm(3), 3),
    "conv1x1": (lambda: InvertibleConv1x1(3), 3),
    "squeeze": (Squeeze, 3),
    "unsqueeze": (Unsqueeze, 4),
    "coupling": (lambda: AffineCoupling(3, 4), 3),
    "conditional coupling": (lambda: AffineCoupling(3, 4, 2), 3),
    "injector": (lambda: AffineInjector(3, 4, 2), 3),
    "transition": (lambda: transition_block(3), 3),
    "steps": (lambda: flow_steps(3, 4, 2), 3),
    "conditional steps": (lambda: conditional_flow_steps(3, 4, 2, 2), 3),
}


def _layer(name: str) -> tuple[Transform, Tensor, Tensor]:
    make, channels = _LAYERS[name]
    torch.manual_seed(1)
    layer = make().double()
    x, context = torch.randn(2, channels, 4, 2).double(), torch.randn(2, 2, 4, 2).double()
    layer.train()(x * 1.7 + 0.3, context)  # a first batch starts every ActNorm
    for parameter in layer.parameters():  # couplings start as the identity: shake them
        torch.nn.init.normal_(parameter, std=0.3)
    return layer.eval().requires_grad_(requires_grad=False), x, context


@pytest.mark.parametrize("name", _LAYERS)
def test_inverse_undoes_forward_and_log_dets_cancel(name: str) -> None:
    layer, x, context = _layer(name)
    y, log_det = layer(x, context)
    back, inverse_log_det = layer.inverse(y, context)
    assert log_det.shape == (2,)
    assert torch.isfinite(y).all()
    torch.testing.assert_close(back, x, rtol=0, atol=1e-9)
    torch.testing.assert_close(
        log_det + inverse_log_det, torch.zeros(2).double(), atol=1e-9, rtol=0
    )


@pytest.mark.parametrize("name", _LAYERS)
def test_log_det_is_that_of_the_jacobian(name: str) -> None:
    layer, x, context = _layer(name)

    def flat(values: Tensor) -> Tensor:
        y: Tensor = layer(values.view_as(x[:1]), context[:1])[0]
        return y.flatten()

    jacobian = torch.autograd.functional.jacobian(flat, x[:1].flatten())
    _, expected = torch.linalg.slogdet(jacobian)
    _, log_det = layer(x[:1], context[:1])
    torch.testing.assert_close(log_det[0], expected, rtol=1e-9, atol=1e-9)


def test_squeeze_orders_channels_as_pixel_unshuffle_does() -> None:
    x = torch.arange(2 * 4 * 4.0).view(1, 2, 4, 4)
    y, _ = Squeeze()(x)
    for c, dy, dx in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 1, 1)]:
        torch.testing.assert_close(y[0, 4 * c + 2 * dy + dx], x[0, c, dy::2, dx::2])


def test_first_half_of_the_channels_passes_a_coupling() -> None:
    layer, x, _ = _layer("coupling")
    y, _ = layer(x)
    assert torch.equal(y[:, :1], x[:, :1])
    assert not torch.allclose(y[:, 1:], x[:, 1:])


def test_conditional_flow_has_no_coupling_in_its_last_step() -> None:
    steps = list(conditional_flow_steps(4, 4, 2, 3).children())
    assert [hasattr(step, "coupling") for step in steps] == [True, True, False]
