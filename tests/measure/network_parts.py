"""A photo through the network whole and in parts: ``python -m tests.measure.network_parts``.

A drawn photo of 4 megapixels is upscaled twice by ``sdflow upscale`` with two workers and the small
network, its tensors drawn at random: once whole, once with a ``--giant-pixels`` that cuts it into
parts. Printed is how far the two results are apart; 1 if by more than a level of 255.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdflow.images.codec import decode
from sdflow.images.encoding import encode
from sdflow.images.formats import ImageFormat, Metadata, WriteOptions
from sdflow.model.checkpoint import encode_safetensors
from sdflow.model.config import SMALL
from tests.measure.scenes import scene_cell
from tests.model.seeded import seeded_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CELLS = 4
_LIMITS = {"whole": 10**9, "in parts": 1_000_000}


def main() -> int:
    """Draw, run both jobs, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=2000, help="of the photo, in pixels")
    side = parser.parse_args().side
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        photo = encode(_scene(side), Metadata(), WriteOptions(ImageFormat.PNG), key="photo")
        (folder / "in" / "photo.png").write_bytes(photo)
        (folder / "small.safetensors").write_bytes(encode_safetensors(seeded_model(SMALL)))
        whole, parts = (_upscaled(folder, how) for how in _LIMITS)
    distance = np.abs(whole.astype(np.int16) - parts)
    print(  # noqa: T201  # what the command is for
        f"{whole.shape[1]} x {whole.shape[0]} pixels: {np.count_nonzero(distance)} samples differ, "
        f"by {distance.max()} levels at most"
    )
    return int(distance.max() > 1)


def _scene(side: int) -> NDArray[np.uint8]:
    rows = [
        np.concatenate([scene_cell(row, column) for column in range(_CELLS)], axis=1)
        for row in range(_CELLS)
    ]
    return np.ascontiguousarray(np.concatenate(rows)[:side, :side])


def _upscaled(folder: Path, how: str) -> NDArray[np.uint8 | np.uint16]:
    target = folder / how
    command = [
        *(sys.executable, "-m", "jobs.cli", "upscale", str(folder / "in"), str(target)),
        *("--weights", str(folder / "small.safetensors"), "--workers", "2"),
        *("--giant-pixels", str(_LIMITS[how])),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    summary = json.loads(done.stdout)
    print(f"{how}: {summary['seconds']:.0f} s")  # noqa: T201  # what the command is for
    data = (target / "photo.png").read_bytes()
    return decode(data, key="photo.png", max_pixels=10**9).pixels


if __name__ == "__main__":
    sys.exit(main())
