"""The units of work: one image, and a shard of them that a worker leases at a time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One source image to be done.

    Attributes:
        key: Source key relative to the job's prefix.
        etag: Version of the source that was listed.
        size_bytes: Length of the source.
        keeps_full_name: The results carry the whole source name, because another source has the
            plain one (``a.jpg.png`` instead of ``a.png``).
    """

    key: str
    etag: str
    size_bytes: int
    keeps_full_name: bool = False


@dataclass(frozen=True, slots=True)
class Shard:
    """Images that one worker does under one lease, in this order.

    Attributes:
        items: The images.
        attempt: 1 for the first try.
        failures: How many of the attempts before ended with an error, the worker still living.
        suspicion: Above 0, one of these images may have killed a worker, and whoever takes the
            shard holds no other meanwhile; 2 for an image that was alone when a worker died.
    """

    items: tuple[WorkItem, ...]
    attempt: int = 1
    failures: int = 0
    suspicion: int = 0

    @property
    def id(self) -> str:
        """Content hash of the images: the same work has the same name in every run."""
        digest = hashlib.sha256()
        for item in self.items:
            digest.update(f"{item.key}\0{item.etag}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]
