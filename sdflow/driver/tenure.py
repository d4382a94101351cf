"""This driver's right to a job: alone, as its owner among several drivers, or as a guest."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event as Flag

    from sdflow.storage.store import Store

_log = structlog.get_logger()


class Tenure(Protocol):
    """What a run may do to a job."""

    @property
    def is_owner(self) -> bool: ...

    @property
    def is_alone(self) -> bool: ...

    def claim(self, block: str) -> bool: ...

    def check(self) -> None: ...

    def outlasts_others(self, stop: Flag) -> bool: ...


class _Unprotected:
    """Of a store that cannot tell two drivers apart."""

    is_owner = True
    is_alone = True

    def claim(self, block: str) -> bool:
        """Every block is this driver's."""
        return bool(block)

    def check(self) -> None:
        """Nobody can take the job over."""

    def outlasts_others(self, stop: Flag) -> bool:
        """There are no others."""
        del stop
        return False


@contextmanager
def hold_job(target: Store, *, join: bool) -> Iterator[Tenure]:
    """Hold a job."""
    yield _Unprotected()
