"""``sdflow evaluate``: how good the network is, beside bicubic and Lanczos."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import structlog

from sdflow.config import JobSettings
from sdflow.driver.places import s3_options
from sdflow.driver.weights import find_weights
from sdflow.errors import SdflowError, UsageError
from sdflow.evaluation.libraries import library
from sdflow.evaluation.result import to_json
from sdflow.evaluation.sampler import Sampler
from sdflow.evaluation.sheet import draw_sheet
from sdflow.evaluation.table import bits_line, count_line, score_table
from sdflow.storage.location import StoreLocation, open_store, overlaps
from sdflow.worker.copying import COPY

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdflow.evaluation.comparison import Findings
    from sdflow.evaluation.likelihood import Likelihood
    from sdflow.evaluation.settings import EvaluateSettings
    from sdflow.storage.location import S3Options
    from sdflow.storage.store import Store

JSON_KEY, SHEET_KEY = "evaluation.json", "sheet.png"
_PACKAGES = ("numpy", "pillow", "scikit-image", "scipy", "torch")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Network:
    """What is measured.

    Attributes:
        name: SHA-256 of the weights, or ``bicubic`` where there is no network.
        precision: Of its arithmetic.
        device: Where it runs.
        sampler: None where there is no network.
        likelihood: Likewise.
    """

    name: str
    precision: str = "fp32"
    device: str = "cpu"
    sampler: Sampler | None = None
    likelihood: Likelihood | None = None


def run(settings: EvaluateSettings, *, report: Callable[[str], None]) -> int:
    """Measure, print a table, and write JSON and a contact sheet where that is asked for.

    Args:
        settings: The command's.
        report: Given the table, and where things were written.

    Returns:
        Exit status: 3 if images were left out, else 0.

    Raises:
        UsageError: Settings do not go together, there is no photo, or scikit-image is missing.
        WeightsError: Weights cannot be read.
        StorageError: A store refuses.
        ImageError: Not one image could be measured.
    """
    settings.check()
    for name in ("scipy.stats", "skimage.metrics"):
        library(name)  # now rather than after the first image
    options = s3_options(settings)
    stores = {
        name: open_store(StoreLocation(address, options))
        for name in ("src", "reference", "real_lr")
        if (address := getattr(settings, name)) is not None
    }
    target = _target(settings, options)
    network = _network(settings, options)
    try:
        findings = _findings(settings, stores, network)
    except KeyboardInterrupt:
        raise SdflowError("stopped; nothing was written") from None
    for line in (score_table, bits_line, count_line):
        if text := line(findings.result):
            report(text)
    for one in findings.left_out:
        report(f"left out: {one.key}: {one.error.code}: {one.error}")
    if target is not None:
        facts = _facts(settings, stores, network, findings)
        target.put(JSON_KEY, to_json(findings.result, facts).encode())
        written = [JSON_KEY]
        if findings.sheet:
            target.put(SHEET_KEY, draw_sheet(findings.sheet))
            written.append(SHEET_KEY)
        report(f"wrote {' and '.join(written)} to {target.url}")
    return 3 if findings.left_out else 0


def _target(settings: EvaluateSettings, options: S3Options) -> Store | None:
    if settings.out is None:
        return None
    place = StoreLocation(settings.out, options)
    for flag, address in (
        ("SRC", settings.src),
        ("--reference", settings.reference),
        ("--real-lr", settings.real_lr),
    ):
        if address is not None and overlaps(place, StoreLocation(address, options)):
            raise UsageError(
                f"--out {place.url} and {flag} {address} overlap: the contact sheet would become a "
                "photo; choose another --out",
                item="--out",
            )
    store = open_store(place)
    if place.is_s3:
        store.check()
    return store


def _network(settings: EvaluateSettings, options: S3Options) -> _Network:
    if settings.weights == COPY:
        raise UsageError("--weights copy makes nothing that could be measured", item="--weights")
    # What a job in this process would be told: the same weights, tiles and precision.
    job = JobSettings.model_construct(weights=settings.weights, precision=settings.precision)
    weights = find_weights(job, settings.task, options)
    if weights.data is None:
        _log.warning("weights are 'bicubic': the baselines alone are measured")
        return _Network(weights.name)
    import torch

    from sdflow.evaluation.likelihood import Likelihood
    from sdflow.model.checkpoint import decode_weights
    from sdflow.worker.allocator import keep_freed_memory
    from sdflow.worker.drawing import Drawer
    from sdflow.worker.engine import TiledEngine

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        keep_freed_memory()
    model = decode_weights({"model.safetensors": weights.data}).to(device)
    goes_down = model.has_degradation
    # Both directions run, so that each takes the halo of its own.
    engine = TiledEngine(model, tile=weights.tile, precision=weights.precision)
    sampler = Sampler(
        Drawer(engine), settings.temperatures, settings.samples, settings.seed, goes_down
    )
    likelihood = Likelihood(model, settings.seed)
    return _Network(weights.name, weights.precision, device, sampler, likelihood)


def _findings(settings: EvaluateSettings, stores: dict[str, Store], network: _Network) -> Findings:
    from sdflow.evaluation.comparison import compare_downscaling, compare_upscaling

    compare = compare_upscaling if settings.task == "upscale" else compare_downscaling
    return compare(settings, stores, sampler=network.sampler, likelihood=network.likelihood)


def _facts(
    settings: EvaluateSettings, stores: dict[str, Store], network: _Network, findings: Findings
) -> dict[str, Any]:
    """What the numbers depend on. No credential is among it."""
    names = ("taus", "samples", "seed", "shrink", "include", "exclude", "limit", "crop")
    return {
        "task": settings.task,
        "source": stores["src"].url,
        "reference": stores["reference"].url if "reference" in stores else None,
        "real_lr": stores["real_lr"].url if "real_lr" in stores else None,
        "weights": {"given": settings.weights, "name": network.name},
        "precision": network.precision,
        "device": network.device,
        "lpips": settings.lpips_net if settings.lpips_backbone else None,
        "settings": {name: getattr(settings, name) for name in names},
        "versions": {name: version(name) for name in ("sdflow", *_PACKAGES)},
        "left_out": [
            {
                "place": one.place,
                "key": one.key,
                "error": one.error.code,
                "message": str(one.error),
            }
            for one in findings.left_out
        ],
    }
