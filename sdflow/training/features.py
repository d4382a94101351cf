"""The fixed networks phi whose features the perceptual terms compare."""

from __future__ import annotations

import io
import math
import pickle
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # torch's own convention

from sdflow.errors import WeightsError
from sdflow.flows.precision import unrounded
from sdflow.training.losses import l1

if TYPE_CHECKING:
    from collections.abc import Mapping

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_ORIENTATIONS = 4
_SCALES = 3
_STD = 1.0
_FLOOR = 1e-3  # contrast below which an edge is not told from none

_VGG19 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512)
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class OrientedFeatures(nn.Module):
    """Edges by orientation and scale, as the first cells of the visual cortex see them.

    Derivatives of Gaussians in four orientations, even and odd (a quadrature pair, Freeman &
    Adelson, 1991), of luma at three scales; each pair also gives its energy, which knows that
    there is texture but not where its waves lie. Needs no download.
    """

    kernels: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernels", _derivatives())

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of (B, 3, H, W) in [-1, 1], for every scale (B, 12, H', W')."""
        luma = (images * images.new_tensor(_LUMA).view(3, 1, 1)).sum(dim=1, keepdim=True)
        found = []
        for scale in range(_SCALES):
            if scale:
                luma = F.avg_pool2d(luma, 2)
            with unrounded(luma):
                edges = F.conv2d(F.pad(luma, (3, 3, 3, 3), "replicate"), self.kernels.to(luma))
            even, odd = edges.chunk(2, dim=1)
            energy = (even.square() + odd.square() + _FLOOR**2).sqrt()
            found.append(torch.cat([edges, energy], dim=1))
        return found


class Vgg19Features(nn.Sequential):
    """The last convolution of VGG-19 before its activation, as in the paper (conv5_4).

    Args:
        state: Tensors by the names of torchvision's ``vgg19`` (``features.0.weight`` …).

    Raises:
        WeightsError: If they are those of another network.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for width in _VGG19:
            if width:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            else:
                layers.append(nn.MaxPool2d(2))
        super().__init__(*layers[:-1])
        wanted = {
            name.removeprefix("features."): tensor
            for name, tensor in state.items()
            if name.startswith("features.")
        }
        try:
            self.load_state_dict(wanted)
        except RuntimeError as error:
            raise WeightsError(
                "the perceptual weights are no VGG-19 of torchvision (vgg19-*.pth)"
            ) from error

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of (B, 3, H, W) in [-1, 1], one tensor (B, 512, H/16, W/16)."""
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in _IMAGENET)
        features = ((images + 1) / 2 - mean) / std
        for layer in self:
            features = layer(features)
        return [features]


def load_vgg19(data: bytes) -> Vgg19Features:
    """Build the paper's network from the content of torchvision's file.

    Raises:
        WeightsError: If it is damaged, holds code or is of another network.
    """
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError("the perceptual weights are damaged or no PyTorch file") from error
    if not isinstance(state, dict):
        raise WeightsError("the perceptual weights hold no plain dictionary of tensors")
    return Vgg19Features(state)


def feature_distance(net: nn.Module, image: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute difference of the features, averaged over the net's tensors, (B,).

    The reference gets no gradient.
    """
    with torch.no_grad():
        wanted = net(reference)
    pairs = zip(net(image), wanted, strict=True)
    return torch.stack([l1(found, want) for found, want in pairs]).mean(dim=0)


def _derivatives() -> Tensor:
    """Second and first directional derivatives of a Gaussian, (8, 1, 7, 7), each of L1 norm 1."""
    axis = torch.arange(-3, 4, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    window = torch.exp(-(x.square() + y.square()) / (2 * _STD**2))
    even, odd = [], []
    for index in range(_ORIENTATIONS):
        angle = math.pi * index / _ORIENTATIONS
        along = (x * math.cos(angle) + y * math.sin(angle)) / _STD
        second = (along.square() - 1) * window
        even.append(second - second.mean())
        odd.append(-along * window)
    kernels = torch.stack(even + odd).unsqueeze(1)
    return (kernels / kernels.abs().sum(dim=(2, 3), keepdim=True)).float()
