"""Gradients of every layer, both ways, against differences."""

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

_CONTEXT = 3
_LAYERS: dict[str, Callable[[], Transform]] = {
    "actnorm": lambda: ActNorm(4),
    "conv1x1": lambda: InvertibleConv1x1(4),
    "coupling": lambda: AffineCoupling(4, 5),
    "conditional coupling": lambda: AffineCoupling(4, 5, _CONTEXT),
    "injector": lambda: AffineInjector(4, 5, _CONTEXT),
    "squeeze": Squeeze,
    "unsqueeze": Unsqueeze,
    "transition": lambda: transition_block(4),
    "steps": lambda: flow_steps(4, 5, 2),
    "conditional steps": lambda: conditional_flow_steps(4, 5, _CONTEXT, 2),
}


def _layer(name: str) -> Transform:
    """In double precision, its nets drawn: none is the identity, none so quiet that differences
    cross the corners of its rectifiers.
    """
    torch.manual_seed(0)
    layer = _LAYERS[name]().double().train()
    for key, parameter in layer.named_parameters():
        if ".conv" in f".{key}" and "conv1x1" not in key:
            torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        layer(_input(1), _input(2, _CONTEXT))  # sets every ActNorm
    return layer


def _input(seed: int, channels: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, channels, 4, 4, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("way", ["forward", "inverse"])
@pytest.mark.parametrize("name", _LAYERS)
def test_gradients_of_input_context_and_parameters_are_right(name: str, way: str) -> None:
    layer = _layer(name)
    x, context = _input(30).requires_grad_(), _input(4, _CONTEXT).requires_grad_()
    names = [key for key, _ in layer.named_parameters()]
    values = [parameter.detach().clone().requires_grad_() for parameter in layer.parameters()]

    class Way(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
            result: tuple[Tensor, Tensor] = getattr(self.layer, way)(x, context)
            return result

    module = Way()

    def both(x: Tensor, context: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        state = {f"layer.{key}": value for key, value in zip(names, parameters, strict=True)}
        value, log_det = torch.func.functional_call(module, state, (x, context))
        return value, log_det + 0 * x.sum()  # some log-determinants depend on parameters alone

    assert torch.autograd.gradcheck(both, (x, context, *values), fast_mode=True)


def test_autocast_leaves_mixing_exact_and_rounds_the_nets_alone() -> None:
    layer, x = InvertibleConv1x1(6), torch.randn(1, 6, 8, 8)
    wanted, _ = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = layer(x)
        back, _ = layer.inverse(found)
    assert found.dtype == torch.float32
    assert torch.equal(found, wanted)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-5)
    coupling = AffineCoupling(6, 8)
    torch.nn.init.normal_(coupling.net.conv3.conv.weight)
    wanted, _ = coupling(x)
    with torch.autocast("cpu", torch.bfloat16):
        found, log_det = coupling(x)
    assert found.dtype == log_det.dtype == torch.float32
    assert torch.equal(found[:, :3], wanted[:, :3])
    assert not torch.equal(found[:, 3:], wanted[:, 3:])
    torch.testing.assert_close(found, wanted, rtol=0.1, atol=0.1)
