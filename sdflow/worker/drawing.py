"""Decoded images through the engine: alpha and grey apart, failures kept apart too."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sdflow.errors import SdflowError
from sdflow.images.color import Rest, join_channels, resize_plane, split_channels
from sdflow.worker.photo import Drawing, Drawn, Photo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdflow.images.formats import Pixels
    from sdflow.work.parameters import Task
    from sdflow.worker.limits import Limits


class Engine(Protocol):
    """What turns images' pixels into others; see ``TiledEngine``."""

    @property
    def batch_px(self) -> int:
        """LR pixels that are worth computing together."""

    @property
    def limits(self) -> Limits | None:
        """What is known to fit into memory; None where nothing was learnt."""

    def draw(
        self, drawing: Drawing, photos: Sequence[Photo]
    ) -> Iterator[tuple[int, Drawn | SdflowError]]:
        """Index of a photo and its outputs, or its own error, for each of several photos."""


@dataclass(frozen=True, slots=True)
class DrawnImage:
    """What was made of one image.

    Attributes:
        outputs: Pixels with the source's kind of channels, one for each sample.
        note: What had to be given up for memory; "" if nothing.
        busy_s: The image's share of the time the engine took.
    """

    outputs: list[Pixels]
    note: str
    busy_s: float


class Drawer:
    """Gives an engine one caller at a time, and each image its own failure.

    Args:
        engine: Does the pixels.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._lock = Lock()

    def draw(
        self, drawing: Drawing, images: Sequence[tuple[str, Pixels]]
    ) -> Iterator[tuple[int, DrawnImage | Exception]]:
        """Draw outputs of several images together.

        Args:
            drawing: Direction, temperature and samples.
            images: Key and pixels of each.

        Yields:
            Position of an image and its outputs or its failure, for every image.
        """
        parts = [split_channels(pixels) for _, pixels in images]  # views, or one plane repeated
        photos = [Photo(key, rgb) for (key, _), (rgb, _) in zip(images, parts, strict=True)]
        total_px = sum(photo.pixels.size for photo in photos)
        with self._lock:
            started = perf_counter()
            results = self._isolated(drawing, photos)
            busy_s = perf_counter() - started
        for index, drawn in results:
            if isinstance(drawn, Exception):
                yield index, drawn
                continue
            rest = parts[index][1]
            share = photos[index].pixels.size / total_px
            try:
                outputs = [_joined(pixels, rest, drawing.task) for pixels in drawn.samples]
            except Exception as error:  # noqa: BLE001  # whatever a library raises for one image
                yield index, error.with_traceback(None)
                continue
            yield index, DrawnImage(outputs, drawn.note, busy_s * share)

    def _isolated(
        self, drawing: Drawing, photos: Sequence[Photo]
    ) -> list[tuple[int, Drawn | Exception]]:
        """All results; an exception that is nobody's own is found by drawing one by one."""
        try:
            return list(self.engine.draw(drawing, photos))
        except Exception as error:  # noqa: BLE001  # whatever a library raises for one image
            if len(photos) == 1:
                return [(0, error.with_traceback(None))]  # the traceback would hold the pixels
        results: list[tuple[int, Drawn | Exception]] = []
        for index, photo in enumerate(photos):
            results += [(index, drawn) for _, drawn in self._isolated(drawing, [photo])]
        return results


def _joined(result: Pixels, rest: Rest, task: Task) -> Pixels:
    alpha = rest.alpha
    if alpha is not None:
        height, width = result.shape[:2]
        if task == "downscale":  # continued to whole cells, as the colours are
            missing = (4 * height - alpha.shape[0], 4 * width - alpha.shape[1])
            alpha = np.pad(alpha, ((0, missing[0]), (0, missing[1])), mode="edge")
        alpha = resize_plane(alpha, height=height, width=width)
    return join_channels(result, alpha, grey=rest.grey)
