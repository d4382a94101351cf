"""Every listed output of the golden files, in both precisions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.model.seeded import GOLDEN, paper_model

_LIMITS = {torch.float64: (2e-7, 1e-9), torch.float32: (1e-4, 1e-4)}


def _outputs(golden: dict[str, NDArray[Any]], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    model = paper_model(int(golden["seed"])).to(dtype)

    def image(name: str) -> torch.Tensor:
        return 2 * (torch.from_numpy(golden[name]).to(dtype) / 255) - 1

    lr, hr, tau = image("lr"), image("hr"), float(golden["tau"])
    component = torch.from_numpy(golden["component"])
    eps_sr = torch.from_numpy(golden["eps_sr"]).to(dtype)
    eps_ds = torch.from_numpy(golden["eps_ds"]).to(dtype)
    content_lr, content_hr = model.encode_content(lr), model.hr_content(hr)
    latent_lr, log_det_lr = model.content_flow(lr)
    return {
        "z_content_lr": content_lr,
        "sr": model.upscale(lr, tau=tau, noise=eps_sr),
        "sr_tau0": model.upscale(lr, tau=0, noise=eps_sr),
        "z_content_hr": content_hr,
        "logp_hr": model.hr_log_prob(hr),
        "z_deg_sample": model.deg_flow.sample(content_hr, eps_ds, component, tau),
        "ds": model.downscale(hr, tau=tau, noise=eps_ds, component=component),
        "ds_tau0": model.downscale(hr, tau=0, noise=eps_ds, component=component),
        "z_lr": latent_lr,
        "logdet_contentflow": log_det_lr,
        "logp_deg": model.deg_flow.log_prob(latent_lr - content_lr, content_lr),
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", ["golden_a", "golden_b"])
def test_every_golden_output_matches(name: str, dtype: torch.dtype) -> None:
    golden = dict(np.load(GOLDEN / f"{name}.npz"))
    inputs = {"lr", "hr", "eps_sr", "eps_ds", "component", "tau", "seed"}
    outputs = _outputs(golden, dtype)
    assert outputs.keys() == golden.keys() - inputs
    for key, value in outputs.items():
        expected = golden[key].astype(np.float64)
        error = np.linalg.norm(value.double().numpy() - expected) / np.linalg.norm(expected)
        limit = _LIMITS[dtype][golden[key].ndim == 1]
        assert error <= limit, f"{key}: {error:.1e} > {limit}"


def test_lr_log_prob_is_the_sum_of_its_parts() -> None:
    golden = dict(np.load(GOLDEN / "golden_a.npz"))
    model = paper_model(int(golden["seed"])).double()
    lr = 2 * (torch.from_numpy(golden["lr"]).double() / 255) - 1
    expected = golden["logdet_contentflow"] + golden["logp_deg"]
    np.testing.assert_allclose(model.lr_log_prob(lr).numpy(), expected, rtol=1e-9)
