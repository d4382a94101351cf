"""What ``sdflow train`` can be told."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Literal

from pydantic import Field

from sdflow.config import Globs, StorageSettings
from sdflow.errors import UsageError
from sdflow.training.recipe import RECIPES, LossWeights, Recipe

_OF_THE_PRESET = "default: the preset's"


class TrainSettings(StorageSettings):
    """Every field is a flag, a variable and a key of the settings file."""

    dst: str = Field(description="where the run is kept: s3://bucket/prefix/, a folder, file://…")
    hr: str = Field(
        description="clean photos to learn from: s3://bucket/prefix/, a folder, file://…"
    )
    lr: str = Field(description="real low-quality photos, of whatever: s3://…, a folder, file://…")
    config: str | None = Field(None, description="settings file (YAML) with any of these settings")
    preset: Literal["paper", "small", "tiny-test"] = Field(
        "paper", description="networks and recipe: the paper's, or for a budget of hours or minutes"
    )
    init: str | None = Field(None, description="weights to begin with: .safetensors, or a folder")
    change: bool = Field(
        False, description="go on with settings that differ from those the run was begun with"
    )
    steps: int | None = Field(None, ge=1, description=f"steps in all; {_OF_THE_PRESET}")
    batch: int | None = Field(
        None, ge=1, description=f"HR patches a step over all workers; {_OF_THE_PRESET}"
    )
    patch: int | None = Field(None, ge=32, description=f"side of HR patches; {_OF_THE_PRESET}")
    learning_rate: float | None = Field(None, gt=0, description=f"Adam's; {_OF_THE_PRESET}")
    warmup: int | None = Field(
        None, ge=0, description=f"steps in which that is reached; {_OF_THE_PRESET}"
    )
    degradation_from: int | None = Field(
        None, ge=0, description=f"step the degradation flow begins at; {_OF_THE_PRESET}"
    )
    backward_from: int | None = Field(
        None, ge=0, description=f"step the backward losses begin at; {_OF_THE_PRESET}"
    )
    gan_from: int | None = Field(
        None, ge=0, description=f"step the image discriminators begin at; {_OF_THE_PRESET}"
    )
    loss: Globs = Field(
        (), description="NAME=FACTOR of a term of the loss, such as gan_hr=0.2; repeatable"
    )
    frozen: Globs | None = Field(
        None, description="networks that do not learn, such as hr_flow and encoder; repeatable"
    )
    precision: Literal["fp32", "bf16", "fp64"] | None = Field(
        None, description=f"of the networks inside the flows; {_OF_THE_PRESET}"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of weights, patches and noise")
    vgg19: str | None = Field(
        None, description="torchvision's vgg19-*.pth, the paper's perceptual net; else edges"
    )
    workers: int = Field(1, ge=1, description="workers; above 1 through Ray Train")
    gpus_per_worker: int | None = Field(
        None, ge=0, description="GPUs of a worker; default 1 where there is one"
    )
    address: str = Field("local", description="Ray cluster: local starts one here, auto, ray://…")
    threads: int | None = Field(
        None,
        ge=1,
        le=64,
        description="threads of a worker that cut patches; default 2, or 16 beside a GPU",
    )
    hold_gib: float = Field(
        2.0, gt=0, description="decoded photos of each set that a worker holds in memory"
    )
    hr_include: Globs = Field((), description="only these keys of --hr (glob); repeatable")
    lr_include: Globs = Field((), description="only these keys of --lr (glob); repeatable")
    max_pixels: int = Field(100_000_000, ge=1, description="photos with more pixels are left out")
    checkpoint_every: int = Field(500, ge=1, description="steps between checkpoints")
    keep: int = Field(3, ge=1, description="checkpoints that are kept")
    sample_every: int = Field(500, ge=1, description="steps between pictures of samples")

    def recipe(self) -> Recipe:
        """The preset with what was given.

        Raises:
            UsageError: Naming what cannot be trained.
        """
        preset = RECIPES[self.preset]
        given = {
            item.name: value
            for item in fields(Recipe)
            if item.name != "losses" and (value := getattr(self, item.name, None)) is not None
        }
        return replace(preset, **given, losses=replace(preset.losses, **self._factors()))

    def _factors(self) -> dict[str, Any]:
        known = [item.name for item in fields(LossWeights)]
        factors = {}
        for text in self.loss:
            name, _, number = text.partition("=")
            try:
                factors[name] = float(number)
            except ValueError:
                raise UsageError(f"--loss {text}: expected NAME=FACTOR", item="--loss") from None
            if name not in known:
                raise UsageError(f"--loss {text}: the terms are {', '.join(known)}", item="--loss")
        return factors
