"""Images that are done in parts: which parts are left, and when they can be put together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdflow.driver.events import Command, RecordDeadLetter, RecordEndings, RemoveParts
from sdflow.work.ledger import LedgerLine, is_for_good
from sdflow.work.shard import Shard
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

    The assembly follows when the last part is durable. The first part that is given up ends the
    image; whatever its other parts come to is forgotten. What is durable is removed with the image,
    unless a later run can go on with it.
    """

    def __init__(self) -> None:
        self._giants: dict[str, _Giant] = {}

    def is_over(self, item: WorkItem) -> bool:
        """Whether an item is a part of an image that has ended."""
        return item.part is not None and item.key not in self._giants

    def settle(
        self,
        settled: Iterable[tuple[WorkItem, Ending]],
        commands: list[Command],
        *,
        target_px: int,
    ) -> list[Shard]:
        """Take in items that have ended for good.

        Args:
            settled: Items and their endings.
            commands: What is to be recorded and removed is added here.
            target_px: About so many pixels a shard of parts should have.

        Returns:
            What can be done now.
        """
        recorded: list[Ending] = []
        removed: list[Command] = []
        shards: list[Shard] = []
        for item, ending in settled:
            if item.part is None and isinstance(ending.outcome, LedgerLine):
                recorded.append(ending)  # almost all
                continue
            if self.is_over(item):
                continue
            recorded.append(ending)
            if isinstance(ending.outcome, Parted):
                shards += self._begin(item, ending.outcome.parts, target_px)
            elif isinstance(ending.outcome, LedgerLine):
                removed += self._end(item, ending.outcome.error)
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
                commands += self._end(letter.item, letter.error)

    def _begin(
        self, item: WorkItem, parts: tuple[tuple[int, int], ...], target_px: int
    ) -> list[Shard]:
        *items, assembly = (replace(item, part=part, pixels=pixels) for part, pixels in parts)
        self._giants[item.key] = _Giant(assembly, {number for number, _ in parts[:-1]})
        if not items:
            return [Shard((assembly,))]
        count = max(1, target_px // max(part.pixels for part in items))
        return [Shard(tuple(items[at : at + count])) for at in range(0, len(items), count)]

    def _end(self, item: WorkItem, error: str) -> list[RemoveParts]:
        known = self._giants.pop(item.key, None)
        return [RemoveParts(item)] if known and is_for_good(error) else []

    def _end_part(self, item: WorkItem) -> list[Shard]:
        giant = self._giants[item.key]
        giant.left.discard(item.part or 0)
        return [] if giant.left else [Shard((giant.assembly,))]
