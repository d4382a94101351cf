"""What was measured of one set of weights, once: the halo they need and what bf16 costs them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from sdflow.errors import WeightsError

if TYPE_CHECKING:
    from sdflow.model.config import ModelConfig, SizeRequirement

_NEXT = "calibrate the weights again: sdflow weights calibrate IN OUT"


@dataclass(frozen=True, slots=True)
class DirectionCalibration:
    """One direction's figures.

    Attributes:
        halo: Smallest halo, in LR pixels, with which tiles show no seams.
        bf16_db: PSNR in dB of bf16 against float32, outputs clamped to [-1, 1], peak 2.
        bf16_seam: Levels of 255 that this halo changes in bf16, where roundings flip.
    """

    halo: int
    bf16_db: float
    bf16_seam: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Both directions' figures; they hold for the very weights they were measured with."""

    upscale: DirectionCalibration
    downscale: DirectionCalibration

    def of(self, task: Literal["upscale", "downscale"]) -> DirectionCalibration:
        """The figures of one direction."""
        return self.upscale if task == "upscale" else self.downscale

    def to_dict(self) -> dict[str, Any]:
        """As stored in a weights file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> Calibration:
        """Read :meth:`to_dict` back.

        Raises:
            WeightsError: On unknown or missing names, or a figure that cannot be.
        """
        if not isinstance(values, dict) or set(values) != {"upscale", "downscale"}:
            raise WeightsError(f"the weights' calibration is no calibration: {_NEXT}")
        return cls(_direction(values["upscale"]), _direction(values["downscale"]))

    def check(self, config: ModelConfig) -> None:
        """Refuse halos that no network of this size can need.

        Raises:
            WeightsError: Naming the direction.
        """
        for name, one, need in (
            ("upscale", self.upscale, config.upscale),
            ("downscale", self.downscale, config.downscale),
        ):
            if one.halo % need.multiple_of or one.halo > widest_halo(need):
                raise WeightsError(f"the calibrated {name} halo {one.halo} cannot be: {_NEXT}")


def widest_halo(requirement: SizeRequirement) -> int:
    """The reach, rounded up to where tiles may be cut: no halo need be larger."""
    step = requirement.multiple_of
    return -(-requirement.reach // step) * step


def _direction(values: object) -> DirectionCalibration:
    if isinstance(values, dict) and set(values) == {"halo", "bf16_db", "bf16_seam"}:
        halo, *measured = values["halo"], values["bf16_db"], values["bf16_seam"]
        sound = all(type(value) is float and math.isfinite(value) for value in measured)
        if type(halo) is int and halo >= 0 and sound:
            return DirectionCalibration(halo, *measured)
    raise WeightsError(f"the weights' calibration has a figure that cannot be: {_NEXT}")
