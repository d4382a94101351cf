"""The whole model in its inference form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdflow.flows.distributions import GaussianMixture, gaussian_sample
from sdflow.model.fuse.conv import Precision
from sdflow.model.fuse.flow import Context, FusedFlow
from sdflow.model.fuse.nets import FusedCellCondition, FusedConditionNet, FusedEncoder

if TYPE_CHECKING:
    from torch import Tensor

    from sdflow.model.sdflow import SDFlow

_CONTENT = 3


@dataclass(frozen=True, slots=True)
class Prepared:
    """What all samples of an image share.

    Attributes:
        content: Content latent z_c (B, 3, h, w).
        context: What the conditional flow makes of it.
    """

    content: Tensor
    context: Context


class FusedSDFlow:
    """Both directions of a model, for inference alone.

    Equal to ``SDFlow`` but for rounding, with everything multiplied out that does not depend on the
    image, and nothing computed that is thrown away. Nothing inside waits for the device.

    Args:
        model: Where the parameters come from; its device is where this runs.
        net_dtype: Type of the feature and coupling networks.
        flow_dtype: Type of the latents and of what is applied to them directly.
    """

    def __init__(
        self,
        model: SDFlow,
        *,
        net_dtype: torch.dtype = torch.float32,
        flow_dtype: torch.dtype = torch.float32,
    ) -> None:
        with torch.no_grad():
            precision = Precision(net_dtype, flow_dtype)
            self._dtype = flow_dtype
            self._encoder = FusedEncoder(model.encoder, precision)
            self._hf_condition = FusedConditionNet(model.hr_flow.condition, net_dtype)
            self._hf_inverse = FusedFlow(model.hr_flow.hf_flow, precision, inverse=True)
            self._body_inverse = FusedFlow(model.hr_flow.blocks, precision, inverse=True)
            self._content = FusedFlow(
                model.hr_flow.blocks, precision, inverse=False, outputs=_CONTENT
            )
            self._prior: GaussianMixture = model.deg_flow.prior
            self._deg_condition = FusedCellCondition(model.deg_flow.condition, net_dtype)
            self._deg_inverse = FusedFlow(model.deg_flow.flow, precision, inverse=True)
            self._lr_inverse = FusedFlow(model.content_flow, precision, inverse=True)

    def prepare_upscale(self, lr: Tensor) -> Prepared:
        """LR images (B, 3, h, w) in [-1, 1], h and w from 2 up, to what their samples share."""
        content = self._encoder(self._laid_out(lr))
        return Prepared(content, self._hf_inverse.context(self._hf_condition(content)))

    def draw_upscale(self, prepared: Prepared, noise: Tensor, tau: float) -> Tensor:
        """Draw HR images (B, 3, 4h, 4w), unclamped, from unit-variance noise (B, 45, h, w)."""
        zero = noise.new_zeros(())
        latent = self._laid_out(gaussian_sample(zero, zero, noise, tau))
        high_frequency = self._hf_inverse(latent, prepared.context)
        return self._body_inverse(torch.cat([prepared.content, high_frequency], dim=1))

    def prepare_downscale(self, hr: Tensor) -> Prepared:
        """HR images (B, 3, 4h, 4w) in [-1, 1], sides multiples of 8 from 16, to what is shared."""
        content = self._content(self._laid_out(hr))
        return Prepared(content, self._deg_inverse.context(self._deg_condition(content)))

    def draw_downscale(
        self, prepared: Prepared, noise: Tensor, component: Tensor, tau: float
    ) -> Tensor:
        """Draw LR images (B, 3, h, w), unclamped; noise (B, 12, h/2, w/2), component (B,)."""
        latent = self._laid_out(self._prior.sample(noise, component, tau))
        degradation = self._deg_inverse(latent, prepared.context)
        return self._lr_inverse(prepared.content + degradation)

    def _laid_out(self, x: Tensor) -> Tensor:
        """A copy in the flow's type and layout."""
        return x.to(self._dtype).clone(memory_format=torch.channels_last)
