"""Whether a store can tell the first writer of an object from the second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdflow.errors import AlreadyExistsError, UnsupportedError

if TYPE_CHECKING:
    from sdflow.storage.store import Store


def has_conditional_puts(store: Store, probe_key: str) -> bool:
    """Whether ``put_if_absent`` refuses an object that is there; tried out on ``store``.

    Some services do not know the condition and say so; others ignore it and overwrite.

    Args:
        store: Any store that can be written to.
        probe_key: Key of an object that is written twice and removed, and that no other process
            probes with at the same time. One that a killed process left behind does no harm.

    Raises:
        StorageError: The store cannot be written to.
    """
    try:
        store.put_if_absent(probe_key, b"")
        store.put_if_absent(probe_key, b"")
    except AlreadyExistsError:
        supported = True
    except UnsupportedError:
        supported = False
    else:
        supported = False
    store.delete(probe_key)
    return supported
