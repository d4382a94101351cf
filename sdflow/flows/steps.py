"""The steps that flows are chained of: a fixed recipe of normalise, mix, and couple."""

from __future__ import annotations

from sdflow.flows.actnorm import ActNorm
from sdflow.flows.base import Sequence
from sdflow.flows.conv1x1 import InvertibleConv1x1
from sdflow.flows.coupling import AffineCoupling, AffineInjector


def transition_block(num_channels: int) -> Sequence:
    """Two pairs of ActNorm and invertible 1x1 convolution, as they stand beside every squeeze."""
    return Sequence(*(_transition_step(num_channels) for _ in range(2)))


def flow_steps(num_channels: int, hidden: int, count: int) -> Sequence:
    """``count`` unconditional steps: ActNorm, 1x1 convolution, coupling."""
    return Sequence(
        *(
            Sequence(
                actnorm=ActNorm(num_channels),
                conv1x1=InvertibleConv1x1(num_channels),
                coupling=AffineCoupling(num_channels, hidden),
            )
            for _ in range(count)
        )
    )


def conditional_flow_steps(
    num_channels: int, hidden: int, context_channels: int, count: int
) -> Sequence:
    """``count`` conditional steps: ActNorm, 1x1 convolution, injector, coupling.

    The last step has no coupling.
    """
    return Sequence(
        *(
            _conditional_step(num_channels, hidden, context_channels, last=index == count - 1)
            for index in range(count)
        )
    )


def _transition_step(num_channels: int) -> Sequence:
    return Sequence(actnorm=ActNorm(num_channels), conv1x1=InvertibleConv1x1(num_channels))


def _conditional_step(
    num_channels: int, hidden: int, context_channels: int, *, last: bool
) -> Sequence:
    step = Sequence(
        actnorm=ActNorm(num_channels),
        conv1x1=InvertibleConv1x1(num_channels),
        injector=AffineInjector(num_channels, hidden, context_channels),
    )
    if not last:
        step.add_module("coupling", AffineCoupling(num_channels, hidden, context_channels))
    return step
