"""Real files of every kind that is read, each with what must be found in it."""

from __future__ import annotations

from .encodings_lossy import LOSSY_ENCODINGS
from .encodings_png import PNG_ENCODINGS
from .encodings_tiff import TIFF_ENCODINGS
from .pictures import Encoding

__all__ = ["ENCODINGS", "Encoding"]

ENCODINGS: tuple[Encoding, ...] = (*PNG_ENCODINGS, *LOSSY_ENCODINGS, *TIFF_ENCODINGS)
