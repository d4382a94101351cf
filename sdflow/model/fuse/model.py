"""The whole model in its inference form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdflow.flows.distributions import GaussianMixture, gaussian_sample
from sdflow.model.fuse.conv import Precision
from sdflow.model.fuse.flow import Context, FusedFlow
from sdflow.model.fuse.mixture import FusedMixture
from sdflow.model.fuse.nets import FusedCellCondition, FusedConditionNet, FusedEncoder

if TYPE_CHECKING:
    from torch import Tensor

    from sdflow.model.sdflow import SDFlow

_CONTENT = 3
_CELL = 12  # channels of the flows that have one position for every 2x2 cell of LR pixels
_COUPLED = 6  # of those, what a coupling changes


@dataclass(frozen=True, slots=True)
class Prepared:
    """What all samples of an image share.

    Attributes:
        content: Content latent z_c (B, 3, h, w).
        context: What the conditional flow makes of it.
        log_scale: Logarithms of that flow's injectors' factors, summed over the injectors,
            (B, 12, h/2, w/2); None where no likelihood was asked for.
    """

    content: Tensor
    context: Context
    log_scale: Tensor | None = None


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
            self._log_density = FusedMixture(self._prior)
            self._deg_condition = FusedCellCondition(model.deg_flow.condition, net_dtype)
            self._deg_inverse = FusedFlow(model.deg_flow.flow, precision, inverse=True)
            self._lr_inverse = FusedFlow(model.content_flow, precision, inverse=True)

    def prepare_upscale(self, lr: Tensor) -> Prepared:
        """LR images (B, 3, h, w) in [-1, 1], h and w from 2 up, to what their samples share."""
        content = self._encoder(self._laid_out(lr))
        return Prepared(content, self._hf_inverse.context(self._hf_condition(content)))

    def draw_upscale(self, prepared: Prepared, noise: Tensor, tau: float | Tensor) -> Tensor:
        """Draw HR images (B, 3, 4h, 4w), unclamped, from unit-variance noise (B, 45, h, w).

        The temperature may be a tensor (B, 1, 1, 1) for one per image.
        """
        zero = noise.new_zeros(())
        latent = self._laid_out(gaussian_sample(zero, zero, noise, tau))
        high_frequency = self._hf_inverse(latent, prepared.context)
        return self._body_inverse(torch.cat([prepared.content, high_frequency], dim=1))

    def prepare_downscale(self, hr: Tensor, *, scored: bool = False) -> Prepared:
        """HR images (B, 3, 4h, 4w) in [-1, 1], sides multiples of 8 from 16, to what is shared.

        ``scored`` for ``draw_scored``.
        """
        content = self._content(self._laid_out(hr))
        features = self._deg_condition(content)
        log_scale = self._zeros(features, _CELL) if scored else None
        return Prepared(content, self._deg_inverse.context(features, log_scale), log_scale)

    def draw_downscale(
        self, prepared: Prepared, noise: Tensor, component: Tensor, tau: float | Tensor
    ) -> Tensor:
        """Draw LR images.

        Args:
            prepared: Of the HR images.
            noise: Unit variance, (B, 12, h/2, w/2).
            component: 0-based degradation component of each image, int64 (B,).
            tau: Temperature; a tensor (B, 1, 1, 1) for one per image.

        Returns:
            (B, 3, h, w), unclamped.
        """
        return self._downscale(prepared, self._latent(noise, component, tau))

    def draw_scored(
        self, prepared: Prepared, noise: Tensor, component: Tensor, tau: float | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Draw LR images as ``draw_downscale``, bit for bit, and say how likely they were.

        Returns:
            The images, and log p(lr | z_c) in nats on the [-1, 1] scale as a map (B, h/2, w/2) of
            what every 2x2 cell adds to it, float64: the mixture's density (all components) less
            log|d lr / d latent| of both flows. Its sum is that of the training form, ``log_det`` of
            the content flow + ``DegFlow.log_prob``.

        Raises:
            ValueError: If ``prepared`` was not made for this.
        """
        if prepared.log_scale is None:
            raise ValueError("a likelihood needs prepare_downscale(scored=True)")
        latent = self._latent(noise, component, tau)
        density = self._log_density(latent)  # first: the flow overwrites its latent
        log_scale = self._zeros(latent, _COUPLED)
        lr = self._downscale(prepared, latent, log_scale)
        constant = self._deg_inverse.affine_log_det + self._lr_inverse.affine_log_det
        density.sub_(prepared.log_scale)
        return lr, _over_channels(density) - _over_channels(log_scale) - constant

    def _latent(self, noise: Tensor, component: Tensor, tau: float | Tensor) -> Tensor:
        return self._laid_out(self._prior.sample(noise, component, tau))

    def _downscale(
        self, prepared: Prepared, latent: Tensor, log_scale: Tensor | None = None
    ) -> Tensor:
        degradation = self._deg_inverse(latent, prepared.context, log_scale)
        return self._lr_inverse(prepared.content + degradation, (), log_scale)

    def _zeros(self, like: Tensor, channels: int) -> Tensor:
        """Zeros in the flow's type and layout, at the positions of a map."""
        shape = (like.shape[0], channels, *like.shape[2:])
        zeros = torch.zeros(shape, dtype=self._dtype, device=like.device)
        return zeros.contiguous(memory_format=torch.channels_last)

    def _laid_out(self, x: Tensor) -> Tensor:
        """A copy in the flow's type and layout."""
        return x.to(self._dtype).clone(memory_format=torch.channels_last)


def _over_channels(x: Tensor) -> Tensor:
    """Sum over channels in float64, (B, C, H, W) to (B, H, W), in one order whatever the shape."""
    first, *others = x.double().unbind(dim=1)
    total = first.clone()
    for channel in others:
        total += channel
    return total
