"""Flows in their inference form: one direction, in place, log-determinants only where asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # torch's own convention

from sdflow.flows.actnorm import ActNorm
from sdflow.flows.base import Sequence
from sdflow.flows.conv1x1 import InvertibleConv1x1
from sdflow.flows.coupling import AffineCoupling, AffineInjector
from sdflow.flows.squeeze import Squeeze, Unsqueeze
from sdflow.model.fuse.affine import Affine
from sdflow.model.fuse.conv import Conv, Precision, reflect
from sdflow.model.fuse.coupling import FusedCoupling, FusedInjector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdflow.flows.base import Transform

Context: TypeAlias = tuple[Any, ...]
"""What each conditional layer of a flow makes of the features, in the order they run."""

_Op: TypeAlias = "Conv | FusedCoupling | FusedInjector | Callable[[Tensor], Tensor]"


class FusedFlow:
    """A flow in one direction; ActNorms and 1x1 convolutions between couplings are one matrix.

    Args:
        flow: In its training form.
        precision: Types to run in.
        inverse: From the latent to the image.
        outputs: How many of the last map's first channels are wanted; a coupling after that map
            that leaves them alone is dropped. None for all.

    Attributes:
        affine_log_det: What the matrices alone add to the log-determinant, in nats for every
            position of theirs.
    """

    def __init__(
        self, flow: Sequence, precision: Precision, *, inverse: bool, outputs: int | None = None
    ) -> None:
        leaves = list(_leaves(flow))
        if inverse:
            leaves.reverse()
        if outputs is not None and isinstance(leaves[-1], AffineCoupling):
            leaves.pop()
        parts = list(_folded(leaves, inverse=inverse))
        self.affine_log_det = sum(part.log_det for part in parts if isinstance(part, Affine))
        if outputs is not None and isinstance(parts[-1], Affine):
            parts[-1] = parts[-1].rows(outputs)
        self._ops = [_op(part, precision, inverse=inverse) for part in parts]
        self._conditional = [
            op
            for op in self._ops
            if isinstance(op, FusedInjector)
            or (isinstance(op, FusedCoupling) and op.is_conditional)
        ]

    def context(self, features: Tensor, log_scale: Tensor | None = None) -> Context:
        """Everything that the layers need of the features (B, C, H, W), for all samples.

        The logarithms of the injectors' factors are added to ``log_scale``, if given, in place.
        """
        padded = reflect(features)
        return tuple(
            op.context(padded, log_scale) if isinstance(op, FusedInjector) else op.context(padded)
            for op in self._conditional
        )

    def __call__(self, z: Tensor, context: Context = (), log_scale: Tensor | None = None) -> Tensor:
        """Run z (B, C, H, W) through; z itself may be overwritten.

        The logarithms of the couplings' factors are added to ``log_scale``, if given, in place: of
        a flow whose couplings all change as many channels, at as many positions.
        """
        conditions = iter(context)
        for op in self._ops:
            if isinstance(op, FusedInjector):
                op(z, next(conditions))
            elif isinstance(op, FusedCoupling):
                op(z, next(conditions) if op.is_conditional else None, log_scale)
            else:
                z = op(z)
        return z


def _leaves(flow: Transform) -> Iterator[Transform]:
    if isinstance(flow, Sequence):
        for part in flow.children():
            yield from _leaves(cast("Transform", part))
    else:
        yield flow


def _folded(leaves: list[Transform], *, inverse: bool) -> Iterator[Affine | Transform]:
    """The leaves, neighbours that are affine put together, in the flow's direction."""
    affine: Affine | None = None
    for leaf in leaves:
        if isinstance(leaf, ActNorm | InvertibleConv1x1):
            one = Affine.of_actnorm(leaf) if isinstance(leaf, ActNorm) else Affine.of_conv1x1(leaf)
            one = one.inverse() if inverse else one
            affine = one if affine is None else affine.then(one)
            continue
        if affine is not None:
            yield affine
            affine = None
        yield leaf
    if affine is not None:
        yield affine


def _op(part: Affine | Transform, precision: Precision, *, inverse: bool) -> _Op:
    if isinstance(part, Affine):
        return part.to_conv(precision.flow)
    if isinstance(part, AffineCoupling):
        return FusedCoupling(part, precision, inverse=inverse)
    if isinstance(part, AffineInjector):
        return FusedInjector(part, precision, inverse=inverse)
    if isinstance(part, Squeeze):
        return _unsqueeze if isinstance(part, Unsqueeze) != inverse else _squeeze
    raise TypeError(f"no inference form of {type(part).__name__}")


def _squeeze(x: Tensor) -> Tensor:
    return F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)


def _unsqueeze(x: Tensor) -> Tensor:
    return F.pixel_shuffle(x, 2).contiguous(memory_format=torch.channels_last)
