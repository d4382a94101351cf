"""How images are taken in and written, as far as no pixel of a result depends on it.

The bytes of PNG results do: their compression has a level, and giants are compressed as a stream.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Handling:
    """What a job may change from one run to the next without doing anything again.

    Attributes:
        max_pixels: Sources with more are refused.
        giant_pixels: Images whose source or result has more are done in parts.
        first_frame: Whether of an animation the first frame is taken, instead of none.
        png_level: Compression of PNG results, 0 to 9.
    """

    max_pixels: int = 1_000_000_000
    giant_pixels: int = 512_000_000
    first_frame: bool = False
    png_level: int = 1
