"""``sdflow weights``: what is in a weights file, and other containers for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sdflow.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_MAX_PHOTOS = 8


def info(path: str) -> str:
    """Describe weights as JSON: sizes, parameters of each network, hash, reach, calibration.

    Raises:
        WeightsError: If they are missing, damaged or of another network.
    """
    from sdflow.model.checkpoint import weights_hash
    from sdflow.model.config import PRESETS
    from sdflow.model.sdflow import SDFlow

    model = SDFlow.load(path)
    config = model.config
    counts = {
        name: sum(tensor.numel() for tensor in part.parameters())
        for name, part in model.named_children()
    }
    facts = {
        "preset": next((name for name, preset in PRESETS.items() if preset == config), None),
        "sha256": weights_hash(model),
        "parameters": {**counts, "total": sum(counts.values())},
        "reach_lr_px": {"upscale": config.upscale.reach, "downscale": config.downscale.reach},
        "calibration": None if model.calibration is None else model.calibration.to_dict(),
        "config": config.to_dict(),
    }
    return json.dumps(facts, indent=2)


def convert(path: str, out: str) -> str:
    """Rewrite weights as one ``.safetensors`` file, or as a folder of four official files.

    Returns:
        What was written, as one line.

    Raises:
        WeightsError: If they cannot be read, or ``out`` exists or cannot be written.
    """
    from sdflow.model.checkpoint import encode_official, encode_safetensors
    from sdflow.model.sdflow import SDFlow

    model = SDFlow.load(path)
    single = out.endswith(".safetensors")
    lost = " (without the calibration, which that layout cannot hold)"
    files = {Path(out).name: encode_safetensors(model)} if single else encode_official(model)
    return _write(files, out) + ("" if single or model.calibration is None else lost)


def calibrate(path: str, out: str, images: str | None, *, report: Callable[[str], None]) -> str:
    """Measure the halo that weights need and what bf16 costs them, and write both beside them.

    Args:
        path: The weights.
        out: A new ``.safetensors`` file.
        images: Folder of photos to measure with; None for drawn ones.
        report: Told a line for every step.

    Returns:
        What was written, as one line.

    Raises:
        WeightsError: If they cannot be read, or ``out`` exists or cannot be written.
        UsageError: If there is no image in the folder, or ``out`` is no ``.safetensors``.
    """
    from sdflow.model.checkpoint import decode_weights, encode_safetensors, read_weights
    from sdflow.worker.calibrate import measure
    from sdflow.worker.charts import drawn_photos

    if not out.endswith(".safetensors"):
        raise UsageError(f"{out} must end in .safetensors: no other file holds a calibration")
    model = decode_weights(read_weights(path), calibrated=False)  # a wrong one must not stop this
    _refuse_existing(out)
    photos = drawn_photos(1024) if images is None else _read_photos(Path(images))
    model.calibration = measure(model, photos, report=report)
    return _write({Path(out).name: encode_safetensors(model)}, out)


def _read_photos(folder: Path) -> list[NDArray[np.uint8]]:
    photos = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            with Image.open(path) as image:
                photos.append(np.asarray(image.convert("RGB")))
        except (OSError, SyntaxError):
            continue  # whatever else lies there
        if len(photos) == _MAX_PHOTOS:
            break
    if not photos:
        raise UsageError(f"--images {folder} has no image in it: name a folder of photos")
    return photos


def _refuse_existing(out: str) -> None:
    if Path(out).exists():
        raise WeightsError(f"{out} exists already: name a new file or folder", item=out)


def _write(files: dict[str, bytes], out: str) -> str:
    _refuse_existing(out)
    folder = Path(out).parent if out.endswith(".safetensors") else Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise WeightsError(f"cannot write {out}: {error.strerror}", item=out) from error
    return f"wrote {', '.join(str(folder / name) for name in files)}"
