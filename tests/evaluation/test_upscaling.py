from __future__ import annotations

import math

import numpy as np
import pytest

from sdflow import TiledEngine
from sdflow.evaluation import fidelity, niqe, samples
from sdflow.evaluation.likelihood import Likelihood
from sdflow.evaluation.pairs import Pair, enlarge, shrink, shrunk_pair
from sdflow.evaluation.sampler import Sampler
from sdflow.evaluation.upscaling import Instruments, measure_upscaling
from sdflow.worker.drawing import Drawer
from tests.model.seeded import TINY, photo, seeded_model

_MODEL = seeded_model(TINY)
_ENGINE = TiledEngine(_MODEL)
_SAMPLER = Sampler(Drawer(_ENGINE), taus=(0.0, 0.5), num_samples=3, seed=7)
_INSTRUMENTS = Instruments(niqe.default_model())
_PAIR = shrunk_pair("a/b.png", photo(200, 204))


def _draw(tau: float, sample: int) -> np.ndarray:
    return _ENGINE.upscale(_PAIR.lr, key=_PAIR.key, seed=7, tau=tau, sample=sample)


def test_samples_are_the_ones_that_a_job_with_this_seed_makes() -> None:
    drawn = _SAMPLER.draw("upscale", _PAIR.key, _PAIR.lr, 0.5)
    assert len(drawn) == 3
    for sample, pixels in enumerate(drawn):
        assert np.array_equal(pixels, _draw(0.5, sample))
    assert len(_SAMPLER.draw("upscale", _PAIR.key, _PAIR.lr, 0.0)) == 1


def test_grey_stays_grey() -> None:
    (grey,) = _SAMPLER.draw("upscale", "a", _PAIR.lr[..., :1], 0.0)
    assert grey.shape == (200, 204, 1)


def test_every_method_is_measured_against_the_truth() -> None:
    found = measure_upscaling(_PAIR, _INSTRUMENTS, sampler=_SAMPLER)
    truth = _PAIR.truth
    assert truth is not None
    assert list(found.scores) == ["bicubic", "lanczos", "tau 0", "tau 0.5", "truth"]
    results = {
        "bicubic": [enlarge(_PAIR.lr, "bicubic")],
        "lanczos": [enlarge(_PAIR.lr, "lanczos")],
        "tau 0": [_draw(0.0, 0)],
        "tau 0.5": [_draw(0.5, sample) for sample in range(3)],
    }
    for method, images in results.items():
        scores = found.scores[method]
        assert scores["psnr_y"] == pytest.approx(
            np.mean([fidelity.psnr(image, truth) for image in images])
        )
        assert scores["ssim_rgb"] == pytest.approx(
            np.mean([fidelity.ssim(image, truth, channel="rgb") for image in images])
        )
        assert scores["lr_psnr"] == pytest.approx(
            np.mean([fidelity.consistency(shrink(image, "bicubic"), _PAIR.lr) for image in images])
        )
        assert np.array_equal(found.pictures.get(method, images)[0], images[0])
    several = results["tau 0.5"]
    assert found.scores["tau 0.5"]["diversity"] == pytest.approx(samples.diversity(several))
    assert found.scores["tau 0.5"]["mean_gain"] == pytest.approx(samples.mean_gain(several, truth))
    assert "diversity" not in found.scores["tau 0"]
    assert found.scores["truth"] == {"niqe": niqe.score(truth, _INSTRUMENTS.niqe)}


def test_own_consistency_goes_back_through_the_network_without_noise() -> None:
    found = measure_upscaling(_PAIR, _INSTRUMENTS, sampler=_SAMPLER)
    for tau in (0.0, 0.5):
        back = _ENGINE.downscale(_draw(tau, 0), key=_PAIR.key, seed=7, tau=0.0)
        assert found.scores[f"tau {tau:g}"]["lr_psnr_own"] == fidelity.consistency(back, _PAIR.lr)


def test_without_a_truth_only_what_needs_none_is_measured() -> None:
    pair = Pair("a", _PAIR.lr)
    found = measure_upscaling(
        pair, _INSTRUMENTS, sampler=_SAMPLER, likelihood=Likelihood(_MODEL, 0)
    )
    assert set(found.scores["lanczos"]) == {"niqe", "lr_psnr"}
    assert set(found.scores["tau 0.5"]) == {"niqe", "lr_psnr", "lr_psnr_own", "diversity"}
    assert "truth" not in found.scores
    assert set(found.bits) == {"lr"}
    assert math.isfinite(found.bits["lr"])


def test_a_truth_that_lacks_a_part_of_a_cell_is_compared_where_it_is() -> None:
    assert _PAIR.truth is not None
    truth = _PAIR.truth[:-3, :-1]
    found = measure_upscaling(Pair("a", _PAIR.lr, truth), _INSTRUMENTS)
    bicubic = enlarge(_PAIR.lr, "bicubic")[:-3, :-1]
    assert found.scores["bicubic"]["psnr_y"] == fidelity.psnr(bicubic, truth)
