from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed
from torch.multiprocessing.spawn import spawn

from sdflow.flows.actnorm import ActNorm


def test_first_training_batch_is_normalised_with_the_biased_variance() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 3, 5, 6) * torch.tensor([2.0, 0.5, 7.0]).view(1, 3, 1, 1) + 3
    layer = ActNorm(3)
    y, _ = layer(x)
    torch.testing.assert_close(y.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(dim=(0, 2, 3), correction=0), torch.ones(3))
    expected = -(x.var(dim=(0, 2, 3), correction=0).sqrt() + 1e-6).log()
    torch.testing.assert_close(layer.log_scale.flatten(), expected)
    assert layer.initialized.item() == 1


def test_second_batch_changes_nothing() -> None:
    layer = ActNorm(2)
    layer(torch.randn(2, 2, 4, 4))
    before = layer.loc.clone()
    layer(torch.randn(2, 2, 4, 4) + 9)
    assert torch.equal(layer.loc, before)


def test_flat_channel_counts_as_variance_one() -> None:
    layer = ActNorm(1)
    layer(torch.full((2, 1, 4, 4), 5.0))
    assert layer.log_scale.abs().item() < 1e-5
    assert layer.loc.item() == -5


def test_unstarted_layer_refuses_to_invert_and_to_infer() -> None:
    layer = ActNorm(1)
    with pytest.raises(RuntimeError, match="load weights"):
        layer.inverse(torch.zeros(1, 1, 2, 2))
    with pytest.raises(RuntimeError, match="load weights"):
        layer.eval()(torch.zeros(1, 1, 2, 2))


def test_loaded_layer_is_started() -> None:
    trained, fresh = ActNorm(2), ActNorm(2)
    x = torch.randn(2, 2, 4, 4)
    y, _ = trained(x)
    fresh.load_state_dict(trained.state_dict())
    torch.testing.assert_close(fresh.eval().inverse(y)[0], x)


def _start_on_rank(rank: int, folder: str, batches: Tensor) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    layer = ActNorm(3)
    layer(batches[rank])
    torch.save((layer.loc, layer.log_scale), Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


def test_start_is_shared_by_all_ranks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    batches = torch.randn(2, 2, 3, 4, 4) * 3 + 1
    spawn(_start_on_rank, (str(tmp_path), batches), nprocs=2)
    whole = ActNorm(3)
    whole(batches.flatten(0, 1))
    for rank in range(2):
        loc, log_scale = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(loc, whole.loc)
        torch.testing.assert_close(log_scale, whole.log_scale)
