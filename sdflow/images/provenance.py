"""Where an image came from: what is written into every result about how it was made."""

from __future__ import annotations

from dataclasses import dataclass, fields

NAMESPACE = "urn:sdflow:provenance:1"
PREFIX = "sdflow"


@dataclass(frozen=True, slots=True)
class Provenance:
    """How the pixels of a result were drawn; no time or place, so the same job gives it again.

    Attributes:
        software: Name and version.
        weights: Hash of the weights, or the name of what stood in for them.
        task: ``upscale``, ``downscale`` or ``degrade``.
        tau: Sampling temperature.
        seed: Seed of the job.
        sample: Number of the sample, from 0.
    """

    software: str
    weights: str
    task: str
    tau: float
    seed: int
    sample: int

    def properties(self) -> dict[str, str]:
        """Names and values as they stand in XMP."""
        return {field.name: str(getattr(self, field.name)) for field in fields(self)}


PREVIOUS_SOFTWARE = "previousSoftware"
PROPERTIES = (*(field.name for field in fields(Provenance)), PREVIOUS_SOFTWARE)
