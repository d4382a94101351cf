"""Convolutions as values, and the border trick that spares copies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # torch's own convention

_TYPICAL_SIDE = 128  # px; a layout that suits one size suits all, and changes no bit
_LANES = 16  # output channels in a multiple of a vector's length run at full speed


@dataclass(frozen=True, slots=True)
class Precision:
    """The floating types of an inference form.

    Attributes:
        net: Of the feature and coupling networks: nearly all of the work.
        flow: Of the latents, their 1x1 mixing, and what scales and shifts them.
    """

    net: torch.dtype
    flow: torch.dtype


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution with zero padding; weight (C_out, C_in, k, k).

    On a CPU oneDNN is called by name: left to itself torch takes other kernels for small tensors
    or a single thread, and then the last bits of an image would depend on its batch.
    """

    weight: Tensor
    bias: Tensor | None
    padding: int = 0

    def __call__(self, x: Tensor, *, slope: float = 1.0) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H + 2 padding - k + 1, ...), leaky ReLU after it."""
        if _by_name(x):
            return _run_by_name(self, x, slope)
        out = F.conv2d(x, self.weight, self.bias, padding=self.padding)
        return out if slope == 1 else F.leaky_relu_(out, slope)


def _by_name(x: Tensor) -> bool:
    if x.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if x.dtype == torch.bfloat16:  # old processors: torch computes it in another way
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001  # no public name
    return x.dtype == torch.float32


def _packed(weight: Tensor, padding: int) -> Tensor:
    """A weight as oneDNN's kernels read it; otherwise every call lays it out anew."""
    pads, ones = [padding] * 2, [1, 1]
    like = [1, weight.shape[1], _TYPICAL_SIDE, _TYPICAL_SIDE]
    pack = torch.ops.mkldnn._reorder_convolution_weight  # noqa: SLF001  # as below
    packed: Tensor = pack(weight, pads, ones, ones, 1, like)
    return packed


def _run_by_name(conv: Conv, x: Tensor, slope: float) -> Tensor:
    pads, ones = [conv.padding] * 2, [1, 1]
    activation = ("none", [], "") if slope == 1 else ("leaky_relu", [slope], "")
    run = torch.ops.mkldnn._convolution_pointwise  # noqa: SLF001  # torch has no public name for it
    out: Tensor = run(x, conv.weight, conv.bias, pads, ones, ones, 1, *activation)
    return out


def make_conv(weight: Tensor, bias: Tensor | None, dtype: torch.dtype, *, padding: int = 0) -> Conv:
    """A convolution in ``dtype`` with weights laid out as channels_last inputs want them."""
    weight = weight.to(dtype=dtype, memory_format=torch.channels_last)
    weight = _packed(weight, padding) if _by_name(weight) else weight
    return Conv(weight, None if bias is None else bias.to(dtype), padding)


def take_conv(conv: nn.Conv2d, dtype: torch.dtype, *, scale: float = 1.0, padding: int = 1) -> Conv:
    """The weights of a layer, its output times ``scale``; padding as given, whatever it had."""
    weight, bias = weight_and_bias(conv)
    return make_conv(scale * weight, scale * bias, dtype, padding=padding)


def weight_and_bias(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias in float64, in which everything is folded."""
    weight = conv.weight.double()
    bias = weight.new_zeros(weight.shape[0]) if conv.bias is None else conv.bias.double()
    return weight, bias


def pad_lanes(tensor: Tensor) -> Tensor:
    """Zero rows at the end, up to whole vectors of output channels; fewer than one stay alone."""
    missing = -tensor.shape[0] % _LANES if tensor.shape[0] > _LANES else 0
    return torch.cat([tensor, tensor.new_zeros(missing, *tensor.shape[1:])])


def reflect(x: Tensor) -> Tensor:
    """A copy with one more pixel on each side, reflected."""
    return F.pad(x, (1, 1, 1, 1), mode="reflect")


def reflect_ring_(x: Tensor) -> Tensor:
    """Overwrite the outermost pixels by reflecting the ones inside, in place.

    A layer that reflects at its border then needs no padded copy: tensors carry the ring along,
    the convolution computes it wrongly, and this puts it right.
    """
    x[:, :, 0] = x[:, :, 2]
    x[:, :, -1] = x[:, :, -3]
    x[:, :, :, 0] = x[:, :, :, 2]
    x[:, :, :, -1] = x[:, :, :, -3]
    return x
