"""How far a worker has had to step back because memory ran out."""

from __future__ import annotations

from dataclasses import dataclass, replace

_SMALLEST_TILE = 16  # LR pixels


@dataclass(frozen=True, slots=True)
class Limits:
    """What still fits, learnt from running out of memory; the same for all devices of a kind.

    Attributes:
        batch_px: Most LR pixels, halos included, that go through the network at once.
        tile: Side of a tile's core in LR pixels, where it had to shrink; None otherwise.
        reduced: Whether the network's convolutions had to go from float32 to bfloat16.
        on_cpu: Whether the work had to leave the device for the processor.
    """

    batch_px: int
    tile: int | None = None
    reduced: bool = False
    on_cpu: bool = False

    def stricter(self, other: Limits | None) -> Limits:
        """What fits wherever either fits: two workers of a kind learn apart."""
        if other is None:
            return self
        tiles = [tile for tile in (self.tile, other.tile) if tile is not None]
        return Limits(
            min(self.batch_px, other.batch_px),
            min(tiles, default=None),
            self.reduced or other.reduced,
            self.on_cpu or other.on_cpu,
        )

    @property
    def note(self) -> str:
        """What a person should know of results made under these limits; "" if nothing."""
        parts = (
            f"tile {self.tile}" if self.tile else "",
            "bf16" if self.reduced else "",
            "cpu" if self.on_cpu else "",
        )
        text = ", ".join(part for part in parts if part)
        return f"memory ran out: {text}" if text else ""


def step_back(
    limits: Limits, *, tiles: int, tile_px: int, core: int, can_reduce: bool, can_leave: bool
) -> Limits | None:
    """The next rung of the ladder: smaller batch, smaller tile, no float32, the processor.

    Args:
        limits: Under which memory ran out.
        tiles: How many tiles went through at once.
        tile_px: LR pixels of one of them, halo included.
        core: Longer side of their cores in LR pixels.
        can_reduce: Whether float32 can be given up.
        can_leave: Whether the processor is not in use yet.

    Returns:
        New limits; None at the end of the ladder.
    """
    if tiles > 1:
        return replace(limits, batch_px=tiles // 2 * tile_px)
    if core > _SMALLEST_TILE:
        return replace(limits, tile=max(_SMALLEST_TILE, core // 4 * 2))
    if can_reduce:
        return replace(limits, reduced=True)
    if can_leave:
        return replace(limits, on_cpu=True, tile=None)
    return None
