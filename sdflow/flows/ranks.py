"""What the workers of a training run agree on; without a process group there is one worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import distributed

if TYPE_CHECKING:
    from torch import Tensor


def are_many_ranks() -> bool:
    """Whether this process is one of several workers."""
    return distributed.is_available() and distributed.is_initialized()


def average_over_ranks(values: Tensor) -> Tensor:
    """Replace a tensor by its mean over all ranks, in place, and return it."""
    if are_many_ranks():
        distributed.all_reduce(values)
        values /= distributed.get_world_size()
    return values
