"""LPIPS: how far apart two images are to a network, with weight files that the user has.

Zhang, Isola, Efros, Shechtman, Wang: The unreasonable effectiveness of deep features as a
perceptual metric, CVPR 2018; version 0.1. The backbone's file is torchvision's state dict of
AlexNet or VGG-16, the heads' file is ``alex.pth`` or ``vgg.pth`` of the authors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch.nn import functional

from sdflow.errors import WeightsError
from sdflow.evaluation.planes import level_pair
from sdflow.evaluation.weight_files import read_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from sdflow.evaluation.planes import Floats, Image

Net: TypeAlias = Literal["alex", "vgg"]
SMALLEST_PX = 32

_SHIFT = torch.tensor((-0.030, -0.088, -0.188)).view(1, 3, 1, 1)  # of images in [-1, 1]
_SCALE = torch.tensor((0.458, 0.448, 0.450)).view(1, 3, 1, 1)
_EPSILON = 1e-10


@dataclass(frozen=True, slots=True)
class _Conv:
    """A convolution with its ReLU; after a pooling where that is asked for."""

    index: int  # among torchvision's ``features``
    width: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    pool: int = 0  # the side of the maximum taken first, with a stride of 2
    tapped: bool = True


_CONVS: Mapping[Net, tuple[_Conv, ...]] = MappingProxyType(
    {
        "alex": (
            _Conv(0, 64, kernel=11, stride=4, padding=2),
            _Conv(3, 192, kernel=5, padding=2, pool=3),
            _Conv(6, 384, pool=3),
            _Conv(8, 256),
            _Conv(10, 256),
        ),
        "vgg": (
            _Conv(0, 64, tapped=False),
            _Conv(2, 64),
            _Conv(5, 128, pool=2, tapped=False),
            _Conv(7, 128),
            _Conv(10, 256, pool=2, tapped=False),
            _Conv(12, 256, tapped=False),
            _Conv(14, 256),
            _Conv(17, 512, pool=2, tapped=False),
            _Conv(19, 512, tapped=False),
            _Conv(21, 512),
            _Conv(24, 512, pool=2, tapped=False),
            _Conv(26, 512, tapped=False),
            _Conv(28, 512),
        ),
    }
)


@dataclass(frozen=True, eq=False, slots=True)
class Lpips:
    """The network and its heads, on the CPU in float32.

    Attributes:
        net: Which backbone.
        tensors: ``features.N.weight`` and ``.bias`` of the backbone, ``linN.model.1.weight``
            (1, C, 1, 1) of the heads.
    """

    net: Net
    tensors: Mapping[str, Tensor]

    @classmethod
    def load(cls, net: Net, backbone: Path, heads: Path) -> Lpips:
        """Read both files; code in them is never run.

        Args:
            net: Which backbone.
            backbone: Of torchvision. Its classifier is not needed and not looked at.
            heads: Of LPIPS 0.1.

        Raises:
            WeightsError: A file is missing, damaged, holds more than tensors, or is of another
                network.
        """
        expected = _shapes(net)
        tensors = {}
        for path, prefix in ((backbone, "features."), (heads, "lin")):
            state = read_tensors(path)
            for name in (name for name in expected if name.startswith(prefix)):
                found = tuple(state[name].shape) if name in state else None
                if found != expected[name]:
                    is_what = "missing" if found is None else f"of shape {found}"
                    raise WeightsError(
                        f"{path}: not the weights of LPIPS {net}: {name} is {is_what}, and should "
                        f"be of {expected[name]}",
                        item=str(path),
                    )
                tensors[name] = state[name].float()
        return cls(net, tensors)

    @torch.inference_mode()
    def distance(self, image: Image, reference: Image) -> float:
        """Give LPIPS of two colour images, symmetric in them; the lower, the closer.

        Args:
            image: What was made.
            reference: The truth, of the same size.

        Returns:
            At least 0, which is that of equal images; NaN below 32 px.

        Raises:
            UsageError: The sizes differ.
        """
        pair = level_pair(image, reference)
        if min(pair[0].shape[:2]) < SMALLEST_PX:
            return float("nan")
        total = torch.zeros(())
        for number, (one, other) in enumerate(zip(*map(self._taps, pair), strict=True)):
            head = self.tensors[f"lin{number}.model.1.weight"]
            total += functional.conv2d((one - other) ** 2, head).mean()
        return float(total)

    def _taps(self, rgb: Floats) -> Iterator[Tensor]:
        """Features with channels of unit length, (1, C, h, w) each."""
        image = torch.from_numpy(rgb / 127.5 - 1).float().permute(2, 0, 1)[None]
        features = (image - _SHIFT) / _SCALE
        for conv in _CONVS[self.net]:
            if conv.pool:
                features = functional.max_pool2d(features, conv.pool, stride=2)
            weight, bias = (
                self.tensors[f"features.{conv.index}.{leaf}"] for leaf in ("weight", "bias")
            )
            features = functional.conv2d(
                features, weight, bias, stride=conv.stride, padding=conv.padding
            ).relu()
            if conv.tapped:
                length = torch.linalg.vector_norm(features, dim=1, keepdim=True)
                yield features / (length + _EPSILON)


def _shapes(net: Net) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    width = 3
    for conv in _CONVS[net]:
        name = f"features.{conv.index}"
        shapes[f"{name}.weight"] = (conv.width, width, conv.kernel, conv.kernel)
        shapes[f"{name}.bias"] = (conv.width,)
        width = conv.width
    tapped = (conv for conv in _CONVS[net] if conv.tapped)
    shapes |= {f"lin{n}.model.1.weight": (1, conv.width, 1, 1) for n, conv in enumerate(tapped)}
    return shapes
