"""``job.json``: what a job was begun with, read back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdflow.errors import NotFoundError, StorageError
from sdflow.storage import keys
from sdflow.work.parameters import PairParameters, PixelParameters

if TYPE_CHECKING:
    from sdflow.storage.store import Store


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What ``job.json`` says, its values not looked into yet.

    Attributes:
        source: Address of the sources.
        parameters: What the pixels depend on, resolved.
        settings: What the job was told.
    """

    source: str
    parameters: dict[str, Any]
    settings: dict[str, Any]

    def pixel_parameters(self) -> PixelParameters:
        """The parameters of this version of sdflow.

        Raises:
            StorageError: If the job was begun by a version that had others.
        """
        try:
            pairs = self.parameters.get("pairs")
            given = {**self.parameters, "pairs": pairs and PairParameters(**pairs)}
            return PixelParameters(**given)
        except TypeError as error:
            raise StorageError(
                f"{keys.JOB_KEY} has the parameters of another version of sdflow: use that one, "
                "or run the job's own command again with --redo",
                item=keys.JOB_KEY,
            ) from error


def read_record(target: Store) -> JobRecord | None:
    """The record of the job in a destination; None where there is none.

    Raises:
        StorageError: If it cannot be read.
    """
    try:
        record = json.loads(target.get(keys.JOB_KEY))
        return JobRecord(
            source=str(record["source"]),
            parameters=dict(record["parameters"]),
            settings=dict(record["settings"]),
        )
    except NotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{target.url}: {keys.JOB_KEY} is no record of a job: restore it, or take another DST",
            item=keys.JOB_KEY,
        ) from error


def require_record(target: Store) -> JobRecord:
    """The record of the job that must be in a destination.

    Raises:
        NotFoundError: If the destination or the job is not there.
        StorageError: If it cannot be read.
    """
    target.check()
    record = read_record(target)
    if record is None:
        raise NotFoundError(
            f"there is no job in {target.url}: {keys.JOB_KEY} is missing; give the DST of a job",
            item="DST",
        )
    return record
