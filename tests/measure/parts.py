"""Which parts of giant images a job has made, and which of them more than once."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

_PERIOD_S = 1.0


@dataclass
class PartsWatch:
    """Lists a prefix once a second, from another thread, and remembers what was there when.

    Attributes:
        client: Sends the requests.
        bucket: Where the parts are.
        prefix: What their keys begin with.
    """

    client: S3Client
    bucket: str
    prefix: str
    _written: dict[str, set[datetime]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)
    _over: Event = field(default_factory=Event)
    _thread: Thread | None = None

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._watch, name="parts-watch")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def seen(self) -> int:
        """How many parts there have been."""
        with self._lock:
            return len(self._written)

    @property
    def repeated(self) -> int:
        """How many of them were written more than once."""
        with self._lock:
            return sum(len(times) > 1 for times in self._written.values())

    def _watch(self) -> None:
        pages = self.client.get_paginator("list_objects_v2")
        while not self._over.wait(_PERIOD_S):
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix):
                with self._lock:
                    for entry in page.get("Contents", ()):
                        times = self._written.setdefault(entry["Key"], set())
                        times.add(entry["LastModified"])
