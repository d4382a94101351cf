"""Everything that a job's results depend on beside their sources, and its hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

Task = Literal["upscale", "downscale"]
"""Direction through the network."""

JobTask = Literal["upscale", "downscale", "degrade"]
"""What a job does: one direction, or pairs of HR images and what is drawn below them."""


@dataclass(frozen=True, slots=True)
class PairParameters:
    """What pairs depend on beyond what single results do.

    Attributes:
        layout: ``folders``: one object for every image of a pair; ``webdataset``: tar shards.
        tau_to: Upper end of the range that every image and sample draws its temperature from;
            ``PixelParameters.tau`` is the lower one.
        crop: Side of the square HR images that are cut out; None for whole images.
        stride: HR pixels from one to the next.
        depth: ``keep``, or 8 to round deeper images to 8 bits.
        min_texture: Least mean gradient of an HR image in 8-bit levels; flatter ones are left out.
    """

    layout: Literal["folders", "webdataset"]
    tau_to: float
    crop: int | None
    stride: int | None
    min_texture: float
    depth: Literal["keep", 8] = "keep"


@dataclass(frozen=True, slots=True)
class PixelParameters:
    """What a job's results depend on, beside the sources themselves.

    Two jobs with equal parameters give equal bytes on the same kind of device.

    Attributes:
        task: What the job does.
        weights: SHA-256 of the weights, or ``bicubic``.
        tau: Sampling temperature.
        seed: Seed of the job.
        samples: Outputs per image.
        outscale: Final scale of an upscaled image, resampled from the x4 result; 4 is that itself.
        format: Format of the results, or ``keep``.
        quality: Quality of lossy formats.
        metadata: Whether what surrounds the pixels is kept: ``keep`` or ``strip``.
        tiff_pyramid: Whether TIFF results hold reduced copies.
        precision: Arithmetic, resolved.
        tile: Side of a tile in LR pixels, resolved; None for bicubic.
        halo: LR pixels around a tile, resolved; None for bicubic.
        overlap: LR pixels over which neighbouring tiles are blended; None for bicubic.
        pairs: Of a job that makes pairs; None for others.
    """

    task: JobTask
    weights: str
    tau: float
    seed: int
    samples: int
    outscale: float
    format: str
    quality: int
    metadata: Literal["keep", "strip"]
    tiff_pyramid: bool
    precision: str
    tile: int | None
    halo: int | None
    overlap: int | None
    pairs: PairParameters | None = None

    @property
    def direction(self) -> Task:
        """Through the network."""
        return "upscale" if self.task == "upscale" else "downscale"

    @property
    def hash(self) -> str:
        """Short hash for ledger lines."""
        given = asdict(self)
        if self.pairs is None:
            del given["pairs"]  # other jobs keep the hash they had before there were pairs
        return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def short_weights(self) -> str:
        """Beginning of the weights' hash, for ledger lines."""
        return self.weights[:16]

    def differences(self, recorded: dict[str, Any]) -> list[str]:
        """Say what differs from the parameters in a ``job.json``: ``name: old there, now new``."""
        there, now = _flat(recorded), _flat(asdict(self))
        return [
            f"{name}: {there.get(name)!r} there, now {now.get(name)!r}"
            for name in {**now, **there}
            if there.get(name) != now.get(name)
        ]


def _flat(given: dict[str, Any]) -> dict[str, Any]:
    """Parameters by name, those of pairs among them."""
    single = {name: value for name, value in given.items() if name != "pairs"}
    return single | (given.get("pairs") or {})
