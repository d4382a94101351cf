"""Models whose every tensor is a pure function of (seed, network, key, shape)."""

from __future__ import annotations

import io
import json
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sdflow.images.formats import Pixels
from sdflow.model.checkpoint import decode_weights
from sdflow.model.config import ModelConfig
from sdflow.model.sdflow import SDFlow

GOLDEN = Path(__file__).parent.parent / "golden"

TINY = ModelConfig(
    flow_steps=1,
    coupling_width=4,
    condition_width=4,
    condition_growth=2,
    hf_steps=2,
    hf_rrdbs=1,
    deg_steps=2,
    deg_rrdbs=1,
    mixture_components=4,
    encoder_width=4,
    encoder_blocks=1,
    encoder_modulations=1,
)


def seeded_tensor(
    seed: int, network: str, key: str, shape: tuple[int, ...]
) -> NDArray[np.float32] | NDArray[np.uint8]:
    """The tensors that the golden outputs were computed with, under their official names."""
    source = np.random.PCG64([seed, zlib.crc32(f"{network}/{key}".encode())])
    rng = np.random.Generator(source)
    name = key.rsplit(".", 1)[-1]
    if name == "initialized":
        return np.ones(shape, np.uint8)
    if name == "w_p":
        return np.eye(shape[0], dtype=np.float32)[rng.permutation(shape[0])]
    if name == "u_mask":
        return np.triu(np.ones(shape, np.float32), 1)
    if name == "l_mask":
        return np.tril(np.ones(shape, np.float32), -1)
    if name == "l_eye":
        return np.eye(shape[0], dtype=np.float32)
    if name == "s_sign":
        return np.where(rng.random(shape) < 0.5, -1, 1).astype(np.float32)
    values = rng.standard_normal(shape) * _scale(name, key, shape)
    return values.astype(np.float32)


def _scale(name: str, key: str, shape: tuple[int, ...]) -> float:
    """How large the tensor's entries are; "means" stay standard normal."""
    if name in ("w_l", "w_u"):
        return float(0.1 / np.sqrt(shape[0]))
    if name in ("w_s", "logs", "log_stds", "log_scale"):
        return 0.05
    if name in ("loc", "bias"):
        return 0.02
    if name == "weight":
        gain = 0.2 if ".net.conv3." in key else 0.7
        return float(gain / np.sqrt(np.prod(shape[1:])))
    return 1.0


def official_shapes() -> dict[str, dict[str, tuple[int, ...]]]:
    """Shape of every tensor by official network and key."""
    listing = json.loads((GOLDEN / "state_dict.json").read_text())
    return {
        network: {key: tuple(shape) for key, (shape, _) in tensors.items()}
        for network, tensors in listing.items()
    }


@cache
def official_files(seed: int) -> dict[str, bytes]:
    """The four official files with seeded tensors."""
    files = {}
    for network, shapes in official_shapes().items():
        buffer = io.BytesIO()
        tensors = {
            key: torch.from_numpy(seeded_tensor(seed, network, key, shape).copy())
            for key, shape in shapes.items()
        }
        torch.save(tensors, buffer)
        files[f"{network}.pth"] = buffer.getvalue()
    return files


@cache
def paper_model(seed: int) -> SDFlow:
    """The published sizes with seeded tensors, float32."""
    return decode_weights(official_files(seed))


def seeded_model(config: ModelConfig, *, seed: int = 0) -> SDFlow:
    """Any sizes with seeded tensors under our own names, float32, ready for inference."""
    model = SDFlow(config)
    state = {
        name: torch.from_numpy(seeded_tensor(seed, "model", name, tuple(tensor.shape)).copy())
        for name, tensor in model.state_dict().items()
    }
    model.load_state_dict(state)
    return model.eval().requires_grad_(requires_grad=False)


def photo(height: int, width: int, *, seed: int = 0, deep: bool = False) -> Pixels:
    """Smooth shapes with some noise, so that no output is clipped everywhere."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.cos(x / period) for period in (5, 9, 13)], axis=2)
    base = 0.5 + 0.3 * np.sin(y / 7 + seed)[..., None] * waves
    noisy = np.clip(base + rng.normal(0, 0.05, (height, width, 3)), 0, 1)
    pixels: Pixels = (noisy * 65535).astype(np.uint16) if deep else (noisy * 255).astype(np.uint8)
    return pixels
