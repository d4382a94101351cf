"""The network on its devices: batches of equal tiles in, pixels or values out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sdflow.geometry import Region
from sdflow.images.tensor import quantise, read_window, to_network
from sdflow.model.fuse.model import FusedSDFlow
from sdflow.noise import NoiseKey, component, gaussian_field, uniform
from sdflow.worker.photo import Draw, result_scale, source_scale
from sdflow.worker.scoring import sum_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from sdflow.model.fuse.model import Prepared
    from sdflow.model.sdflow import SDFlow
    from sdflow.work.parameters import Task
    from sdflow.worker.photo import Drawing, Within

_NET_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class TileWork:
    """One tile of one image.

    Attributes:
        image: RGB pixels (H, W, 3) of the source, uint8 or uint16.
        key: Source key, part of the noise's identity.
        window: What goes through the network, on the LR grid.
        core: The part whose result is wanted.
        within: None where ``image`` is the whole source.
        counted: What of the core a likelihood is summed over; None for nothing.
    """

    image: NDArray[Any]
    key: str
    window: Region
    core: Region
    within: Within | None = None
    counted: Region | None = None

    def read(self, task: Task) -> NDArray[Any]:
        """The window's pixels."""
        region = self.window.scaled(source_scale(task))
        if self.within is None:
            return read_window(self.image, region)
        return read_window(self.image, region, held=self.within.source(task), size=self.within.size)


@dataclass(frozen=True, slots=True)
class TileResult:
    """What became of a tile.

    Attributes:
        cores: One for each sample, (core height, core width, 3) times the direction's scale.
        are_finite: Whether the network gave numbers alone, for each sample.
        draws: What each sample was drawn from, its likelihood of what the tile counts alone; empty
            where nobody asked.
    """

    cores: tuple[NDArray[Any], ...]
    are_finite: tuple[bool, ...]
    draws: tuple[Draw, ...] = ()

    def mended(self, exact: TileResult) -> TileResult:
        """These samples, and of ``exact`` those that are not finite here.

        Samples that are stay as they are: whether others were drawn with them must not matter.
        """
        cores = zip(self.are_finite, self.cores, exact.cores, strict=True)
        finite = zip(self.are_finite, exact.are_finite, strict=True)
        draws = zip(self.are_finite, self.draws, exact.draws, strict=bool(self.draws))
        return TileResult(
            tuple(here if good else there for good, here, there in cores),
            tuple(here or there for here, there in finite),
            tuple(here if good else there for good, here, there in draws),
        )


