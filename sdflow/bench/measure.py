"""Interleaved measurements: every round runs every form once, beside the machine's own limit."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, log10
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F  # noqa: N812  # torch's own convention

from sdflow.bench.flops import downscale_flop, upscale_flop
from sdflow.bench.forms import ENGINE_FORMS, Case

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdflow.bench.runner import FormRunner, LocalRunner, Timing
    from sdflow.model.config import ModelConfig

_ROOFLINE_SIDE, _ROOFLINE_CHANNELS, _ROOFLINE_REPEATS = 128, 64, 10


@dataclass(frozen=True, slots=True)
class Row:
    """One form of one case.

    Attributes:
        case: Name of the case.
        form: Name of the form.
        samples: Outputs of each image.
        seconds: Median.
        px_per_s: LR pixels of all outputs a second.
        source_mp_per_s: Megapixels of sources a second.
        gflop_per_s: By the network's nominal arithmetic, whatever the form really computes.
        roofline: That rate as a share of this machine's convolution rate in the same precision.
        speedup: Against the plain form; None where that was not run.
        peak_bytes: Most memory in use.
        psnr_db: Of bf16 against float32, None for others.
    """

    case: str
    form: str
    samples: int
    seconds: float
    px_per_s: float
    source_mp_per_s: float
    gflop_per_s: float
    roofline: float
    speedup: float | None
    peak_bytes: int | None
    psnr_db: float | None


def measure(
    case: Case,
    forms: Sequence[str],
    config: ModelConfig,
    engine: LocalRunner,
    baseline: FormRunner,
    *,
    runs: int,
) -> list[Row]:
    """Measure forms of one case against each other.

    Args:
        case: What to run.
        forms: In which ways; the engine's own run in this process, the others by ``baseline``.
        config: Sizes of the network.
        engine: Runs the engine's forms.
        baseline: Runs the others.
        runs: Rounds, after one that is not counted.
    """

    def run(form: str) -> Timing:
        return (engine if form in ENGINE_FORMS else baseline).run(form, case)

    timings: dict[str, list[Timing]] = {form: [] for form in forms}
    rates: dict[str, list[float]] = {name: [] for name in ENGINE_FORMS}
    for number in range(runs + 1):
        found = {form: run(form) for form in forms}
        limits = {name: roofline_flop_per_s(dtype, engine) for name, dtype in ENGINE_FORMS.items()}
        if number:
            for form, timing in found.items():
                timings[form].append(timing)
            for name, rate in limits.items():
                rates[name].append(rate)
    image_px = case.images * case.side**2
    nominal = upscale_flop if case.task == "upscale" else downscale_flop
    flop = image_px * nominal(config, samples=case.samples)
    seconds = {form: median(timing.seconds for timing in timings[form]) for form in forms}
    source_px = image_px * (1 if case.task == "upscale" else 16)
    return [
        Row(
            case=case.name,
            form=form,
            samples=case.samples,
            seconds=seconds[form],
            px_per_s=case.pixels / seconds[form],
            source_mp_per_s=source_px / seconds[form] / 1e6,
            gflop_per_s=flop / seconds[form] / 1e9,
            roofline=flop / seconds[form] / median(rates[_precision(form)]),
            speedup=seconds["plain"] / seconds[form] if "plain" in seconds else None,
            peak_bytes=max((t.peak_bytes or 0 for t in timings[form]), default=0) or None,
            psnr_db=_psnr_db(engine) if form == "bf16" and "fp32" in forms else None,
        )
        for form in forms
    ]


def roofline_flop_per_s(dtype: torch.dtype, engine: LocalRunner) -> float:
    """This machine's rate of 3x3 convolutions, 64 to 64 channels at 128 x 128, channels last."""
    channels, side = _ROOFLINE_CHANNELS, _ROOFLINE_SIDE
    options = {"device": engine.device, "dtype": dtype}
    x = torch.ones(1, channels, side, side, **options)  # type: ignore[call-overload]  # its stub
    weight = torch.ones(channels, channels, 3, 3, **options)  # type: ignore[call-overload]  # same
    x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
    with torch.inference_mode():
        F.conv2d(x, weight, padding=1)
        engine.wait()
        started = perf_counter()
        for _ in range(_ROOFLINE_REPEATS):
            F.conv2d(x, weight, padding=1)
        engine.wait()
        seconds = perf_counter() - started
    return _ROOFLINE_REPEATS * 2 * 9 * channels**2 * side**2 / seconds


def _precision(form: str) -> str:
    return "bf16" if "bf16" in form else "fp32"


def _psnr_db(engine: LocalRunner) -> float:
    exact, half = (engine.outputs[form].double().clamp(-1, 1) for form in ("fp32", "bf16"))
    error = float((exact - half).square().mean())
    if not isfinite(error):
        return 0.0
    return 200.0 if error == 0 else min(200.0, 10 * log10(4 / error))
