"""Operations of the convolutions per LR pixel: what the task needs, whoever runs it.

FLOP are 2 MAC of the 3x3 and 1x1 convolutions, without the flows' own 1x1 mixing. Whatever a form
computes beyond that (a likelihood nobody asked for) does not count as work done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdflow.model.config import ModelConfig

_AREA = 9  # of a 3x3 convolution
_CONTENT = 3
_HIGH_FREQUENCY = 45
_HALF_SCALE = 12  # channels of block 1, which has four positions for every LR pixel
_FULL_SCALE = 48  # channels of block 2
_CELL = 12  # channels of the flows that have one position for every four LR pixels


def upscale_flop(config: ModelConfig, *, samples: int = 1) -> float:
    """FLOP per LR pixel to draw ``samples`` HR images of one LR image."""
    features = _encoder(config) + _condition(config, config.hf_rrdbs)
    shared = features + _from_context(config, _HIGH_FREQUENCY, config.hf_steps)
    drawn = _from_latent(config, _HIGH_FREQUENCY, config.hf_steps) + _body(config)
    return 2 * (shared + samples * drawn)


def downscale_flop(config: ModelConfig, *, samples: int = 1) -> float:
    """FLOP per LR pixel to draw ``samples`` LR images of one HR image."""
    condition = _condition(config, config.deg_rrdbs) + config.condition_width**2
    shared = _body(config) + condition + _from_context(config, _CELL, config.deg_steps) / 4
    lr_flow = config.flow_steps * _net(config, _CELL // 2, _CELL // 2)
    drawn = (_from_latent(config, _CELL, config.deg_steps) + lr_flow) / 4
    return 2 * (shared + samples * drawn)


def high_frequency_flop(config: ModelConfig) -> float:
    """FLOP per LR pixel of the high-frequency flow, which only a likelihood needs."""
    steps = config.hf_steps
    flow = _from_context(config, _HIGH_FREQUENCY, steps)
    flow += _from_latent(config, _HIGH_FREQUENCY, steps)
    return 2 * (_condition(config, config.hf_rrdbs) + flow)


def _body(config: ModelConfig) -> int:
    half, full = (_net(config, size // 2, size // 2) for size in (_HALF_SCALE, _FULL_SCALE))
    return config.flow_steps * (4 * half + full)


def _encoder(config: ModelConfig) -> int:
    width = config.encoder_width
    square = _AREA * width * width
    block = 2 * square + 2 * width * 2 * width
    trunk = config.encoder_modulations * square + config.encoder_blocks * block
    return _AREA * _CONTENT * width + trunk + square + width * _CONTENT


def _condition(config: ModelConfig, num_rrdbs: int) -> int:
    width, growth = config.condition_width, config.condition_growth
    dense = _AREA * sum(
        (width + index * growth) * (growth if index < 4 else width) for index in range(5)
    )
    return _AREA * _CONTENT * width + 3 * num_rrdbs * dense + 3 * _AREA * width * width


def _from_context(config: ModelConfig, channels: int, steps: int) -> int:
    """What a conditional flow makes of the features alone: injectors, and a part of couplings."""
    width = config.condition_width
    injectors = steps * _net(config, width, channels)
    return injectors + (steps - 1) * _AREA * width * config.coupling_width


def _from_latent(config: ModelConfig, channels: int, steps: int) -> int:
    """The rest of its couplings; the last step has none."""
    kept = channels // 2
    return (steps - 1) * _net(config, kept, channels - kept)


def _net(config: ModelConfig, channels_in: int, num_changed: int) -> int:
    hidden = config.coupling_width
    return _AREA * channels_in * hidden + hidden * hidden + _AREA * hidden * 2 * num_changed
