"""Weights for a benchmark when none are given: drawn, and no layer the identity."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdflow.model.config import ModelConfig
from sdflow.model.sdflow import SDFlow

_SMALL = {"w_s": 0.05, "logs": 0.05, "log_scale": 0.05, "log_stds": 0.05, "loc": 0.02, "bias": 0.02}
_FIXED = ("w_p", "u_mask", "l_mask", "l_eye", "s_sign")  # the shape of the LU form


def draw_model(config: ModelConfig, *, seed: int) -> SDFlow:
    """A model whose every learnt tensor is drawn, of magnitudes that keep its values finite.

    Times do not depend on weights; how far bf16 is from fp32 does, so that figure is an
    indication until ``--weights`` names real ones.

    Args:
        config: Sizes.
        seed: The same seed gives the same model in every process.

    Returns:
        The model on the CPU in evaluation mode, float32, gradients off.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the rotations of 1x1 convolutions are drawn as a model is made
        model = SDFlow(config)
        state = {name: _draw(name, tensor) for name, tensor in model.state_dict().items()}
    model.load_state_dict(state)
    return model.eval().requires_grad_(requires_grad=False)


def _draw(name: str, tensor: Tensor) -> Tensor:
    key = name.rpartition(".")[2]
    if key == "initialized":
        return torch.ones_like(tensor)
    if key in _FIXED:
        return tensor
    if key in ("w_l", "w_u"):
        return torch.randn_like(tensor) * (0.1 / math.sqrt(len(tensor)))
    if key == "weight":
        gain = 0.2 if ".conv3.conv." in name else 0.7  # the last layer of a coupling net
        return torch.randn_like(tensor) * (gain / math.sqrt(tensor[0].numel()))
    return torch.randn_like(tensor) * _SMALL.get(key, 1.0)
