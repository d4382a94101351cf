"""Tensors out of a PyTorch file that somebody else made."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import torch

from sdflow.errors import WeightsError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a state dict on the CPU; code in it is never run.

    Raises:
        WeightsError: It is missing, damaged, or holds more than tensors by name.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: there is no such file", item=str(path)) from error
    except (
        pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError,
        AttributeError,
    ) as error:  # fmt: skip
        raise WeightsError(
            f"{path} is damaged, no PyTorch file, or holds more than tensors; code in weights is "
            "never run",
            item=str(path),
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise WeightsError(f"{path} holds no plain dictionary of tensors", item=str(path))
    return state
