"""What the perceptual nets see."""

from __future__ import annotations

import io
import math
import pickle

import pytest
import torch
from torch import Tensor

from sdflow.errors import WeightsError
from sdflow.training.features import (
    OrientedFeatures,
    Vgg19Features,
    feature_distance,
    load_vgg19,
)


def _grating(angle: float, period: float = 6.0) -> Tensor:
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    wave = torch.sin(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / period)
    return wave.expand(1, 3, 32, 32)


def test_a_constant_has_no_edges() -> None:
    for features in OrientedFeatures()(torch.full((1, 3, 16, 16), 0.7)):
        assert float(features.abs().max()) < 2e-3


@pytest.mark.parametrize("index", range(4))
def test_energy_peaks_at_the_gratings_own_orientation(index: int) -> None:
    energy = OrientedFeatures()(_grating(math.pi * index / 4))[0][:, 8:]
    assert int(energy.mean(dim=(0, 2, 3)).argmax()) == index


def test_energy_does_not_know_the_phase() -> None:
    one, other = (OrientedFeatures()(_grating(0.0).roll(shift, 3))[0] for shift in (0, 3))
    middle = slice(8, 24)
    edges = (one - other)[:, :8, middle, middle].abs().max()
    energies = (one - other)[:, 8:, middle, middle].abs().max()
    assert energies < 0.1 * edges


def test_scales_halve() -> None:
    sides = [features.shape[2:] for features in OrientedFeatures()(torch.zeros(2, 3, 16, 24))]
    assert sides == [(16, 24), (8, 12), (4, 6)]


def test_distance_is_zero_for_equal_images_and_one_number_for_each_sample() -> None:
    image = torch.cat([_grating(0.3), _grating(1.0)])
    net = OrientedFeatures()
    assert not feature_distance(net, image, image).any()
    other = torch.cat([_grating(0.3), _grating(2.0)])
    found = feature_distance(net, image, other)
    assert found[0] == 0
    assert found[1] > 0.01


def test_the_reference_gets_no_gradient() -> None:
    image, reference = (_grating(angle).clone().requires_grad_() for angle in (0.0, 1.0))
    feature_distance(OrientedFeatures(), image, reference).sum().backward()
    assert image.grad is not None
    assert reference.grad is None


def _vgg19_state() -> dict[str, Tensor]:
    channels, index, state = 3, 0, {}
    for width in (64, 64, 0, 128, 128, 0, *(256,) * 4, 0, *(512,) * 4, 0, *(512,) * 4):
        if width:
            state[f"features.{index}.weight"] = torch.randn(width, channels, 3, 3) / (9 * channels)
            state[f"features.{index}.bias"] = torch.zeros(width)
            channels = width
        index += 2 if width else 1
    return {**state, "classifier.0.weight": torch.zeros(1)}


def _saved(state: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def test_vgg19_takes_torchvisions_file_and_ends_before_the_last_activation() -> None:
    (features,) = load_vgg19(_saved(_vgg19_state()))(torch.rand(1, 3, 32, 32))
    assert features.shape == (1, 512, 2, 2)
    assert features.min() < 0


def test_vgg19_refuses_another_network() -> None:
    state = _vgg19_state()
    del state["features.0.bias"]
    with pytest.raises(WeightsError, match="VGG-19"):
        Vgg19Features(state)


def test_code_in_the_file_is_not_run() -> None:
    with pytest.raises(WeightsError, match="damaged"):
        load_vgg19(pickle.dumps(print, protocol=2))
    with pytest.raises(WeightsError, match="plain dictionary"):
        load_vgg19(_saved([torch.zeros(1)]))
