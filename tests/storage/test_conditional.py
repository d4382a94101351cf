"""Stores that cannot tell the first writer from the second; those that can are in the contract."""

from __future__ import annotations

import pytest

from sdflow.errors import AccessDeniedError
from sdflow.storage.conditional import has_conditional_puts
from sdflow.storage.memory import MemoryStore


class Careless(MemoryStore):
    """Ignores the condition, as some services do."""

    def put_if_absent(self, key: str, data: bytes) -> str:
        return self.put(key, data)


class ReadOnly(MemoryStore):
    def put_if_absent(self, key: str, data: bytes) -> str:
        raise AccessDeniedError(f"{len(data)} bytes", item=key)


def test_an_ignored_condition_is_noticed() -> None:
    store = Careless()
    assert not has_conditional_puts(store, "probe")
    assert list(store.list()) == []


def test_a_probe_that_was_left_behind_answers_and_goes() -> None:
    store = MemoryStore()
    store.put("probe", b"")
    assert has_conditional_puts(store, "probe")
    assert list(store.list()) == []


def test_a_store_that_cannot_be_written_to_says_so() -> None:
    with pytest.raises(AccessDeniedError):
        has_conditional_puts(ReadOnly(), "probe")
