"""Decoded images through the engine: alpha and grey apart, failures kept apart too."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from sdflow.errors import SdflowError
from sdflow.worker.channels import take_apart
from sdflow.worker.photo import Draw, Drawing, Drawn, Photo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdflow.geometry import Size
    from sdflow.images.formats import Pixels
    from sdflow.tiling.parts import Part
    from sdflow.work.parameters import PixelParameters, Task
    from sdflow.worker.limits import Limits


class Engine(Protocol):
    """What turns images' pixels into others; see ``TiledEngine``."""

    @property
    def batch_px(self) -> int:
        """LR pixels that are worth computing together."""

    @property
    def limits(self) -> Limits | None:
        """What is known to fit into memory; None where nothing was learnt."""

    @property
    def scale(self) -> int:
        """HR pixels per LR pixel along an axis."""

    def parts(self, size: Size, task: Task, *, pixel_bytes: int = 3) -> tuple[Part, ...]:
        """Cut a source into parts whose results are those of the whole, bit for bit."""

    def draw(
        self, drawing: Drawing, photos: Sequence[Photo]
    ) -> Iterator[tuple[int, Drawn | SdflowError]]:
        """Index of a photo and its outputs, or its own error, for each of several photos."""


@dataclass(frozen=True, slots=True)
class DrawnImage:
    """What was made of one image.

    Attributes:
        outputs: Pixels with the source's kind of channels, one for each sample; of a part its core.
        note: What had to be given up for memory; "" if nothing.
        busy_s: The image's share of the time the engine took.
        draws: What each output was drawn from, where that was asked for and there is a network.
    """

    outputs: list[Pixels]
    note: str
    busy_s: float
    draws: tuple[Draw, ...] = ()


def drawing_of(given: PixelParameters, samples: tuple[int, ...], *, deep: bool) -> Drawing:
    """How a job's parameters want samples drawn; those of pairs say what they were drawn from."""
    return Drawing(
        given.direction,
        given.seed,
        given.tau,
        samples,
        deep=deep,
        tau_to=given.pairs.tau_to if given.pairs else None,
        scores=given.pairs is not None,
    )


class Drawer:
    """Gives an engine one caller at a time, and each image its own failure.

    Args:
        engine: Does the pixels.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._lock = Lock()

    def draw(
        self, drawing: Drawing, photos: Sequence[Photo]
    ) -> Iterator[tuple[int, DrawnImage | Exception]]:
        """Draw outputs of several images together.

        Args:
            drawing: Direction, temperature and samples; whether the outputs shall be deep.
            photos: Whole sources or parts, of 1 to 4 channels.

        Yields:
            Position of an image and its outputs or its failure, for every image.
        """
        scale = self.engine.scale
        sources = [take_apart(photo, drawing.task, scale, deep=drawing.deep) for photo in photos]
        total_px = sum(photo.pixels.shape[0] * photo.pixels.shape[1] for photo in photos)
        with self._lock:
            started = perf_counter()
            results = self._isolated(drawing, [source.photo for source in sources])
            busy_s = perf_counter() - started
        for index, drawn in results:
            if isinstance(drawn, Exception):
                yield index, drawn
                continue
            pixels = photos[index].pixels
            share = pixels.shape[0] * pixels.shape[1] / total_px
            try:
                outputs = sources[index].join(drawn.samples, drawing.task, scale)
            except Exception as error:  # noqa: BLE001  # whatever a library raises for one image
                yield index, error.with_traceback(None)
                continue
            yield index, DrawnImage(outputs, drawn.note, busy_s * share, drawn.draws)

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
