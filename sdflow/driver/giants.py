"""Images that are done in parts: which parts are left, and when they can be put together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdflow.driver.events import Command, RecordDeadLetter, RecordEndings, RemoveParts
from sdflow.work.ledger import LedgerLine
from sdflow.work.shard import ASSEMBLY, Shard
from sdflow.worker.report import Parted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdflow.work.shard import WorkItem
    from sdflow.worker.report import Ending


@dataclass(slots=True)
class _Giant:
    assembly: WorkItem
    left: set[int]


class Giants:
    """Keeps the parts of an image together, from its division to its one ending.

    Every part is a shard of its own. The assembly follows when the last of them is durable. The
    first part that is given up ends the image; whatever its other parts come to is forgotten.
    """

    def __init__(self) -> None:
        self._giants: dict[str, _Giant] = {}

    def is_over(self, item: WorkItem) -> bool:
        """Whether an item is a part of an image that has ended."""
        return item.part is not None and item.key not in self._giants

    def settle(
        self, settled: Iterable[tuple[WorkItem, Ending]], commands: list[Command]
    ) -> list[Shard]:
        """Take in items that have ended for good.

        Args:
            settled: Items and their endings.
            commands: What is to be recorded and removed is added here.

        Returns:
            What can be done now.
        """
        recorded: list[Ending] = []
        removed: list[Command] = []
        shards: list[Shard] = []
        for item, ending in settled:
            if self.is_over(item):
                continue
            recorded.append(ending)
            if isinstance(ending.outcome, Parted):
                shards += self._begin(item, ending.outcome.parts)
            elif isinstance(ending.outcome, LedgerLine):
                removed += self._end(item)
            else:
                shards += self._end_part(item)
        commands += [RecordEndings(tuple(recorded))] if recorded else []
        commands += removed
        return shards

    def bury(self, letters: Iterable[RecordDeadLetter], commands: list[Command]) -> None:
        """Add those dead letters to the commands whose image has not ended yet."""
        for letter in letters:
            if not self.is_over(letter.item):
                commands.append(letter)
                commands += self._end(letter.item)

    def _begin(self, item: WorkItem, parts: tuple[tuple[int, int], ...]) -> list[Shard]:
        items = [replace(item, part=number, pixels=pixels) for number, pixels in parts]
        left = {number for number, _ in parts if number != ASSEMBLY}
        self._giants[item.key] = _Giant(items[-1], left)
        return [Shard((part,)) for part in (items[:-1] if left else items)]

    def _end(self, item: WorkItem) -> list[RemoveParts]:
        return [RemoveParts(item)] if self._giants.pop(item.key, None) else []

    def _end_part(self, item: WorkItem) -> list[Shard]:
        giant = self._giants[item.key]
        giant.left.discard(item.part or 0)
        return [] if giant.left else [Shard((giant.assembly,))]
