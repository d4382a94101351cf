"""How many pixels a source has, guessed from its length and corrected by those that were read.

A ranged read of every header would cost one more request an image; shards and leases need only to
be about equally long.
"""

from __future__ import annotations

from dataclasses import replace
from posixpath import splitext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sdflow.work.shard import WorkItem

_PRIOR_BYTES = 2_000_000  # the first guess weighs as much as so many bytes that were read
_PRIOR = {
    ".jpg": 3.0,
    ".jpeg": 3.0,
    ".png": 0.6,
    ".webp": 6.0,
    ".tif": 0.4,
    ".tiff": 0.4,
}
_OTHERWISE = 1.0


class PixelEstimate:
    """Pixels per byte for every kind of file name, learnt while a job runs."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float]] = {}

    def pixels(self, key: str, size_bytes: int) -> int:
        """The estimate for one source, at least 1."""
        seen_bytes, seen_pixels = self._of(_kind(key))
        return max(1, round(size_bytes * seen_pixels / seen_bytes))

    def added(self, items: Iterable[WorkItem]) -> Iterator[WorkItem]:
        """The same images, each with its estimate as it stands when it is drawn."""
        for item in items:
            yield replace(item, pixels=self.pixels(item.key, item.size_bytes))

    def observe(self, key: str, size_bytes: int, pixels: int) -> None:
        """Learn from a source that was read; nothing from one without pixels."""
        if not pixels:
            return  # it was put together from parts that were counted before
        kind = _kind(key)
        seen_bytes, seen_pixels = self._of(kind)
        self._seen[kind] = (seen_bytes + size_bytes, seen_pixels + pixels)

    def _of(self, kind: str) -> tuple[float, float]:
        prior = _PRIOR_BYTES * _PRIOR.get(kind, _OTHERWISE)
        return self._seen.get(kind, (float(_PRIOR_BYTES), prior))


def _kind(key: str) -> str:
    extension = splitext(key)[1].lower()
    return extension if extension in _PRIOR else ""
