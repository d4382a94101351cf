"""Names of the tensors in the official checkpoint files, and ours.

The published layout (with its misspelt part) exists in this table alone. Every pair is the
beginning of an official name and of ours; ``#`` stands for a number kept as it is.
"""

from __future__ import annotations

import re
from functools import cache

from sdflow.errors import WeightsError

OFFICIAL_FILES = {
    "hrnet.pth": "hr_flow",
    "contentnet.pth": "content_flow",
    "degnet.pth": "deg_flow",
    "lrencoder.pth": "encoder",
}
"""Official file name to the part of :class:`~sdflow.model.sdflow.SDFlow` that it fills."""

_Pairs = tuple[tuple[str, str], ...]

_TRANSITION: _Pairs = (("actnorm.", "actnorm."), ("inv_conv.", "conv1x1."))
_COUPLING_NET: _Pairs = (
    ("conv1.conv2d.", "conv1."),
    ("conv2.conv2d.", "conv2."),
    ("conv3.", "conv3."),
)


def _under(official: str, ours: str, pairs: _Pairs) -> _Pairs:
    return tuple((official + theirs, ours + mine) for theirs, mine in pairs)


_STEP: _Pairs = (
    ("actnorm.", "actnorm."),
    ("permute.", "conv1x1."),
    *_under("affine_coulping.net.", "coupling.net.", _COUPLING_NET),
    *_under("affine_injector.net.", "injector.net.", _COUPLING_NET),
)
_CONDITION: _Pairs = (
    ("in_conv.1.", "conv_in."),
    ("trunk.#.RDB#.", "trunk.#.block#."),
    ("trans.1.", "conv_trunk."),
    ("out_conv.1.", "conv_out1."),
    ("out_conv.4.", "conv_out2."),
)
_NAMES: dict[str, _Pairs] = {
    "hr_flow": (
        *_under(
            "blocks.#.squeeze_transition.transitions.#.", "blocks.#.transition.#.", _TRANSITION
        ),
        *_under("blocks.#.steps.#.", "blocks.#.steps.#.", _STEP),
        *_under("blocks.1.split.conditional_flow.cond_net.", "condition.", _CONDITION),
        *_under("blocks.1.split.conditional_flow.additional_flow_steps.#.", "hf_flow.#.", _STEP),
    ),
    "content_flow": (
        *_under("blocks.0.squeeze_transition.transitions.#.", "transition.#.", _TRANSITION),
        *_under("blocks.0.steps.#.", "steps.#.", _STEP),
        *_under("blocks.0.expand_transition.transitions.#.", "expand.#.", _TRANSITION),
    ),
    "deg_flow": (
        ("means", "prior.means"),
        ("log_stds", "prior.log_stds"),
        *_under("deg_net.cond_net.0.", "condition.net.", _CONDITION),
        ("deg_net.cond_net.2.", "condition.conv."),
        *_under("deg_net.squeeze_transition.transitions.#.", "flow.transition.#.", _TRANSITION),
        *_under("deg_net.additional_flow_steps.#.", "flow.steps.#.", _STEP),
    ),
    "encoder": (
        ("in_conv.1.", "conv_in."),
        *((f"mf_conv.{1 + 3 * index}.", f"modulations.{index}.") for index in range(8)),
        ("trunk.#.fm#.", "trunk.#.modulation#."),
        ("trunk.#.conv#.1.", "trunk.#.conv#."),
        ("out_conv.1.", "conv_out1."),
        ("out_conv.3.", "conv_out2."),
    ),
}


def from_official(part: str, name: str) -> str:
    """Translate an official tensor name of one part into ours.

    Raises:
        WeightsError: If the published network has no such tensor.
    """
    return _rewrite(name, _patterns(part, to_official=False))


def to_official(part: str, name: str) -> str:
    """Translate one of our tensor names of one part into the official one."""
    return _rewrite(name, _patterns(part, to_official=True))


@cache
def _patterns(part: str, *, to_official: bool) -> tuple[tuple[re.Pattern[str], str], ...]:
    pairs = _NAMES[part]
    if to_official:
        pairs = tuple((ours, official) for official, ours in pairs)
    return tuple((re.compile(re.escape(old).replace(r"\#", r"(\d+)")), new) for old, new in pairs)


def _rewrite(name: str, patterns: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, new in patterns:
        if match := pattern.match(name):
            return new.replace("#", "{}").format(*match.groups()) + name[match.end() :]
    raise WeightsError(f"{name!r} is no tensor of the SDFlow network", item=name)
