"""The ways of running the model that are measured against each other."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from sdflow.bench.plain import plain_downscale, plain_upscale
from sdflow.model.fuse.model import FusedSDFlow

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from torch import Tensor

    from sdflow.model.sdflow import SDFlow
    from sdflow.work.parameters import Task

TAU = 0.8
PLAIN_FORMS = ("plain", "training form", "channels_last", "autocast bf16", "fused, cold memory")
"""Run in a process of their own, with the allocator as torch finds it."""

ENGINE_FORMS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Case:
    """What is run.

    Attributes:
        task: Direction.
        side: Side of an image in LR pixels.
        images: How many images.
        samples: Outputs of each.
        scored: Whether the engine's forms also say how likely each output was, as pairs want it.
    """

    task: Task
    side: int
    images: int = 1
    samples: int = 1
    scored: bool = False

    @property
    def name(self) -> str:
        """For tables: ``upscale 32 x 96²``, ``upscale 128² 4 samples``."""
        batch = f"{self.images} x " if self.images > 1 else ""
        samples = f" {self.samples} samples" if self.samples > 1 else ""
        return f"{self.task} {batch}{self.side}²{samples}"

    @property
    def pixels(self) -> int:
        """LR pixels of all outputs."""
        return self.images * self.samples * self.side * self.side


@dataclass(frozen=True, slots=True)
class Inputs:
    """Tensors for one case: images in [-1, 1], noise for each sample."""

    images: Tensor
    noise: Tensor
    component: Tensor


def draw_inputs(case: Case, device: torch.device) -> Inputs:
    """The same inputs in every process."""
    generator = torch.Generator().manual_seed(case.side + case.images)
    scale = 1 if case.task == "upscale" else 4
    side, half = scale * case.side, case.side // 2
    images = 2 * torch.rand(case.images, 3, side, side, generator=generator) - 1
    shape = (45, case.side, case.side) if case.task == "upscale" else (12, half, half)
    noise = torch.randn(case.samples, case.images, *shape, generator=generator)
    component = torch.zeros(case.images, dtype=torch.int64)
    return Inputs(images.to(device), noise.to(device), component.to(device))


def make_form(
    name: str, model: SDFlow, case: Case, inputs: Inputs, *, batch: int
) -> Callable[[], Tensor]:
    """A function that runs a case once in one way and returns the outputs of its first sample.

    Args:
        name: One of ``PLAIN_FORMS`` or ``ENGINE_FORMS``.
        model: Float32 model on the device of the inputs.
        case: What to run.
        inputs: With what.
        batch: Images that the fused forms take at once; the plain form takes one, as published.
    """
    if name in ENGINE_FORMS or name == "fused, cold memory":
        fused = FusedSDFlow(model, net_dtype=ENGINE_FORMS.get(name, torch.float32))
        return partial(_run_fused, fused, case, inputs, batch)
    if name == "plain":
        return partial(_run_plain, model, case, inputs)
    layout = torch.contiguous_format if name == "training form" else torch.channels_last
    model = model.to(memory_format=layout)  # type: ignore[call-overload]  # torch's stub lacks it
    return partial(_run_training, model, case, inputs, layout, half=name == "autocast bf16")


@torch.inference_mode()
def _run_plain(model: SDFlow, case: Case, inputs: Inputs) -> Tensor:
    outputs = []
    for noises in inputs.noise:
        for image, noise, kind in zip(inputs.images, noises, inputs.component, strict=True):
            if case.task == "upscale":
                outputs.append(plain_upscale(model, image[None], noise[None], TAU))
            else:
                out = plain_downscale(model, image[None], noise[None], kind[None], TAU)
                outputs.append(out)
    return torch.cat(outputs[: case.images])


@torch.inference_mode()
def _run_training(
    model: SDFlow, case: Case, inputs: Inputs, layout: torch.memory_format, *, half: bool
) -> Tensor:
    images = inputs.images.contiguous(memory_format=layout)
    noise = inputs.noise[0].contiguous(memory_format=layout)
    types: AbstractContextManager[object] = (
        torch.autocast(images.device.type, torch.bfloat16) if half else nullcontext()
    )
    with types:
        if case.task == "upscale":
            return model.upscale(images, tau=TAU, noise=noise)
        return model.downscale(images, tau=TAU, noise=noise, component=inputs.component)


@torch.inference_mode()
def _run_fused(fused: FusedSDFlow, case: Case, inputs: Inputs, batch: int) -> Tensor:
    firsts = []
    for start in range(0, case.images, batch):
        some = slice(start, start + batch)
        images, noise = inputs.images[some], inputs.noise[:, some]
        if case.task == "upscale":
            prepared = fused.prepare_upscale(images)
            outputs = [fused.draw_upscale(prepared, one, TAU) for one in noise]
        else:
            prepared = fused.prepare_downscale(images, scored=case.scored)
            kinds = inputs.component[some]
            if case.scored:
                outputs = [fused.draw_scored(prepared, one, kinds, TAU)[0] for one in noise]
            else:
                outputs = [fused.draw_downscale(prepared, one, kinds, TAU) for one in noise]
        firsts.append(outputs[0])
    return torch.cat(firsts)
