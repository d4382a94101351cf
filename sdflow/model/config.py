"""The sizes of the networks, and what those sizes mean for whoever cuts images into tiles."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

from sdflow.errors import WeightsError

_CONVS_PER_RRDB = 15  # three dense blocks of five 3x3 convolutions
_OUTER_CONVS = 4  # 3x3 convolutions of a condition net outside its trunk
_STEP_REACH = 2  # a coupling net has two 3x3 convolutions


@dataclass(frozen=True, slots=True)
class SizeRequirement:
    """What one direction of the model asks of a whole image, counted in LR pixels.

    Attributes:
        multiple_of: Both sides, and the corners of tiles, are multiples of this.
        minimum: Smallest side.
        reach: No output depends on input further away than this to any side.
    """

    multiple_of: int
    minimum: int
    reach: int


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The sizes that fix every tensor's shape. The defaults are the published network.

    Attributes:
        flow_steps: Steps in each block of the HR flow and in the LR flow.
        coupling_width: Hidden channels of coupling and injector nets.
        condition_width: Channels of the condition nets.
        condition_growth: Channels each dense convolution adds.
        hf_steps: Conditional steps of the high-frequency flow.
        hf_rrdbs: RRDBs in its condition net.
        deg_steps: Conditional steps of the degradation flow.
        deg_rrdbs: RRDBs in its condition net.
        mixture_components: Gaussians in the degradation prior.
        encoder_width: Channels of the LR encoder.
        encoder_blocks: Modulated residual blocks of the LR encoder.
        encoder_modulations: Convolutions that make its modulation features.
    """

    flow_steps: int = 16
    coupling_width: int = 64
    condition_width: int = 64
    condition_growth: int = 32
    hf_steps: int = 8
    hf_rrdbs: int = 8
    deg_steps: int = 8
    deg_rrdbs: int = 4
    mixture_components: int = 16
    encoder_width: int = 64
    encoder_blocks: int = 16
    encoder_modulations: int = 8

    def __post_init__(self) -> None:
        """Refuse sizes that no network can have."""
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise WeightsError(f"{field.name} must be at least 1", item=field.name)

    @property
    def upscale(self) -> SizeRequirement:
        """What upscaling needs: reflection padding wants two pixels."""
        encoder = 2 + self.encoder_modulations + 2 * self.encoder_blocks
        condition = _CONVS_PER_RRDB * self.hf_rrdbs + _OUTER_CONVS
        high_frequency = _STEP_REACH * self.hf_steps
        half_scale = math.ceil(_STEP_REACH * self.flow_steps / 2)  # block 1 works on half pixels
        body = _STEP_REACH * self.flow_steps + half_scale
        return SizeRequirement(1, 2, encoder + condition + high_frequency + body)

    @property
    def downscale(self) -> SizeRequirement:
        """What downscaling needs: its last flows work on 2x2 cells of LR pixels.

        The content is among the channels that the HR flow's last coupling passes unchanged.
        """
        half_scale = math.ceil(_STEP_REACH * self.flow_steps / 2)
        body = _STEP_REACH * (self.flow_steps - 1) + half_scale
        condition = _CONVS_PER_RRDB * self.deg_rrdbs + _OUTER_CONVS
        cells = _STEP_REACH * self.deg_steps + _STEP_REACH * self.flow_steps
        return SizeRequirement(2, 4, body + condition + 2 * cells + 1)

    @property
    def peak_values_per_px(self) -> int:
        """About how many values upscaling holds for every LR pixel at its peak."""
        shared = self.hf_steps * (2 * 45 + self.coupling_width)
        dense = 3 * (self.condition_width + 4 * self.condition_growth)
        return shared + dense + 2 * 4 * self.coupling_width

    def to_dict(self) -> dict[str, int]:
        """Every size by name, as stored in a weights file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, sizes: dict[str, int]) -> ModelConfig:
        """Read :meth:`to_dict` back.

        Raises:
            WeightsError: On an unknown or missing name, or a size that is not a whole number.
        """
        known = {field.name for field in fields(cls)}
        if set(sizes) != known:
            odd = ", ".join(sorted(set(sizes) ^ known))
            raise WeightsError(f"the model configuration has unknown or missing sizes: {odd}")
        if not all(type(size) is int for size in sizes.values()):
            raise WeightsError("the model configuration has sizes that are not whole numbers")
        return cls(**sizes)


PAPER = ModelConfig()
"""The published sizes: official checkpoints load into these."""

SMALL = ModelConfig(
    flow_steps=6,
    coupling_width=32,
    condition_width=32,
    condition_growth=16,
    hf_steps=4,
    hf_rrdbs=2,
    deg_steps=4,
    deg_rrdbs=1,
    encoder_width=32,
    encoder_blocks=8,
    encoder_modulations=4,
)
"""The same rooms at about a tenth of the operations."""

PRESETS = {"paper": PAPER, "small": SMALL}
