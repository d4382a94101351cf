"""Networks whose results can be described."""

from __future__ import annotations

import torch

from sdflow.model.sdflow import SDFlow
from tests.model.seeded import TINY, seeded_model


def mild_model() -> SDFlow:
    """Seeded tensors, and degradations so small that downscaled photos are not clipped."""
    model = seeded_model(TINY)
    for name, tensor in model.state_dict().items():
        if name.endswith("means"):
            tensor.mul_(0.1)
    return model


def young_model() -> SDFlow:
    """Seeded tensors, but a degradation flow that no batch has been through."""
    model = SDFlow(TINY)
    state = seeded_model(TINY).state_dict()
    for name, tensor in state.items():
        if name.startswith("deg_flow.") and name.endswith(".initialized"):
            state[name] = torch.zeros_like(tensor)
    model.load_state_dict(state)
    return model.eval().requires_grad_(requires_grad=False)
