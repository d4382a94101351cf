"""The network on its devices: batches of equal tiles in, pixels or values out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sdflow.geometry import Region
from sdflow.images.tensor import quantise, read_window, to_network
from sdflow.model.fuse.model import FusedSDFlow
from sdflow.noise import NoiseKey, component, gaussian_field
from sdflow.worker.photo import result_scale, source_scale

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
    """

    image: NDArray[Any]
    key: str
    window: Region
    core: Region
    within: Within | None = None

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
    """

    cores: tuple[NDArray[Any], ...]
    are_finite: tuple[bool, ...]

    def mended(self, exact: TileResult) -> TileResult:
        """These samples, and of ``exact`` those that are not finite here.

        Samples that are stay as they are: whether others were drawn with them must not matter.
        """
        cores = zip(self.are_finite, self.cores, exact.cores, strict=True)
        finite = zip(self.are_finite, exact.are_finite, strict=True)
        return TileResult(
            tuple(here if good else there for good, here, there in cores),
            tuple(here or there for here, there in finite),
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
        prepare = form.prepare_upscale if drawing.task == "upscale" else form.prepare_downscale
        prepared = prepare(images)
        cores: list[list[Tensor]] = [[] for _ in works]
        finite: list[Tensor] = []
        for sample in drawing.samples:
            drawn = self._draw(form, prepared, works, drawing, sample, device)
            finite.append(torch.isfinite(drawn).flatten(1).all(dim=1))
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
            )
            for work, parts, good in zip(
                works, cores, torch.stack(finite, dim=1).tolist(), strict=True
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
    ) -> Tensor:
        owners = [NoiseKey(drawing.seed, work.key, sample) for work in works]
        if drawing.task == "upscale":
            fields = [
                gaussian_field(owner, work.window, 45, device=device)
                for owner, work in zip(owners, works, strict=True)
            ]
            noise = torch.stack(fields).to(self._dtype)
            return form.draw_upscale(prepared, noise, drawing.tau)
        fields = [
            gaussian_field(owner, work.window.divided(2), 12, device=device)
            for owner, work in zip(owners, works, strict=True)
        ]
        count = self._model.config.mixture_components
        kinds = torch.tensor([component(owner, count) for owner in owners], device=device)
        noise = torch.stack(fields).to(self._dtype)
        return form.draw_downscale(prepared, noise, kinds, drawing.tau)

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
