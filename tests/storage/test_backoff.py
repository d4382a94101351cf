from __future__ import annotations

import pytest

from sdflow.errors import NotFoundError, TransientStorageError
from sdflow.storage.backoff import Backoff


class Flaky:
    """Fails so many times, then succeeds; remembers the pauses between."""

    def __init__(self, times: int, error: Exception) -> None:
        self.calls = 0
        self.pauses: list[float] = []
        self._times = times
        self._error = error

    def run(self) -> str:
        backoff = Backoff(4, base_s=1.0, cap_s=3.0, sleep=self.pauses.append, uniform=lambda: 0.5)
        return backoff.call(self._action, retry_on=TransientStorageError)

    def _action(self) -> str:
        self.calls += 1
        if self.calls <= self._times:
            raise self._error
        return "done"


def test_pauses_double_up_to_the_cap() -> None:
    flaky = Flaky(3, TransientStorageError("x"))
    assert flaky.run() == "done"
    assert (flaky.calls, flaky.pauses) == (4, [0.5, 1.0, 1.5])


def test_a_first_success_does_not_wait() -> None:
    flaky = Flaky(0, TransientStorageError("x"))
    assert flaky.run() == "done"
    assert (flaky.calls, flaky.pauses) == (1, [])


def test_the_last_error_is_raised() -> None:
    flaky = Flaky(4, TransientStorageError("again"))
    with pytest.raises(TransientStorageError, match="again"):
        flaky.run()
    assert (flaky.calls, len(flaky.pauses)) == (4, 3)


def test_other_errors_are_not_retried() -> None:
    flaky = Flaky(1, NotFoundError("x"))
    with pytest.raises(NotFoundError):
        flaky.run()
    assert flaky.calls == 1


def test_the_default_pause_is_jittered() -> None:
    assert {Backoff().pause_s(3) <= 2.0 for _ in range(100)} == {True}
    assert len({Backoff().pause_s(3) for _ in range(100)}) > 1
