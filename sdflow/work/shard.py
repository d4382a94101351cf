"""The units of work: one image, and a shard of them that a worker leases at a time."""

from __future__ import annotations

from dataclasses import dataclass

ASSEMBLY = -1


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One source image to be done.

    Attributes:
        key: Source key relative to the job's prefix.
        etag: Version of the source that was listed.
        size_bytes: Length of the source.
        keeps_full_name: The results carry the whole source name, because another source has the
            plain one (``a.jpg.png`` instead of ``a.png``).
        pixels: How many the source, or the part of it, has: estimated from its length for whole
            images; 0 where nobody asked.
        part: Number of one part of an image that is too large to be done at once; ``ASSEMBLY`` for
            putting all its parts together; None for an image as a whole.
    """

    key: str
    etag: str
    size_bytes: int
    keeps_full_name: bool = False
    pixels: int = 0
    part: int | None = None

    @property
    def name(self) -> str:
        """What nothing else of the job is called."""
        return self.key if self.part is None else f"{self.key}\0{self.part}"


@dataclass(frozen=True, slots=True)
class Shard:
    """Images with one history that one worker does under one lease, in this order.

    Attributes:
        items: The images.
        attempt: 1 for the first try.
        failures: How many of the attempts before ended with an error, the worker still living.
        losses: How many ended with their node or its connection, which is no image's fault.
        is_suspect: One of these images may have killed a worker: whoever takes the shard holds no
            other meanwhile.
        kills: How many workers died holding this image alone.
    """

    items: tuple[WorkItem, ...]
    attempt: int = 1
    failures: int = 0
    losses: int = 0
    is_suspect: bool = False
    kills: int = 0

    @property
    def pixels(self) -> int:
        """Estimated pixels of all its images."""
        return sum(item.pixels for item in self.items)
