"""One training step: gradients, their mean over the workers, and whether they may be used."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from sdflow.errors import TrainingError, UsageError
from sdflow.flows.actnorm import ActNorm
from sdflow.flows.ranks import are_many_ranks, average_over_ranks
from sdflow.model.sdflow import SDFlow
from sdflow.training.discriminator import Discriminators
from sdflow.training.features import OrientedFeatures
from sdflow.training.losses import discriminator_gan
from sdflow.training.objective import Objective
from sdflow.training.start import fit_to_data, start_from_haar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor, nn

    from sdflow.training.dataset import Batch
    from sdflow.training.objective import Terms
    from sdflow.training.recipe import Recipe

_BETAS = (0.9, 0.99)
_MAX_BITS = 64.0  # per dimension: a log-determinant beyond has exploded
_DTYPES = {"fp32": torch.float32, "bf16": torch.float32, "fp64": torch.float64}


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step did.

    Attributes:
        step: Counted from 0.
        losses: Terms by name, averaged over all workers; ``total`` among them.
        grad_norm: Of the model, before it was clipped.
        skipped: Whether the gradient was unusable, so that nothing was changed.
    """

    step: int
    losses: Mapping[str, float]
    grad_norm: float
    skipped: bool


class Trainer:
    """The networks of a run, their optimisers and the average of the weights.

    Attributes:
        step: Steps done.
        skipped: Of those, steps that changed nothing.
        model: The model that learns.
        ema: The average of its weights, in evaluation mode: what gets exported.

    Args:
        recipe: The run.
        device: Where it computes.
        phi: Perceptual net; the one that needs no download by default.
    """

    def __init__(
        self, recipe: Recipe, *, device: torch.device | str = "cpu", phi: nn.Module | None = None
    ) -> None:
        self.recipe = recipe
        self.step = 0
        self.skipped = 0
        self._skipped_in_a_row = 0
        self._is_begun = False  # whether data or weights have set what the start leaves open
        self._device = torch.device(device)
        self._dtype = _DTYPES[recipe.precision]
        with torch.random.fork_rng(devices=()):
            torch.default_generator.manual_seed(recipe.seed % 2**64)  # the CPU's: drawn there
            model, discriminators = SDFlow(recipe.model), Discriminators(recipe.model)
            if recipe.start == "haar":
                start_from_haar(model)
        self.model = self._placed(model)
        self._discriminators = self._placed(discriminators)
        self._phi = self._placed(phi or OrientedFeatures()).requires_grad_(requires_grad=False)
        for name in recipe.frozen:
            self.model.get_submodule(name).requires_grad_(requires_grad=False)
        self.ema = deepcopy(self.model).eval().requires_grad_(requires_grad=False)
        self._optimisers = {
            "model": self._adam(self.model, recipe.learning_rate),
            "discriminators": self._adam(self._discriminators, recipe.discriminator_rate),
        }
        self._objective = Objective(self.model, self._discriminators, self._phi, recipe)

    def run_step(self, batch: Batch) -> StepReport:
        """Learn from one batch.

        Raises:
            TrainingError: If too many steps in a row had no usable gradient.
        """
        batch = batch.to(self._device, self._dtype)
        self._set_rates()
        try:
            terms = self._computed(batch)
            grad_norm, losses = self._backward(self.model, terms.total, terms.values)
            usable = math.isfinite(grad_norm) and _are_sound(losses)
        except FloatingPointError:  # what should have started an ActNorm was no number
            usable, grad_norm, losses = False, math.nan, {}
        else:
            if usable:
                self._optimisers["model"].step()
                self._judge_better(terms.pairs)
                self._average()
        self._count(losses, skipped=not usable)
        self.step += 1
        return StepReport(self.step - 1, losses, grad_norm, not usable)

    def _computed(self, batch: Batch) -> Terms:
        if not self._is_begun and self.recipe.start == "haar":
            fit_to_data(self.model, batch.hr, batch.lr)
        self._is_begun = True
        self._discriminators.requires_grad_(requires_grad=False)
        with self._autocast():
            return self._objective(batch, self.step)

    def begin_with(self, model: SDFlow) -> None:
        """Take on the weights of a trained model of the same sizes.

        Raises:
            UsageError: If its sizes are others.
        """
        if model.config != self.recipe.model:
            raise UsageError(
                "--init has weights of other sizes than --preset trains", item="--init"
            )
        for network in (self.model, self.ema):
            network.load_state_dict(model.state_dict())
        self._is_begun = True

    def state_dict(self) -> dict[str, Any]:
        """All that a run goes on from; every draw is a function of seed and step."""
        return {
            "recipe": self.recipe.to_dict(),
            "step": self.step,
            "is_begun": self._is_begun,
            "skipped": (self.skipped, self._skipped_in_a_row),
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "discriminators": self._discriminators.state_dict(),
            "optimisers": {name: one.state_dict() for name, one in self._optimisers.items()},
            "rng": torch.get_rng_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.step = state["step"]
        self.skipped, self._skipped_in_a_row = state["skipped"]
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self._discriminators.load_state_dict(state["discriminators"])
        for name, optimiser in self._optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        torch.set_rng_state(state["rng"])
        self._is_begun = state["is_begun"]

    def _judge_better(self, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        if not pairs:
            return
        self._discriminators.requires_grad_(requires_grad=True)
        with self._autocast():
            losses = [
                discriminator_gan(
                    self._discriminators(domain, real), self._discriminators(domain, generated)
                )
                for domain, (real, generated) in pairs.items()
            ]
            total = torch.stack(losses).sum()
        norm, _ = self._backward(self._discriminators, total, {})
        if math.isfinite(norm):
            self._optimisers["discriminators"].step()

    def _backward(
        self, network: nn.Module, total: Tensor, values: Mapping[str, Tensor]
    ) -> tuple[float, dict[str, float]]:
        """Set the gradients to their mean over all workers, clipped; (norm, losses) as numbers."""
        network.zero_grad(set_to_none=True)
        total.backward()
        parameters = [parameter for parameter in network.parameters() if parameter.grad is not None]
        _average_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.recipe.clip)
        numbers = average_over_ranks(torch.stack([total.detach(), *values.values()]).double())
        names = ("total", *values)
        return float(norm), dict(zip(names, numbers.tolist(), strict=True))

    def _average(self) -> None:
        decay = self.recipe.ema_decay(self.step)
        averages, current = (list(part.parameters()) for part in (self.ema, self.model))
        torch._foreach_lerp_(averages, [one.detach() for one in current], 1 - decay)
        for average, layer in zip(self.ema.modules(), self.model.modules(), strict=True):
            if isinstance(average, ActNorm) and average.is_ready != cast("ActNorm", layer).is_ready:
                average.load_state_dict(layer.state_dict())  # set by this step's batch

    def _count(self, losses: Mapping[str, float], *, skipped: bool) -> None:
        self.skipped += skipped
        self._skipped_in_a_row = self._skipped_in_a_row + 1 if skipped else 0
        if self._skipped_in_a_row > self.recipe.max_skipped:
            odd = {name: round(value, 3) for name, value in losses.items() if name[:4] == "bits"}
            raise TrainingError(
                f"{self._skipped_in_a_row} steps in a row had NaN gradients or an exploding "
                f"log-determinant, up to step {self.step} ({odd}): resume an earlier checkpoint, "
                "removing those after it, with a lower --learning-rate or --precision fp32, and "
                "--change"
            )

    def _set_rates(self) -> None:
        factor = self.recipe.rate_factor(self.step)
        rates = (self.recipe.learning_rate, self.recipe.discriminator_rate)
        for optimiser, rate in zip(self._optimisers.values(), rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self._device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"
        )

    def _adam(self, network: nn.Module, rate: float) -> torch.optim.Adam:
        return torch.optim.Adam(network.parameters(), rate, betas=_BETAS)

    def _placed(self, network: Any) -> Any:  # noqa: ANN401  # the same type comes back
        # Channels last is what convolutions in bf16 want: a step takes 0.87 of the time on a CPU.
        placed = network.to(self._device, self._dtype)
        return placed.to(memory_format=torch.channels_last).train()


def _average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    if not are_many_ranks():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    average_over_ranks(flat)
    pieces = flat.split([gradient.numel() for gradient in gradients])
    for gradient, piece in zip(gradients, pieces, strict=True):
        gradient.copy_(piece.view_as(gradient))


def _are_sound(losses: Mapping[str, float]) -> bool:
    bits = [value for name, value in losses.items() if name.startswith("bits_")]
    return all(map(math.isfinite, losses.values())) and all(abs(one) < _MAX_BITS for one in bits)
