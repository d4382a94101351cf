"""Weights to measure with where none are given: random, but nothing is the identity."""

from __future__ import annotations

import math

import torch

from sdflow.model.config import ModelConfig
from sdflow.model.sdflow import SDFlow


def drawn_model(config: ModelConfig, *, seed: int = 0) -> SDFlow:
    """A model whose every tensor is drawn, ready for inference, on the CPU."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = SDFlow(config)
        state = model.state_dict()
        for name, tensor in state.items():
            leaf = name.rpartition(".")[2]
            if leaf == "initialized":
                tensor.fill_(1)
            elif leaf in ("logs", "log_scale", "log_stds"):
                tensor.normal_(0, 0.05)
            elif leaf in ("loc", "bias"):
                tensor.normal_(0, 0.02)
            elif leaf == "weight":
                gain = 0.2 if ".net.conv3." in name else 0.7
                tensor.normal_(0, gain / math.sqrt(tensor[0].numel()))
            elif leaf in ("w_l", "w_u", "w_s"):
                tensor.normal_(0, 0.1 / math.sqrt(tensor.shape[0]))
        model.load_state_dict(state)
    return model.eval().requires_grad_(requires_grad=False)
