"""Couplings and injectors in their inference form: one direction, in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # torch's own convention

from sdflow.model.fuse.conv import (
    Precision,
    make_conv,
    pad_lanes,
    reflect,
    take_conv,
    weight_and_bias,
)

if TYPE_CHECKING:
    from sdflow.flows.coupling import AffineCoupling, AffineInjector, CouplingNet

Factors: TypeAlias = tuple[Tensor, Tensor]
"""Factor and summand for every latent value that a layer changes."""

_SLOPE = 0.01
_SCALE_BOUND = 0.318


class FusedNet:
    """A coupling net for one direction: factor and summand of the channels it changes.

    Forward x becomes (x + t) e^s, inverse x e^-s - t. The factor 2 inside atan, the signs of the
    inverse and exp(3 logs) are in the last convolution's weights, whose outputs are sorted: all
    scales, then all shifts.
    """

    def __init__(self, net: CouplingNet, precision: Precision, *, inverse: bool) -> None:
        self._channels = channels = net.conv3.conv.out_channels // 2
        self._inverse = inverse
        self._flow = precision.flow
        self._conv2 = take_conv(net.conv2, precision.net, padding=0)
        weight, bias = weight_and_bias(net.conv3.conv)
        gain = (3 * net.conv3.logs.double()).exp().flatten()
        gain[0::2] *= 2
        gain = -gain if inverse else gain
        order = [*range(0, 2 * channels, 2), *range(1, 2 * channels, 2)]
        weight, bias = (weight * gain[:, None, None, None])[order], (bias * gain)[order]
        self._conv3 = make_conv(pad_lanes(weight), pad_lanes(bias), precision.net, padding=1)

    def factors(self, h: Tensor, log_scale: Tensor | None = None) -> Factors:
        """What :meth:`apply` takes, from the first layer's output.

        The factors' logarithms (B, channels, H, W) are added to ``log_scale``, if given, in place.
        """
        raw = self._conv3(self._conv2(h, slope=_SLOPE))
        # Element-wise work is slow on a few of many interleaved channels: take them out first.
        scale, shift = (
            part.contiguous(memory_format=torch.channels_last).to(self._flow)
            for part in raw.split(self._channels, dim=1)[:2]
        )
        scale = scale.atan_().mul_(_SCALE_BOUND)
        if log_scale is not None:
            log_scale.add_(scale)
        scale = scale.exp_()
        return scale, shift if self._inverse else shift * scale

    def apply(self, z: Tensor, factors: Factors) -> None:
        """Change z (B, channels, H, W) in place."""
        scale, shift = factors
        torch.addcmul(shift, z, scale, out=z)


class FusedInjector:
    """An injector: everything but two operations depends on the context alone."""

    def __init__(self, injector: AffineInjector, precision: Precision, *, inverse: bool) -> None:
        self._conv1 = take_conv(injector.net.conv1, precision.net, padding=0)
        self._net = FusedNet(injector.net, precision, inverse=inverse)

    def context(self, features: Tensor, log_scale: Tensor | None = None) -> Factors:
        """What the net makes of the features (B, C, H + 2, W + 2), reflected ring included."""
        return self._net.factors(self._conv1(features, slope=_SLOPE), log_scale)

    def __call__(self, z: Tensor, context: Factors) -> None:
        """Inject into z (B, C, H, W), in place."""
        self._net.apply(z, context)


class FusedCoupling:
    """A coupling; the first convolution's part over the context is computed with the context."""

    def __init__(self, coupling: AffineCoupling, precision: Precision, *, inverse: bool) -> None:
        self._kept = kept = coupling.num_kept
        self._dtype = precision.net
        self.is_conditional = coupling.is_conditional
        weight, bias = weight_and_bias(coupling.net.conv1)
        if self.is_conditional:
            self._context_conv = make_conv(weight[:, kept:], bias, precision.net)
        own_bias = None if self.is_conditional else bias
        self._conv1 = make_conv(weight[:, :kept], own_bias, precision.net)
        self._net = FusedNet(coupling.net, precision, inverse=inverse)

    def context(self, features: Tensor) -> Tensor:
        """The first convolution's part over the features (B, C, H + 2, W + 2), ring included."""
        return self._context_conv(features)

    def __call__(
        self, z: Tensor, context: Tensor | None = None, log_scale: Tensor | None = None
    ) -> None:
        """Couple the second part of z (B, C, H, W) to the first, in place."""
        kept = z[:, : self._kept].contiguous(memory_format=torch.channels_last)
        kept = reflect(kept.to(self._dtype))
        if context is None:
            h = self._conv1(kept, slope=_SLOPE)
        else:
            h = F.leaky_relu_(self._conv1(kept).add_(context), _SLOPE)
        self._net.apply(z[:, self._kept :], self._net.factors(h, log_scale))
