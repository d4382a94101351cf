"""``sdflow demo``: the whole thing on a few drawn photos, with no arguments and no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from jobs import downscale, upscale
from sdflow.config import load_settings
from sdflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

_SIDE = 192


def run(folder: str, *, report: Callable[[str], None]) -> int:
    """Draw charts into ``folder/photos``, upscale and downscale them, say where everything is.

    Returns:
        The worse of the two jobs' exit statuses.

    Raises:
        UsageError: If the folder cannot be written.
    """
    root = Path(folder)
    try:
        draw_charts(root / "photos")
    except OSError as error:
        raise UsageError(f"cannot draw into {root}: {error.strerror}", item=folder) from error
    status = 0
    for job in (upscale, downscale):
        name = job.__name__.rpartition(".")[2]
        target = root / f"{name}d"
        summary = job.run(load_settings({"src": str(root / "photos"), "dst": str(target)}))
        status = max(status, summary.exit_status)
        report(
            f"{name}: {summary.done} done, {summary.skipped} skipped, {summary.failed} failed\n"
            f"  results  {target}\n"
            f"  summary  {target / '_sdflow' / 'summary.json'}"
        )
    return status


def draw_charts(folder: Path) -> None:
    """Draw one test chart for every kind of file that the job takes."""
    folder.mkdir(parents=True, exist_ok=True)
    scene = _scene()
    grey = _star().convert("L")
    cut_out = scene.copy()
    cut_out.putalpha(_star().convert("L").filter(ImageFilter.GaussianBlur(2)))
    scene.save(folder / "scene.jpg", quality=92)
    _noisy(scene).save(folder / "night.webp", quality=90)
    grey.save(folder / "star.tif")
    cut_out.save(folder / "cutout.png")


def _scene() -> Image.Image:
    """A sky, hills, a lit house and a fence: edges, gradients and fine texture."""
    rows = np.linspace(0, 1, _SIDE)[:, None, None]
    sky = (1 - rows) * np.array([70, 120, 190]) + rows * np.array([250, 200, 160])
    image = Image.fromarray(np.broadcast_to(sky, (_SIDE, _SIDE, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for depth, colour in enumerate(((96, 124, 110), (66, 100, 74), (44, 74, 44))):
        base = 96 + 26 * depth
        ridge = [
            (x, base + 12 * np.sin(x / (17 + 6 * depth) + 2 * depth) + 3 * np.sin(x / 3.1))
            for x in range(_SIDE)
        ]
        draw.polygon([*ridge, (_SIDE, _SIDE), (0, _SIDE)], fill=colour)
    draw.rectangle((110, 110, 160, 150), fill=(150, 70, 52))
    draw.polygon([(104, 110), (135, 86), (166, 110)], fill=(84, 42, 40))
    draw.rectangle((120, 120, 132, 134), fill=(255, 236, 150))
    for x in range(4, _SIDE, 9):
        draw.rectangle((x, 158, x + 3, 182), fill=(226, 220, 204))
    draw.rectangle((0, 164, _SIDE, 167), fill=(210, 204, 190))
    return image


def _star() -> Image.Image:
    """A Siemens star: every spatial frequency at once."""
    y, x = np.mgrid[:_SIDE, :_SIDE] - (_SIDE - 1) / 2
    spokes = np.where(np.sin(24 * np.arctan2(y, x)) > 0, 235, 20)
    disc = np.where(np.hypot(x, y) < 0.46 * _SIDE, spokes, 128)
    return Image.fromarray(disc.astype(np.uint8))


def _noisy(image: Image.Image) -> Image.Image:
    """Dark, with the noise of a small sensor."""
    pixels = np.asarray(image, np.float64) * 0.35
    noise = np.random.default_rng(0).normal(0, 6, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
