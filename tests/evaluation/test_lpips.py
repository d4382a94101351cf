from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from sdflow.errors import UsageError, WeightsError
from sdflow.evaluation.lpips import Lpips
from tests.evaluation.pictures import blurred, fractal

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from sdflow.evaluation.lpips import Net

_ALEX = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
_VGG_WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
_VGG_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_VGG = {
    place: (width, before, 3)
    for place, width, before in zip(_VGG_PLACES, _VGG_WIDTHS, (3, *_VGG_WIDTHS), strict=False)
}
_HEADS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
_PHOTO = fractal(64)


def _drawn(net: Net) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Both files' tensors, random, in the shapes of torchvision and of LPIPS."""
    generator = torch.Generator().manual_seed(0)
    backbone = {"classifier.6.bias": torch.zeros(1000)}
    for place, (width, before, side) in (_ALEX if net == "alex" else _VGG).items():
        shape = (width, before, side, side)
        gain = math.sqrt(2 / (before * side * side))
        backbone[f"features.{place}.weight"] = torch.randn(shape, generator=generator) * gain
        backbone[f"features.{place}.bias"] = torch.randn(width, generator=generator) * 0.1
    heads = {
        f"lin{number}.model.1.weight": torch.rand(1, width, 1, 1, generator=generator)
        for number, width in enumerate(_HEADS[net])
    }
    return backbone, heads


def _saved(
    folder: Path, backbone: dict[str, Tensor], heads: dict[str, Tensor]
) -> tuple[Path, Path]:
    paths = folder / "backbone.pth", folder / "heads.pth"
    torch.save(backbone, paths[0])
    torch.save(heads, paths[1])
    return paths


@pytest.fixture(scope="module", params=["alex", "vgg"])
def lpips(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Lpips:
    net: Net = request.param
    return Lpips.load(net, *_saved(tmp_path_factory.mktemp(net), *_drawn(net)))


def test_equal_images_are_no_distance_apart(lpips: Lpips) -> None:
    assert lpips.distance(_PHOTO, _PHOTO) == 0


def test_the_distance_is_symmetric_and_grows(lpips: Lpips) -> None:
    found = [lpips.distance(blurred(_PHOTO, sigma), _PHOTO) for sigma in (0.5, 1, 2, 4)]
    assert found[0] > 0
    assert found == sorted(found)
    assert lpips.distance(_PHOTO, blurred(_PHOTO, 4)) == pytest.approx(found[-1])


def test_small_images_have_no_distance_and_others_are_refused(lpips: Lpips) -> None:
    assert math.isnan(lpips.distance(_PHOTO[:31], _PHOTO[:31]))
    assert math.isfinite(lpips.distance(_PHOTO[:32, :33], _PHOTO[8:40, :33]))
    with pytest.raises(UsageError, match="one size"):
        lpips.distance(_PHOTO[:40], _PHOTO)


@pytest.mark.parametrize("number", range(5))
def test_every_head_counts(lpips: Lpips, number: int) -> None:
    name = f"lin{number}.model.1.weight"
    silent = {**lpips.tensors, name: torch.zeros_like(lpips.tensors[name])}
    without = Lpips(lpips.net, silent)
    soft = blurred(_PHOTO, 2)
    assert without.distance(soft, _PHOTO) < lpips.distance(soft, _PHOTO)


def test_flat_images_are_the_formula_apart(tmp_path: Path) -> None:
    """A first layer that hands colours on, and no later head: the distance can be written down."""
    backbone, heads = _drawn("alex")
    backbone["features.0.weight"].zero_()
    backbone["features.0.bias"].zero_()
    for channel in range(3):
        backbone["features.0.weight"][channel, channel, 5, 5] = 1
        backbone["features.0.bias"][channel] = 5
    for number in range(1, 5):
        heads[f"lin{number}.model.1.weight"].zero_()
    lpips = Lpips.load("alex", *_saved(tmp_path, backbone, heads))

    def direction(colour: tuple[int, int, int]) -> np.ndarray:
        shift, scale = np.array((-0.030, -0.088, -0.188)), np.array((0.458, 0.448, 0.450))
        features = (np.array(colour) / 255 * 2 - 1 - shift) / scale + 5
        unit: np.ndarray = features / np.sqrt(np.sum(features**2))
        return unit

    colours = (250, 10, 90), (20, 180, 100)
    flat = [np.broadcast_to(np.array(colour, np.uint8), (64, 72, 3)) for colour in colours]
    weights = heads["lin0.model.1.weight"].flatten()[:3].numpy()
    expected = np.sum(weights * (direction(colours[0]) - direction(colours[1])) ** 2)
    assert lpips.distance(*flat) == pytest.approx(expected, rel=1e-4)


def test_wrong_files_are_refused_by_name(tmp_path: Path) -> None:
    backbone, heads = _drawn("alex")
    alex, linear = _saved(tmp_path, backbone, heads)
    with pytest.raises(WeightsError, match=r"backbone.pth: not the weights of LPIPS vgg"):
        Lpips.load("vgg", alex, linear)
    with pytest.raises(WeightsError, match=r"features.0.weight is missing"):
        Lpips.load("alex", linear, alex)
    with pytest.raises(WeightsError, match=r"backbone.pth: .* lin0.model.1.weight is missing"):
        Lpips.load("alex", alex, alex)
    with pytest.raises(WeightsError, match="no such file"):
        Lpips.load("alex", tmp_path / "none.pth", linear)


def test_damaged_files_and_code_are_refused(tmp_path: Path) -> None:
    alex, linear = _saved(tmp_path, *_drawn("alex"))
    linear.write_bytes(linear.read_bytes()[:100])
    with pytest.raises(WeightsError, match="damaged"):
        Lpips.load("alex", alex, linear)
    torch.save(_Code(), linear)
    with pytest.raises(WeightsError, match="never run"):
        Lpips.load("alex", alex, linear)
    torch.save([torch.zeros(1)], linear)
    with pytest.raises(WeightsError, match="no plain dictionary"):
        Lpips.load("alex", alex, linear)


class _Code:
    """An object, which only code could bring back."""
