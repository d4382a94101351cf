"""The whole loss of a step, from the model's outputs (arXiv:2310.04964, sec. III-C)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from sdflow.flows.distributions import bits_per_dim, standard_normal_log_prob
from sdflow.training.features import feature_distance
from sdflow.training.losses import (
    bicubic_quarter,
    centred,
    energy,
    generator_gan,
    l1,
    latent_distance,
    low_pass,
    low_pass_l1,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sdflow.model.sdflow import SDFlow
    from sdflow.training.dataset import Batch
    from sdflow.training.discriminator import Discriminators
    from sdflow.training.recipe import Recipe

_LEVEL = 2 / 255  # one 8-bit level on the [-1, 1] scale


@dataclass(slots=True)
class Terms:
    """The terms of one step's loss.

    Attributes:
        values: By name, unweighted scalars without gradient; ``bits_*`` are bits per dimension.
        total: What the model minimises.
        pairs: What the discriminators shall tell apart: (real, generated) by domain, detached.
    """

    values: dict[str, Tensor] = field(default_factory=dict)
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    pairs: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def add(self, name: str, value: Tensor, weight: float | Tensor) -> None:
        """Add a term (B,) with its weight, which may be one of each sample."""
        self.values[name] = value.detach().mean()
        self.total = self.total + (weight * value).mean()


@dataclass(frozen=True, slots=True)
class Objective:
    """The loss of a model that is judged by discriminators and sees through a perceptual net.

    Args:
        model: In training mode.
        discriminators: Their parameters shall want no gradient while this is called.
        phi: Perceptual features of images (B, 3, H, W) in [-1, 1], a list of tensors.
        recipe: What the terms weigh and when they begin.
    """

    model: SDFlow
    discriminators: Discriminators
    phi: nn.Module
    recipe: Recipe

    def __call__(self, batch: Batch, step: int) -> Terms:
        """Compute the forward loss, and from ``backward_from`` on the backward loss too.

        Args:
            batch: Of this worker, on the model's device.
            step: Counted from 0.
        """
        terms, recipe = Terms(), self.recipe
        reduced = bicubic_quarter(batch.hr)
        content = self._forward_terms(terms, batch, reduced, step)
        weights, inputs = recipe.losses, self._anchors(reduced, batch)
        pixel: float | Tensor = weights.anchor
        if step >= max(recipe.backward_from, recipe.degradation_from):
            drawn = self._downscaled(content, batch)
            self._downscaling_terms(terms, batch, content, reduced, drawn, step)
            rows = batch.is_anchor if weights.anchor else torch.zeros_like(batch.is_anchor)
            inputs = torch.where(rows.view(-1, 1, 1, 1) > 0, inputs, drawn)
            pixel = weights.pixel + rows * (weights.anchor - weights.pixel)
        elif not weights.anchor:
            return terms
        if (weights.anchor or weights.pixel or weights.gan_hr) and recipe.learns_to_upscale:
            self._upscaling_terms(terms, batch, inputs, content, pixel, step)
        return terms

    def _forward_terms(self, terms: Terms, batch: Batch, reduced: Tensor, step: int) -> Tensor:
        """Equations 14 to 17; returns the content of the HR photos."""
        model, weights = self.model, self.recipe.losses
        content_hr, noise, log_det = model.hr_flow.encode(batch.hr)
        bits = bits_per_dim(standard_normal_log_prob(noise) + log_det, batch.hr.shape)
        terms.add("bits_hr", bits, weights.nll)
        content_lr = model.encoder(batch.lr)
        latent, log_det = model.content_flow(batch.lr)
        if step >= self.recipe.degradation_from:
            # No gradient to the encoder: copying z_LR whole would make z_d as likely as it likes.
            fixed = content_lr.detach()
            log_prob = log_det + model.deg_flow.log_prob(latent - fixed, fixed)
            terms.add("bits_lr", bits_per_dim(log_prob, batch.lr.shape), weights.nll)
        terms.add("match", latent_distance(latent, content_lr), weights.match)
        terms.add("energy", energy(content_hr) + energy(content_lr), weights.energy)
        for name, content, image in (("hr", content_hr, reduced), ("lr", content_lr, batch.lr)):
            plain, _ = model.content_flow.inverse(content)
            terms.add(f"content_{name}", low_pass_l1(plain, image), weights.content)
            seen = feature_distance(self.phi, plain, image)
            terms.add(f"feature_{name}", seen, weights.content * weights.feature)
        if weights.domain:
            self._judge(terms, "content", content_hr, content_lr, weights.domain)
        return content_hr

    def _downscaling_terms(
        self,
        terms: Terms,
        batch: Batch,
        content: Tensor,
        reduced: Tensor,
        drawn: Tensor,
        step: int,
    ) -> None:
        weights = self.recipe.losses
        plain = self._downscaled(content, batch, is_plain=True)
        terms.add("down_pixel", low_pass_l1(plain, reduced), weights.pixel)
        seen = feature_distance(self.phi, low_pass(plain), low_pass(reduced))
        terms.add("down_feature", seen, weights.perceptual)
        if self._has_gan(step) and weights.gan_lr:
            # Whether it looks real is for the degradation to learn: content has its own terms.
            judged = self._downscaled(content.detach(), batch)
            # The sets show different things: what colours they are of is no degradation.
            self._judge(terms, "lr", centred(batch.lr), centred(judged), weights.gan_lr)

    def _upscaling_terms(
        self,
        terms: Terms,
        batch: Batch,
        inputs: Tensor,
        content: Tensor,
        pixel: float | Tensor,
        step: int,
    ) -> None:
        """From LR images whose HR photos are known: the same at temperature 0, real ones above."""
        model, weights = self.model, self.recipe.losses
        found = model.encoder(inputs)
        if weights.agree:
            terms.add("agree", l1(found, content.detach()), weights.agree)
        plain = model.hr_flow.decode(found, torch.zeros_like(batch.hf_noise))
        terms.add("up_pixel", l1(plain, batch.hr), pixel)
        seen = feature_distance(self.phi, plain, batch.hr)
        terms.add("up_feature", seen, weights.perceptual)
        if self._has_gan(step) and weights.gan_hr:
            upscaled = model.hr_flow.decode(found, batch.hf_noise * self._tau(batch))
            self._judge(terms, "hr", batch.hr, upscaled, weights.gan_hr)

    def _has_gan(self, step: int) -> bool:
        recipe = self.recipe
        return step >= max(recipe.gan_from, recipe.backward_from, recipe.degradation_from)

    def _judge(
        self, terms: Terms, domain: str, real: Tensor, generated: Tensor, weight: float
    ) -> None:
        score = generator_gan(self.discriminators(domain, generated))
        terms.add(f"gan_{domain}", score, weight)
        terms.pairs[domain] = real.detach(), generated.detach()

    def _downscaled(self, content: Tensor, batch: Batch, *, is_plain: bool = False) -> Tensor:
        """LR images of contents, each at its own temperature and with its own component."""
        model = self.model
        component = batch.component(self.recipe.model.mixture_components)
        tau = 0.0 if is_plain else self._tau(batch)
        degradation = model.deg_flow.sample(content, batch.deg_noise * tau, component, 1.0)
        lr, _ = model.content_flow.inverse(content + degradation)
        return lr

    def _tau(self, batch: Batch) -> Tensor:
        low, high = self.recipe.temperatures
        return (low + (high - low) * batch.share[:, 1]).view(-1, 1, 1, 1)

    def _anchors(self, reduced: Tensor, batch: Batch) -> Tensor:
        """Bicubic LR images, half of them with noise of a strength of their own."""
        strength = (2 * batch.share[:, 2] - 1).clamp(min=0).view(-1, 1, 1, 1)
        blurred = low_pass(batch.grain) * 2  # sensors' noise is white, what cameras make of it not
        spread = batch.share[:, 1].view(-1, 1, 1, 1)
        grain = torch.lerp(batch.grain, blurred, spread)
        return reduced + strength * (self.recipe.grain * _LEVEL) * grain
