"""A start that halves the work: the model begins as a block mean and its nearest-pixel inverse.

Random rotations make a flow learn first what a photo is. Instead, every squeeze's first mix is the
orthonormal Haar transform with the averages first, the other mixes are identities or, an even
number of times, reversals of the channels; z_c begins as the normalised 4x4 block mean. The
encoder and the LR flow then begin as the affine map that fits it (measured; ours).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from sdflow.flows.actnorm import ActNorm
from sdflow.flows.conv1x1 import InvertibleConv1x1
from sdflow.flows.coupling import CouplingNet
from sdflow.flows.ranks import average_over_ranks
from sdflow.model.layers import CellCondition, ConditionNet, DenseBlock
from sdflow.training.losses import bicubic_quarter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from sdflow.flows.base import Sequence, Transform
    from sdflow.model.encoder import Encoder
    from sdflow.model.sdflow import SDFlow

_SLOPE = 0.2  # of the encoder's leaky rectifiers
_LEAST_SCALE = 1e-3
_DENSE_GAIN = 0.5  # residual trunks add up


def haar_mix(num_colours: int) -> Tensor:
    """The orthonormal Haar transform of squeezed 2x2 cells, float32 (4C, 4C); determinant 1 or -1.

    Rows 0 to C - 1 are half the sums of the cells; those behind the three differences of each.
    """
    patterns = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    mix = torch.zeros(4 * num_colours, 4 * num_colours)
    for colour in range(num_colours):
        cells = slice(4 * colour, 4 * colour + 4)
        mix[colour, cells] = patterns[0]
        mix[num_colours + 3 * colour : num_colours + 3 * colour + 3, cells] = patterns[1:]
    return mix


def start_from_haar(model: SDFlow) -> None:
    """Set every mix of a fresh model, make its encoder the identity and its other nets speak up."""
    for part in (model.hr_flow, model.content_flow, model.deg_flow):
        _start_loud(part)
    for block in model.hr_flow.blocks.children():
        _start_block(block)
    _start_steps(model.hr_flow.hf_flow)
    _start_block(model.content_flow)
    first, second = _mixes(model.content_flow.get_submodule("expand"))
    first.set_weight(haar_mix(3).T)
    second.set_weight(torch.eye(second.num_channels))
    _start_block(model.deg_flow.flow)
    _start_encoder(model.encoder)


@torch.no_grad()
def fit_to_data(model: SDFlow, hr: Tensor, lr: Tensor) -> None:
    """Let a batch set the ActNorms of the HR flow, and encoder and LR flow follow its content.

    Args:
        model: After :func:`start_from_haar`, in training mode.
        hr: Clean patches (B, 3, P, P) in [-1, 1].
        lr: Real LR patches.
    """
    content, _, _ = model.hr_flow.encode(hr)
    scale, shift = _affine_fit(bicubic_quarter(hr), content)
    last = model.encoder.conv_out2
    last.weight.mul_(scale[:, None, None, None])
    cast("Tensor", last.bias).copy_(shift)
    wanted = lr * scale[:, None, None] + shift[:, None, None]
    _follow(model.content_flow, lr, wanted)


@torch.no_grad()
def _start_loud(part: nn.Module) -> None:
    """Give convolutions weights that keep the size of what passes through them (He et al., 2015).

    The published start is ten times quieter: with some nets in a row, hundreds of steps pass
    before what they see reaches the zero convolutions at their ends.
    """
    for net in part.modules():
        if isinstance(net, CouplingNet):
            _start_convs((net.conv1, net.conv2), 1.0)
        elif isinstance(net, DenseBlock):
            _start_convs(net.children(), _DENSE_GAIN)
        elif isinstance(net, ConditionNet):
            _start_convs((net.conv_in, net.conv_trunk, net.conv_out1, net.conv_out2), 1.0)
        elif isinstance(net, CellCondition):
            _start_convs((net.conv,), 1.0)


def _start_convs(convs: Iterable[nn.Module], gain: float) -> None:
    for conv in convs:
        weight = cast("Tensor", conv.weight)
        nn.init.kaiming_normal_(weight, a=_SLOPE)
        weight.mul_(gain)


def _start_block(block: nn.Module) -> None:
    """A squeeze, its transition and its steps."""
    first, second = _mixes(block.get_submodule("transition"))
    first.set_weight(haar_mix(first.num_channels // 4))
    second.set_weight(torch.eye(second.num_channels))
    _start_steps(block.get_submodule("steps"))


def _start_steps(steps: nn.Module) -> None:
    """Identities, and reversals in alternate steps: an even number of them, so that all return."""
    mixes = _mixes(steps)
    reversed_until = len(mixes) // 4 * 4
    for index, mix in enumerate(mixes):
        eye = torch.eye(mix.num_channels)
        mix.set_weight(eye.flip(0) if index % 2 and index < reversed_until else eye)


@torch.no_grad()
def _start_encoder(encoder: Encoder) -> None:
    """Make the encoder the identity but for its trunk's small part.

    Channels 0 to 2 carry x, 3 to 5 carry -x; what two leaky rectifiers leave of a pair differs by
    2 (1 + slope^2) x, for features count twice before the second.
    """
    centre = torch.zeros(6, 3)
    centre[:3], centre[3:] = torch.eye(3), -torch.eye(3)
    for conv, taps in ((encoder.conv_in, centre), (encoder.conv_out1, torch.eye(6))):
        conv.weight[:6] = 0
        conv.weight[:6, : taps.shape[1], 1, 1] = taps
        cast("Tensor", conv.bias)[:6] = 0
    last = encoder.conv_out2
    last.weight.zero_()
    last.weight[:, :6, 0, 0] = centre.T / (2 * (1 + _SLOPE**2))
    cast("Tensor", last.bias).zero_()


def _follow(flow: Sequence, images: Tensor, wanted: Tensor) -> None:
    """Let an LR flow's way out undo what its way in does to scale and mean, towards ``wanted``."""
    parts = {name: cast("Transform", part) for name, part in flow.named_children()}
    cells = images
    for name in ("squeeze", "transition", "steps"):
        cells, _ = parts[name](cells)
    target = torch.einsum("ij,bjhw->bihw", haar_mix(3).to(cells), parts["squeeze"](wanted)[0])
    scale, shift = _affine_fit(cells, target)
    scale = scale.clamp(min=_LEAST_SCALE)
    first, second = (part for part in parts["expand"].modules() if isinstance(part, ActNorm))
    first.start(loc=shift / scale, scale=scale)
    second.start(loc=torch.zeros_like(shift), scale=torch.ones_like(scale))


def _affine_fit(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift, each (C,), by which x comes closest to y, over all ranks."""
    values = [x, y, x * x, x * y]
    moments = torch.stack([value.double().mean(dim=(0, 2, 3)) for value in values])
    mean_x, mean_y, mean_xx, mean_xy = average_over_ranks(moments)
    variance = mean_xx - mean_x.square()
    scale = (mean_xy - mean_x * mean_y) / variance.clamp(min=1e-12)
    return scale.to(x.dtype), (mean_y - scale * mean_x).to(x.dtype)


def _mixes(module: nn.Module) -> list[InvertibleConv1x1]:
    return [part for part in module.modules() if isinstance(part, InvertibleConv1x1)]
