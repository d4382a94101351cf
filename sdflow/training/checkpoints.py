"""Checkpoints of a run in a store: whole or absent, the newest few of them kept."""

from __future__ import annotations

import io
import pickle
import re
from typing import TYPE_CHECKING, Any

import torch

from sdflow.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdflow.storage.store import Store

PREFIX = "checkpoints/"
_KEY = re.compile(rf"{PREFIX}step-(\d{{8}})\.pt")


def checkpoint_key(step: int) -> str:
    """Key of the checkpoint after so many steps; keys sort like the numbers."""
    return f"{PREFIX}step-{step:08d}.pt"


def list_checkpoints(store: Store) -> list[str]:
    """Keys of all checkpoints, the oldest first."""
    return [info.key for info in store.list(PREFIX) if _KEY.fullmatch(info.key)]


def save_checkpoint(store: Store, state: Mapping[str, Any], *, keep: int) -> str:
    """Write a run's state, then remove all but the newest ``keep`` checkpoints.

    Returns:
        Its key.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    key = checkpoint_key(state["step"])
    store.put(key, buffer.getvalue())
    for old in list_checkpoints(store)[:-keep]:
        store.delete(old)
    return key


def load_checkpoint(store: Store, key: str) -> dict[str, Any]:
    """Read a run's state back; code in it is never run.

    Raises:
        TrainingError: If it is damaged.
    """
    try:
        state = torch.load(io.BytesIO(store.get(key)), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise TrainingError(
            f"{key} in {store.url} is damaged: remove it, and the run goes on from the one before",
            item=key,
        ) from error
    if not isinstance(state, dict) or "recipe" not in state:
        raise TrainingError(f"{key} in {store.url} is no checkpoint of a training run", item=key)
    return state
