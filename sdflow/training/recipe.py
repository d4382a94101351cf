"""Everything that decides what a training run computes, and nothing that does not."""

from __future__ import annotations

import bisect
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from sdflow.errors import UsageError
from sdflow.model.config import PRESETS, ModelConfig

NETWORKS = ("hr_flow", "content_flow", "deg_flow", "encoder")
"""The four networks of a model, by the names of its parts."""

_HALVINGS = (0.5, 0.75, 0.9, 0.95)  # shares of the steps at which the learning rate is halved


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Factors of the terms of the loss (arXiv:2310.04964, eq. 14-19; * ours).

    Attributes:
        nll: Negative log-likelihood of both sides, bits per dimension *.
        content: Low-pass L1 of the content's LR image.
        feature: Perceptual part of the content and backward terms (the paper's alpha).
        domain: Least-squares GAN between the two content latents.
        energy: Mean square of the content latents (beta_1).
        match: Distance of z_LR from the encoder's content (beta_2).
        anchor: L1 at temperature 0 from the bicubic LR image *.
        agree: L1 of the encoder's content from that of the HR photo, where that is known *.
        pixel: L1 at temperature 0 of the backward terms.
        perceptual: Perceptual part of the backward terms.
        gan_lr: GAN of the LR images drawn at temperatures above 0.
        gan_hr: GAN of the HR photos drawn likewise.
    """

    nll: float = 1.0
    content: float = 1.0
    feature: float = 0.05
    domain: float = 0.05
    energy: float = 0.05
    match: float = 0.5
    anchor: float = 0.0
    agree: float = 0.0
    pixel: float = 0.5
    perceptual: float = 0.5
    gan_lr: float = 0.1
    gan_hr: float = 0.1

    def __post_init__(self) -> None:
        """Refuse factors that are no weights."""
        for item in fields(self):
            if not 0 <= getattr(self, item.name) < math.inf:
                raise UsageError(f"loss weight {item.name} is below 0 or infinite", item=item.name)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training run; the defaults are the paper's, or marked * as ours in the attributes.

    Attributes:
        model: Sizes of the networks.
        steps: Of the optimiser, in all.
        batch: HR patches, and as many LR patches, a step over all workers.
        patch: Side of an HR patch in pixels, a multiple of 8; LR patches are a quarter of it.
        learning_rate: Of the model, before it is halved at 50, 75, 90 and 95 % of the steps.
        discriminator_rate: Of the discriminators *.
        warmup: Steps over which the learning rates rise from 0 *.
        degradation_from: Step from which the likelihood of LR photos counts: what they have beyond
            their content is worth modelling once the encoder knows content from noise *.
        backward_from: Step from which the backward terms count.
        gan_from: Step from which the discriminators of images count *.
        grain: Largest standard deviation, in 8-bit levels, of noise on half of the anchors *.
        clip: Largest norm of the gradient.
        ema: Decay of the average of the weights, which is what gets exported *.
        temperatures: Range that the GAN terms draw theirs from *.
        start: ``haar``: the squeezes' first mixes are Haar transforms and the encoder starts as
            the identity *; ``random``: rotations.
        precision: ``fp32``, ``bf16`` (convolutions under autocast), or ``fp64`` to compare runs.
        frozen: Networks that do not learn, of ``hr_flow``, ``content_flow``, ``deg_flow`` and
            ``encoder``, or parts of them, such as ``hr_flow.blocks`` *.
        max_skipped: Steps in a row without a usable gradient that end the run.
        seed: Of weights, patches and noise.
        losses: Factors of the loss.
    """

    model: ModelConfig = PRESETS["paper"]
    steps: int = 200_000
    batch: int = 32
    patch: int = 192
    learning_rate: float = 1e-4
    discriminator_rate: float = 1e-4
    warmup: int = 0
    degradation_from: int = 0
    backward_from: int = 50_000
    gan_from: int = 50_000
    grain: float = 0.0
    clip: float = 1.0
    ema: float = 0.999
    temperatures: tuple[float, float] = (0.6, 1.0)
    start: Literal["haar", "random"] = "haar"
    precision: Literal["fp32", "bf16", "fp64"] = "fp32"
    frozen: tuple[str, ...] = ()
    max_skipped: int = 20
    seed: int = 0
    losses: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if self.patch % 8 or self.patch < 32:
            raise UsageError(f"--patch {self.patch}: multiples of 8, from 32", item="--patch")
        for name in ("steps", "batch", "max_skipped"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be at least 1", item=name)

        if not {name.partition(".")[0] for name in self.frozen} <= set(NETWORKS):
            raise UsageError(f"--frozen: {', '.join(NETWORKS)}, or a part of one", item="--frozen")
        if set(NETWORKS) <= set(self.frozen):
            raise UsageError("--frozen: nothing is left to learn", item="--frozen")

    @property
    def learns_to_upscale(self) -> bool:
        """Whether one of the networks that upscale learns."""
        return not {"hr_flow", "encoder"} <= set(self.frozen)

    @property
    def patch_lr(self) -> int:
        """Side of an LR patch in pixels."""
        return self.patch // 4

    def rate_factor(self, step: int) -> float:
        """What the learning rates are multiplied with at a step, the first being 0."""
        halvings = bisect.bisect_right([share * self.steps for share in _HALVINGS], step)
        return min(1.0, (step + 1) / (self.warmup + 1)) * 0.5**halvings

    def ema_decay(self, step: int) -> float:
        """Decay of the average at a step: short runs must forget where they began."""
        return min(self.ema, (step + 1) / (step + 10))

    def to_dict(self) -> dict[str, Any]:
        """As stored in checkpoints."""
        return asdict(self)


TINY = ModelConfig(
    flow_steps=2,
    coupling_width=16,
    condition_width=16,
    condition_growth=8,
    hf_steps=2,
    hf_rrdbs=1,
    deg_steps=2,
    deg_rrdbs=1,
    mixture_components=4,
    encoder_width=16,
    encoder_blocks=2,
    encoder_modulations=1,
)
"""Sizes for tests: everything the published network has, once."""

_SHORT = LossWeights(
    nll=0.02, content=0.5, energy=0.001, match=0.5, domain=0.2, anchor=5.0, agree=0.25, pixel=2.0,
    perceptual=0.2, gan_lr=0.2, gan_hr=0.02,
)  # fmt: skip

RECIPES = {
    "paper": Recipe(),
    "small": Recipe(
        model=PRESETS["small"],
        steps=2600,
        batch=8,
        patch=128,
        learning_rate=5e-4,
        discriminator_rate=3e-4,
        warmup=100,
        grain=12.0,
        degradation_from=200,
        backward_from=400,
        gan_from=1300,
        precision="bf16",
        losses=_SHORT,
    ),
    "tiny-test": Recipe(
        model=TINY,
        steps=400,
        batch=4,
        patch=64,
        learning_rate=1e-3,
        warmup=20,
        grain=12.0,
        degradation_from=50,
        backward_from=250,
        gan_from=350,
        losses=_SHORT,
    ),
}
"""Recipes by the name of their preset: the paper's, and two for budgets of hours and minutes."""
