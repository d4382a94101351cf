"""What a destination holds as a dataset, read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdflow.errors import NotFoundError
from sdflow.storage import keys
from sdflow.work.dataset import decode_dataset
from sdflow.work.ledger import decode_lines, decode_part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdflow.storage.store import Store
    from sdflow.work.dataset import DatasetRecord
    from sdflow.work.ledger import LedgerLine


def read_dataset(target: Store) -> DatasetRecord | None:
    """``dataset.json``; None where there is none.

    Raises:
        StorageError: If it cannot be read, or is of a later version.
    """
    try:
        return decode_dataset(target.get(keys.DATASET_KEY))
    except NotFoundError:
        return None


def read_index(target: Store, record: DatasetRecord | None) -> Iterator[Iterator[LedgerLine]]:
    """The lines of a dataset's index, part by part, the oldest first; a later line counts.

    Raises:
        StorageError: If a part is missing or damaged.
    """
    for key in index_keys(record) if record else ():
        yield decode_lines(decode_part(target.get(key), source=key), source=key)


def index_keys(record: DatasetRecord) -> Iterator[str]:
    """Keys of all parts of a dataset's index, the oldest first."""
    for night in record.nights:
        for part in range(night.index_parts):
            yield keys.index_key(night.night, part)
