"""The whole model: both directions and both likelihoods (arXiv:2310.04964)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sdflow.flows.actnorm import ActNorm
from sdflow.flows.distributions import gaussian_sample
from sdflow.model.config import PAPER, ModelConfig
from sdflow.model.content_flow import ContentFlow
from sdflow.model.deg_flow import DegFlow
from sdflow.model.encoder import Encoder
from sdflow.model.hr_flow import HRFlow

if TYPE_CHECKING:
    from pathlib import Path

    from sdflow.model.calibration import Calibration


class SDFlow(nn.Module):
    """Four networks around one content latent z_c of shape (B, 3, h, w).

    Images are RGB float tensors (B, 3, H, W) in [-1, 1], 2 (u8 / 255) - 1; outputs are unclamped.
    HR sides are four times LR sides. Noise is unit-variance; a temperature ``tau`` of 0 ignores it
    and gives the most likely output. The paper calls ``tau`` the sampling temperature.

    Args:
        config: Sizes of the networks; the published ones by default. A fresh model has random
            weights and must see a training batch before anything can be inverted.
    """

    def __init__(self, config: ModelConfig = PAPER) -> None:
        super().__init__()
        self.config = config
        self.hr_flow = HRFlow(config)
        self.content_flow = ContentFlow(config)
        self.deg_flow = DegFlow(config)
        self.encoder = Encoder(config)
        self.calibration: Calibration | None = None

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> SDFlow:
        """Load weights for inference.

        Args:
            path: A folder with the four official ``.pth`` files, one ``.safetensors`` file, or
                ``default`` for the weights that come with the package.
            device: Where the model shall live.
            dtype: Floating type of its parameters.

        Returns:
            The model in evaluation mode, gradients off.

        Raises:
            WeightsError: If the weights are missing, damaged, unsafe or of another network.
        """
        from sdflow.model.checkpoint import decode_weights, read_weights  # cycle

        return decode_weights(read_weights(path)).to(device=device, dtype=dtype)

    @property
    def has_degradation(self) -> bool:
        """Whether the degradation flow has been trained or loaded, so that it can be inverted."""
        return all(part.is_ready for part in self.deg_flow.modules() if isinstance(part, ActNorm))

    def encode_content(self, lr: Tensor) -> Tensor:
        """LR image (B, 3, h, w), any h and w from 2 up, to its content latent of the same shape."""
        _check_image(lr, minimum=2)
        content: Tensor = self.encoder(lr)
        return content

    def hr_content(self, hr: Tensor) -> Tensor:
        """HR image (B, 3, 4h, 4w), h and w from 2 up, to its content latent (B, 3, h, w)."""
        _check_image(hr, minimum=8, multiple_of=4)
        return self.hr_flow.content(hr)

    def upscale(self, lr: Tensor, *, tau: float, noise: Tensor) -> Tensor:
        """Draw an HR image for an LR image.

        Args:
            lr: (B, 3, h, w), h and w from 2 up.
            tau: Temperature, 0 to 1.
            noise: (B, 45, h, w), unit variance.

        Returns:
            HR image (B, 3, 4h, 4w), unclamped.

        Raises:
            ValueError: On a shape or temperature that cannot be used.
        """
        _check_tau(tau)
        content = self.encode_content(lr)
        _check_shape("noise", noise, (lr.shape[0], 45, lr.shape[2], lr.shape[3]))
        zero = noise.new_zeros(())
        return self.hr_flow.decode(content, gaussian_sample(zero, zero, noise, tau))

    def downscale(self, hr: Tensor, *, tau: float, noise: Tensor, component: Tensor) -> Tensor:
        """Draw a realistic LR image for an HR image.

        Args:
            hr: (B, 3, 4h, 4w), sides multiples of 8, from 16.
            tau: Temperature, 0 to 1.
            noise: (B, 12, h/2, w/2), unit variance.
            component: 0-based degradation component of each image, int64 (B,).

        Returns:
            LR image (B, 3, h, w), unclamped.

        Raises:
            ValueError: On a shape or temperature that cannot be used.
        """
        _check_tau(tau)
        _check_image(hr, minimum=16, multiple_of=8)
        _check_shape("noise", noise, (hr.shape[0], 12, hr.shape[2] // 8, hr.shape[3] // 8))
        _check_shape("component", component, (hr.shape[0],))
        content = self.hr_flow.content(hr)
        degradation = self.deg_flow.sample(content, noise, component, tau)
        lr, _ = self.content_flow.inverse(content + degradation)
        return lr

    def hr_log_prob(self, hr: Tensor) -> Tensor:
        """Log p(HR), (B,) in nats on the [-1, 1] scale; sides multiples of 4, from 8."""
        _check_image(hr, minimum=8, multiple_of=4)
        return self.hr_flow.log_prob(hr)

    def lr_log_prob(self, lr: Tensor) -> Tensor:
        """Log p(LR), (B,) in nats on the [-1, 1] scale; sides even, from 4."""
        _check_image(lr, minimum=4, multiple_of=2)
        content = self.encoder(lr)
        latent, log_det = self.content_flow(lr)
        log_prob: Tensor = log_det + self.deg_flow.log_prob(latent - content, content)
        return log_prob


def _check_image(image: Tensor, *, minimum: int, multiple_of: int = 1) -> None:
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"expected an image batch (B, 3, H, W), got {tuple(image.shape)}")
    if any(side < minimum or side % multiple_of for side in image.shape[2:]):
        raise ValueError(
            f"the network needs sides that are multiples of {multiple_of} and at least {minimum}, "
            f"got {image.shape[2]}x{image.shape[3]}: TiledEngine takes any size"
        )


def _check_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")


def _check_tau(tau: float) -> None:
    if not 0 <= tau <= 1:
        raise ValueError(f"tau is a temperature from 0 to 1, got {tau}")
