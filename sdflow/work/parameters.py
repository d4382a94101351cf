"""Everything that a job's results depend on beside their sources, and its hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

Task = Literal["upscale", "downscale"]


@dataclass(frozen=True, slots=True)
class PixelParameters:
    """What a job's results depend on, beside the sources themselves.

    Two jobs with equal parameters give equal bytes on the same kind of device.

    Attributes:
        task: Direction.
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
    """

    task: Task
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

    @property
    def hash(self) -> str:
        """Short hash for ledger lines."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def short_weights(self) -> str:
        """Beginning of the weights' hash, for ledger lines."""
        return self.weights[:16]

    def differences(self, recorded: dict[str, Any]) -> list[str]:
        """Say what differs from the parameters in a ``job.json``: ``name: old there, now new``."""
        return [
            f"{name}: {recorded.get(name)!r} there, now {value!r}"
            for name, value in asdict(self).items()
            if recorded.get(name) != value
        ]
