"""Rectangles on pixel grids. Rows come first, as in arrays; every value is whole."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """Height and width in pixels."""

    height: int
    width: int

    @property
    def pixels(self) -> int:
        """Area."""
        return self.height * self.width

    def scaled(self, factor: int) -> Size:
        """Both sides times ``factor``."""
        return Size(self.height * factor, self.width * factor)

    def divided(self, divisor: int) -> Size:
        """Both sides divided and rounded up."""
        return Size(-(-self.height // divisor), -(-self.width // divisor))

    def transposed(self) -> Size:
        """Height and width exchanged."""
        return Size(self.width, self.height)

    def padded_to(self, *, multiple_of: int, minimum: int) -> Size:
        """The smallest size that covers this one and keeps the requirement."""
        grown = Size(max(self.height, minimum), max(self.width, minimum))
        return grown.divided(multiple_of).scaled(multiple_of)


@dataclass(frozen=True, slots=True, order=True)
class Region:
    """The rectangle [y, y + height) x [x, x + width) on some grid."""

    y: int
    x: int
    height: int
    width: int

    @property
    def size(self) -> Size:
        """Height and width."""
        return Size(self.height, self.width)

    @property
    def bottom(self) -> int:
        """First row below."""
        return self.y + self.height

    @property
    def right(self) -> int:
        """First column to the right."""
        return self.x + self.width

    def scaled(self, factor: int) -> Region:
        """The same rectangle on a grid ``factor`` times as fine."""
        return Region(self.y * factor, self.x * factor, self.height * factor, self.width * factor)

    def divided(self, divisor: int) -> Region:
        """The same rectangle on a grid ``divisor`` times as coarse.

        Raises:
            ValueError: If a side or corner does not lie on that grid.
        """
        edges = (self.y, self.x, self.height, self.width)
        if any(edge % divisor for edge in edges):
            raise ValueError(f"{self} does not lie on a grid of {divisor}")
        return Region(*(edge // divisor for edge in edges))

    def relative_to(self, origin: Region) -> Region:
        """The same rectangle counted from the corner of ``origin``."""
        return Region(self.y - origin.y, self.x - origin.x, self.height, self.width)

    def moved_by(self, origin: Region) -> Region:
        """The same rectangle, counted from where ``origin`` counts its own corner."""
        return Region(self.y + origin.y, self.x + origin.x, self.height, self.width)

    def intersection(self, other: Region) -> Region | None:
        """What both share; None where that is nothing."""
        top, left = max(self.y, other.y), max(self.x, other.x)
        height, width = min(self.bottom, other.bottom) - top, min(self.right, other.right) - left
        return Region(top, left, height, width) if height > 0 and width > 0 else None

    def contains(self, other: Region) -> bool:
        """Whether ``other`` lies inside."""
        return (
            self.y <= other.y
            and self.x <= other.x
            and other.bottom <= self.bottom
            and other.right <= self.right
        )

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices for indexing an array."""
        return slice(self.y, self.bottom), slice(self.x, self.right)
