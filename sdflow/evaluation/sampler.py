"""Results of the network as a job would make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdflow.worker.photo import Drawing, Photo

if TYPE_CHECKING:
    from sdflow.images.formats import Pixels
    from sdflow.work.parameters import Task
    from sdflow.worker.drawing import Drawer


@dataclass(frozen=True, slots=True)
class Sampler:
    """Draws results image by image.

    Attributes:
        drawer: The engine.
        taus: Temperatures to draw with.
        num_samples: Results for each image at temperatures above 0.
        seed: Seed of a job.
        goes_down: Whether the network can downscale: one whose training is young cannot yet.
    """

    drawer: Drawer
    taus: tuple[float, ...]
    num_samples: int
    seed: int
    goes_down: bool = True

    def count(self, tau: float) -> int:
        """How many results of an image differ: one without noise."""
        return self.num_samples if tau else 1

    def draw(
        self, task: Task, key: str, pixels: Pixels, tau: float, *, num: int | None = None
    ) -> list[Pixels]:
        """Draw an image's results.

        Args:
            task: Direction.
            key: Relative to the source's prefix, as in a job.
            pixels: (H, W, 1 or 3), uint8 or uint16.
            tau: Temperature.
            num: How many; None for what ``count`` says.

        Returns:
            Results with the channels and the depth of ``pixels``, the ones that a job writes.

        Raises:
            NonFiniteError: The network gave no numbers.
            OutOfMemoryError: Not even one small tile fits.
        """
        drawing = Drawing(task, self.seed, tau, tuple(range(num or self.count(tau))))
        ((_, drawn),) = self.drawer.draw(drawing, [Photo(key, pixels)])
        if isinstance(drawn, Exception):
            raise drawn
        return drawn.outputs