class Network:
    """A model's inference forms, one for every precision and device asked for.

    Args:
        model: The model, on the device where it shall run.
    """

    def __init__(self, model: SDFlow) -> None:
        self._model = model
        parameter = next(model.parameters())
        self.device, self._dtype = parameter.device, parameter.dtype
        self._forms: dict[tuple[str, bool], FusedSDFlow] = {}
        if self.device.type == "cuda":
            torch.backends.cudnn.deterministic = True
            # Float32 means float32, not TF32.
            torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]  # its stub

    @torch.inference_mode()
    def run(
        self,
        works: Sequence[TileWork],
        drawing: Drawing,
        *,
        precision: str,
        on_cpu: bool = False,
        as_pixels: bool = True,
    ) -> list[TileResult]:
        """Run tiles with windows of one size as one batch.

        Args:
            works: The tiles.
            drawing: What to draw.
            precision: ``fp32``, ``bf16`` or ``fp16``, of the convolutions.
            on_cpu: On the processor instead of the model's device.
            as_pixels: Results of the sources' depth, rounded on the device; else float32 values.
        """
        device = torch.device("cpu") if on_cpu else self.device
        form = self._form(precision, on_cpu=on_cpu)
        pixels = np.stack([work.read(drawing.task) for work in works])
        images = to_network(pixels, device=device, dtype=self._dtype)
        if drawing.task == "upscale":
            prepared = form.prepare_upscale(images)
        else:
            prepared = form.prepare_downscale(images, scored=drawing.scores)
        cores: list[list[Tensor]] = [[] for _ in works]
        log_probs: list[Tensor] = []
        finite: list[Tensor] = []
        for sample in drawing.samples:
            drawn, log_prob = self._draw(form, prepared, works, drawing, sample, device)
            finite.append(torch.isfinite(drawn).flatten(1).all(dim=1))
            if log_prob is not None:
                finite[-1] &= torch.isfinite(log_prob).flatten(1).all(dim=1)
                log_probs.append(_fetch_later(log_prob))
            for index, work in enumerate(works):
                rows, columns = self._core(work, drawing.task).slices
                core = drawn[index, :, rows, columns].permute(1, 2, 0)
                core = quantise(core, work.image.dtype) if as_pixels else core.float()
                cores[index].append(_fetch_later(core))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return [
            TileResult(
                tuple(_as_array(core, work.image.dtype if as_pixels else None) for core in parts),
                tuple(good),
                self._draws(drawing, work, [log_prob[index] for log_prob in log_probs]),
            )
            for index, (work, parts, good) in enumerate(
                zip(works, cores, torch.stack(finite, dim=1).tolist(), strict=True)
            )
        ]

    def _draw(  # one call, split off for its length
        self,
        form: FusedSDFlow,
        prepared: Prepared,
        works: Sequence[TileWork],
        drawing: Drawing,
        sample: int,
        device: torch.device,
    ) -> tuple[Tensor, Tensor | None]:
        owners = [NoiseKey(drawing.seed, work.key, sample) for work in works]
        if drawing.task == "upscale":
            fields = [
                gaussian_field(owner, work.window, 45, device=device)
                for owner, work in zip(owners, works, strict=True)
            ]
            noise = torch.stack(fields).to(self._dtype)
            return form.draw_upscale(prepared, noise, _taus(drawing, owners, noise)), None
        fields = [
            gaussian_field(owner, work.window.divided(2), 12, device=device)
            for owner, work in zip(owners, works, strict=True)
        ]
        kinds = torch.tensor([self._component(owner) for owner in owners], device=device)
        noise = torch.stack(fields).to(self._dtype)
        taus = _taus(drawing, owners, noise)
        if drawing.scores:
            return form.draw_scored(prepared, noise, kinds, taus)
        return form.draw_downscale(prepared, noise, kinds, taus), None

    def _draws(
        self, drawing: Drawing, work: TileWork, log_probs: Sequence[Tensor]
    ) -> tuple[Draw, ...]:
        """What a tile's samples were drawn from; without maps nothing."""
        owners = [NoiseKey(drawing.seed, work.key, sample) for sample in drawing.samples]
        return tuple(
            Draw(
                temperature(drawing, owner),
                self._component(owner),
                sum_cells(log_prob.numpy(), work.counted, work.window),
            )
            for owner, log_prob in zip(owners, log_probs, strict=bool(log_probs))
        )

    def _component(self, owner: NoiseKey) -> int:
        return component(owner, self._model.config.mixture_components)

    def _core(self, work: TileWork, task: Task) -> Region:
        return work.core.relative_to(work.window).scaled(result_scale(task))

    def _form(self, precision: str, *, on_cpu: bool) -> FusedSDFlow:
        known = self._forms.get((precision, on_cpu))
        if known is None:
            model = _on_cpu(self._model) if on_cpu else self._model
            exact = self._dtype == torch.float64
            known = self._forms[precision, on_cpu] = FusedSDFlow(
                model,
                net_dtype=self._dtype if exact else _NET_DTYPES[precision],
                flow_dtype=self._dtype,
            )
        return known


def temperature(drawing: Drawing, owner: NoiseKey) -> float:
    """The temperature of one image and sample: the job's, or one of its range, uniform in it."""
    if drawing.tau_to is None:
        return drawing.tau
    return drawing.tau + (drawing.tau_to - drawing.tau) * uniform(owner, "tau")


def _taus(drawing: Drawing, owners: Sequence[NoiseKey], like: Tensor) -> float | Tensor:
    """The temperature of all, or (B, 1, 1, 1) of each."""
    if drawing.tau_to is None:
        return drawing.tau
    taus = torch.tensor([temperature(drawing, owner) for owner in owners], dtype=torch.float64)
    return taus.to(like).view(-1, 1, 1, 1)


def _on_cpu(model: SDFlow) -> SDFlow:
    """A copy on the processor, made without a byte of the device's memory."""
    with torch.device("meta"):
        copy = type(model)(model.config)
    copy.load_state_dict(
        {name: part.cpu() for name, part in model.state_dict().items()}, assign=True
    )
    return copy.eval().requires_grad_(requires_grad=False)


def _fetch_later(values: Tensor) -> Tensor:
    """Start copying to the processor without waiting: from a GPU into pinned memory."""
    if values.device.type == "cpu":
        return values
    target = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return target.copy_(values, non_blocking=True)


def _as_array(values: Tensor, dtype: np.dtype[Any] | None) -> NDArray[Any]:
    array: NDArray[Any] = values.numpy()
    return array if dtype is None else array.astype(dtype, copy=False)
