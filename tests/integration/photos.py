"""Photos, weights and runs that the integration tests share."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sdflow.config import load_settings
from sdflow.driver.run import run_job
from sdflow.driver.summary import Summary
from sdflow.storage import keys
from sdflow.storage.store import Store
from sdflow.work.ledger import decode_lines, decode_part


def photo_bytes(seed: int, *, kind: str, side: int) -> bytes:
    """Smooth shapes with noise; every fourth one grey or with alpha."""
    rng = np.random.default_rng(seed)
    height, width = side + seed % 5, side + 3 * (seed % 3)
    y, x = np.mgrid[:height, :width]
    shapes = np.stack([np.sin(y / 6 + seed), np.cos(x / 9), np.sin((x + y) / 13)], axis=2)
    pixels = np.clip(128 + 80 * shapes + rng.normal(0, 9, shapes.shape), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    if kind in ("PNG", "TIFF") and seed % 4 == 0:
        image = image.convert("L")
    elif kind == "PNG" and seed % 4 == 1:
        image.putalpha(Image.fromarray(pixels[..., 0]))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def photos(count: int, *, side: int = 40) -> dict[str, bytes]:
    """Photos of all kinds by key, some in folders and under awkward names."""
    kinds = [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("tif", "TIFF")]
    folders = ["", "2024/", "2024/été 100% + more/"]
    return {
        f"{folders[index % 3]}photo {index:03d}.{kinds[index % 4][0]}": photo_bytes(
            index, kind=kinds[index % 4][1], side=side
        )
        for index in range(count)
    }


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    """Put files into a folder."""
    for key, data in files.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@dataclass(frozen=True)
class Results:
    """What a job left in its destination."""

    outputs: dict[str, bytes]
    summary: dict[str, Any]
    dead_letters: list[dict[str, Any]]
    ledger_keys: list[str]


def results(target: Store) -> Results:
    """Read a destination back."""
    outputs, ledger_keys = {}, []
    for info in target.list():
        if info.key.startswith(keys.LEDGER_PREFIX):
            text = decode_part(target.get(info.key), source=info.key)
            lines = decode_lines(text, source=info.key)
            ledger_keys += [line.key for line in lines]
        elif not keys.is_job_key(info.key):
            outputs[info.key] = target.get(info.key)
    letters = target.get(keys.DEAD_LETTER_KEY).splitlines()
    summary = json.loads(target.get(keys.SUMMARY_KEY))
    return Results(outputs, summary, [json.loads(line) for line in letters], ledger_keys)


def run(task: Any, src: object, dst: object, **settings: object) -> Summary:  # noqa: ANN401
    """Run a job in this process, on the session's Ray."""
    return run_job(task, load_settings({"src": str(src), "dst": str(dst), **settings}))
