"""Feature networks in their inference form."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # torch's own convention

from sdflow.model.fuse.conv import (
    Conv,
    Precision,
    make_conv,
    reflect,
    reflect_ring_,
    take_conv,
    weight_and_bias,
)

if TYPE_CHECKING:
    from sdflow.model.encoder import Encoder, ModulatedBlock, Modulation
    from sdflow.model.layers import CellCondition, ConditionNet, DenseBlock

_SLOPE = 0.2
_EPS = 1e-6  # of the encoder's soft bound


class FusedDenseBlock:
    """Five convolutions over all before; the residual scale is in the last one's weights."""

    def __init__(self, block: DenseBlock, dtype: torch.dtype, *, scale: float) -> None:
        convs = [cast("nn.Conv2d", conv) for conv in block.children()]
        self._inner = [take_conv(conv, dtype) for conv in convs[:-1]]
        self._last = take_conv(convs[-1], dtype, scale=scale)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape."""
        seen = x
        for conv in self._inner:
            seen = torch.cat([seen, conv(seen, slope=_SLOPE)], dim=1)
        return self._last(seen).add_(x)


class FusedConditionNet:
    """Features of a condition (B, C, H, W) in the network's type."""

    def __init__(self, net: ConditionNet, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._conv_in = take_conv(net.conv_in, dtype, padding=0)
        self._trunk = [
            [
                FusedDenseBlock(cast("DenseBlock", block), dtype, scale=0.2)
                for block in rrdb.children()
            ]
            for rrdb in net.trunk
        ]
        self._conv_trunk = take_conv(net.conv_trunk, dtype, padding=0)
        self._conv_out1 = take_conv(net.conv_out1, dtype, padding=0)
        self._conv_out2 = take_conv(net.conv_out2, dtype, padding=0)

    def __call__(self, condition: Tensor) -> Tensor:
        """Compute the features."""
        shallow = self._conv_in(reflect(condition.to(self._dtype)))
        deep = shallow
        for blocks in self._trunk:
            out = deep
            for block in blocks:
                out = block(out)
            deep = out.mul_(0.2).add_(deep)
        features = self._conv_trunk(reflect(deep)).add_(shallow)
        features = self._conv_out1(reflect(features), slope=_SLOPE)
        return self._conv_out2(reflect(features))


class FusedCellCondition:
    """A condition net whose features are gathered into 2x2 cells: (B, C, H/2, W/2)."""

    def __init__(self, condition: CellCondition, dtype: torch.dtype) -> None:
        self._net = FusedConditionNet(condition.net, dtype)
        self._conv = take_conv(condition.conv, dtype, padding=0)

    def __call__(self, condition: Tensor) -> Tensor:
        """Compute the features of every cell."""
        cells = F.pixel_unshuffle(self._net(condition), 2)
        return self._conv(cells, slope=_SLOPE)


class FusedEncoder:
    """LR image (B, 3, h, w) to content latent in the flow's type."""

    def __init__(self, encoder: Encoder, precision: Precision) -> None:
        dtype = precision.net
        self._dtype = precision
        self._conv_in = take_conv(encoder.conv_in, dtype)
        self._modulations = [
            take_conv(cast("nn.Conv2d", conv), dtype) for conv in encoder.modulations
        ]
        self._trunk = [
            _FusedModulatedBlock(cast("ModulatedBlock", block), dtype) for block in encoder.trunk
        ]
        self._conv_out1 = take_conv(encoder.conv_out1, dtype, padding=0)
        self._conv_out2 = take_conv(encoder.conv_out2, precision.flow, padding=0)

    def __call__(self, lr: Tensor) -> Tensor:
        """Extract the content."""
        # Every tensor carries a ring of one reflected pixel, so that no layer copies to pad.
        padded = reflect(lr.to(self._dtype.net))
        shallow = reflect_ring_(self._conv_in(padded, slope=_SLOPE))
        modulation = shallow
        for conv in self._modulations:
            modulation = reflect_ring_(conv(modulation, slope=_SLOPE))
        deep = shallow
        for block in self._trunk:
            deep = block(deep, modulation)
        features = self._conv_out1(deep.add_(shallow), slope=_SLOPE)
        return self._conv_out2(features.to(self._dtype.flow))


class _FusedModulatedBlock:
    """x + 0.1 conv(mod2(lrelu(conv(mod1(x))))), bounds and factors folded into the weights.

    With the bound b = e^a a modulation is x b tanh(s / (b + 1e-6)) + t, and tanh(v) is
    2 (sigmoid(2 v) - 1/2). The convolution after it gets the factor 2 b, the 1x1 convolution
    before it -2 / (b + 1e-6) for s and 1 / (2 b) for t.
    """

    def __init__(self, block: ModulatedBlock, dtype: torch.dtype) -> None:
        self._modulate1 = _FusedModulation(block.modulation1, dtype)
        self._modulate2 = _FusedModulation(block.modulation2, dtype)
        self._conv1 = _scaled_input(block.conv1, self._modulate1.gain, 1.0, dtype)
        self._conv2 = _scaled_input(block.conv2, self._modulate2.gain, 0.1, dtype)

    def __call__(self, x: Tensor, modulation: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape, reflected ring included."""
        h = reflect_ring_(self._conv1(self._modulate1(x, modulation), slope=_SLOPE))
        h = self._conv2(self._modulate2(h, modulation))
        return reflect_ring_(h.add_(x))


class _FusedModulation:
    """Scale and shift in two convolutions: element-wise work wants them each in one piece."""

    def __init__(self, modulation: Modulation, dtype: torch.dtype) -> None:
        bound = modulation.log_scale.double().exp()
        self.gain = 2 * bound
        weight, bias = weight_and_bias(modulation.affine)
        half = weight.shape[0] // 2
        factors = (-2 / (bound + _EPS), 0.5 / bound)
        self._scale, self._shift = (
            make_conv(part * factor, offset * factor, dtype)
            for part, offset, factor in zip(
                weight.split(half), bias.split(half), factors, strict=True
            )
        )

    def __call__(self, x: Tensor, modulation: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape, divided by ``gain``."""
        shift = self._shift(modulation)
        return torch.addcmul(shift, x, _squash_(self._scale(modulation)), out=shift)


def _squash_(s: Tensor) -> Tensor:
    """Half of tanh(-s / 2), by operations that round alike wherever a value lies in a tensor.

    torch's tanh takes three times as long, and its sigmoid differs in the last bit between vectors
    and their remainder: an image's bits would depend on its batch.
    """
    wide = s if s.dtype == torch.float64 else s.float()
    return wide.exp_().add_(1).reciprocal_().sub_(0.5).to(s.dtype)


def _scaled_input(conv: nn.Conv2d, factor: Tensor, scale: float, dtype: torch.dtype) -> Conv:
    weight, bias = weight_and_bias(conv)
    return make_conv(weight * factor * scale, bias * scale, dtype, padding=1)
