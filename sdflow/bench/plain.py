"""The published way of running the model, re-created as the baseline.

Whole image, float32, default memory layout, every 1x1 matrix inverted in every call,
log-determinants computed and thrown away, and the host asked after every flow step (40 times a
pass) whether there is a NaN. Downscaling runs the high-frequency flow too, for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch.nn import functional as F  # noqa: N812  # torch's own convention

from sdflow.flows.base import Sequence, Transform
from sdflow.flows.conv1x1 import InvertibleConv1x1
from sdflow.flows.distributions import gaussian_sample

if TYPE_CHECKING:
    from torch import Tensor

    from sdflow.model.sdflow import SDFlow


def plain_upscale(model: SDFlow, lr: Tensor, noise: Tensor, tau: float) -> Tensor:
    """LR (B, 3, h, w) and noise (B, 45, h, w) to HR (B, 3, 4h, 4w), unclamped."""
    content = model.encoder(lr)
    zero = noise.new_zeros(())
    latent = gaussian_sample(zero, zero, noise, tau)
    context = model.hr_flow.condition(content)
    high_frequency = _run(model.hr_flow.hf_flow, latent, context, inverse=True)
    return _run(model.hr_flow.blocks, torch.cat([content, high_frequency], 1), None, inverse=True)


def plain_downscale(
    model: SDFlow, hr: Tensor, noise: Tensor, component: Tensor, tau: float
) -> Tensor:
    """HR (B, 3, 4h, 4w) and noise (B, 12, h/2, w/2) to LR (B, 3, h, w), unclamped."""
    latent = _run(model.hr_flow.blocks, hr, None, inverse=False)
    content, high_frequency = latent.tensor_split([3], dim=1)
    _run(model.hr_flow.hf_flow, high_frequency, model.hr_flow.condition(content), inverse=False)
    kind = model.deg_flow.prior.sample(noise, component, tau)
    context = model.deg_flow.condition(content)
    degradation = _run(model.deg_flow.flow, kind, context, inverse=True)
    return _run(model.content_flow, content + degradation, None, inverse=True)


def _run(flow: Sequence, z: Tensor, context: Tensor | None, *, inverse: bool) -> Tensor:
    total = z.new_zeros(z.shape[0])
    steps = list(flow.children())
    for step in reversed(steps) if inverse else steps:
        if isinstance(step, Sequence):
            z = _run(step, z, context, inverse=inverse)
            if _is_flow_step(step) and bool(torch.isnan(z).any()):
                raise FloatingPointError("NaN inside the flow")
        elif isinstance(step, InvertibleConv1x1) and inverse:
            z = F.conv2d(z, torch.linalg.inv(step.weight())[:, :, None, None])
            total = total - step.w_s.sum() * z.shape[2] * z.shape[3]
        else:
            transform = cast("Transform", step)
            z, log_det = transform.inverse(z, context) if inverse else transform(z, context)
            total = total + log_det
    return z


def _is_flow_step(step: Sequence) -> bool:
    names = {name for name, _ in step.named_children()}
    return bool(names & {"coupling", "injector"})
