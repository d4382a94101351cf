"""What became of every image, in one bit an image, so that no ending is lost or counted twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdflow.driver.events import RecordDeadLetter
    from sdflow.simulation.archive import Archive
    from sdflow.worker.report import Ending


class Record:
    """Notes endings.

    Args:
        images: How many images there are, numbered from 0.

    Attributes:
        num_done: Results recorded.
        num_dead: Dead letters recorded.
        num_twice: Endings of images that had ended before.
        num_wrong: Dead letters that do not say ``worker.crashed``.
    """

    def __init__(self, images: int) -> None:
        self._ended = bytearray(b"\0") * (images // 8 + 1)  # written, so it is resident at once
        self.num_done = 0
        self.num_dead = 0
        self.num_twice = 0
        self.num_wrong = 0

    def add_done(self, endings: Sequence[Ending]) -> None:
        """Note results."""
        ended = self._ended
        for ending in endings:
            number = int(ending.name)
            index, bit = number >> 3, 1 << (number & 7)
            before = ended[index]
            if before & bit:
                self.num_twice += 1
            ended[index] = before | bit
        self.num_done += len(endings)

    def add_dead(self, letter: RecordDeadLetter) -> None:
        """Note that an image was given up."""
        number = int(letter.item.key)
        index, bit = number >> 3, 1 << (number & 7)
        self.num_twice += bool(self._ended[index] & bit)
        self._ended[index] |= bit
        self.num_dead += 1
        self.num_wrong += letter.error != "worker.crashed"

    def adds_up(self, archive: Archive) -> bool:
        """Whether every image has exactly one ending.

        A deadly image cannot be done, because its worker dies before; so where there are as many
        dead letters as deadly images, and every image has ended once, they are the same.
        """
        return (
            self.num_done + self.num_dead == archive.images
            and self.num_dead == archive.num_poison
            and self.num_twice == self.num_wrong == 0
        )
