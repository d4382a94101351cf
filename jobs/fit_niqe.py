"""``python -m jobs.fit_niqe PHOTOS OUT.safetensors``: NIQE's parameters from clean photos."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sdflow.errors import SdflowError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_PIXELS = 100_000_000


def main(arguments: Sequence[str]) -> int:
    """Fit and write; returns the exit status."""
    from sdflow.evaluation.niqe import save
    from sdflow.evaluation.niqe_fit import fit
    from sdflow.evaluation.photos import find_photos
    from sdflow.storage.location import StoreLocation, open_store

    try:
        if len(arguments) != 2:
            raise UsageError("python -m jobs.fit_niqe PHOTOS OUT.safetensors")
        photos = find_photos(open_store(StoreLocation(arguments[0])), max_pixels=_MAX_PIXELS)
        save(fit(map(photos.read, photos.keys)), Path(arguments[1]))
    except SdflowError as error:
        sys.stderr.write(f"fit_niqe: {error}\n")
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
