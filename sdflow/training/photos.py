"""Photos to cut patches from: read when first wanted, and held as long as there is room."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from sdflow.errors import ImageError, NotFoundError, TrainingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from sdflow.storage.store import Store
    from sdflow.training.patches import PatchDraw


class PhotoSet:
    """Photos by name, the last used of them held in memory. Safe to use from several threads.

    A photo that cannot be read is replaced by the next one; the same seed sees the same patches as
    long as the same photos are good.

    Args:
        names: In a fixed order: it decides what a seed means.
        read: Gives RGB pixels (H, W, 3) uint8 of a name.
        complain: Told the name and error of a photo that cannot be read, once.
        hold_bytes: How much of them to hold, decoded; 256 photos of the set should fit.

    Raises:
        UsageError: If there are none.
    """

    def __init__(
        self,
        names: Sequence[str],
        read: Callable[[str], NDArray[np.uint8]],
        *,
        complain: Callable[[str, Exception], None],
        hold_bytes: int = 2**31,
    ) -> None:
        if not names:
            raise UsageError("there are no photos to train on")
        self._names = tuple(names)
        self._read = read
        self._complain = complain
        self._room = hold_bytes
        self._held: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._bad: set[int] = set()
        self._lock = Lock()

    def __len__(self) -> int:
        """How many photos there are."""
        return len(self._names)

    def patch(self, draw: PatchDraw, side: int) -> NDArray[np.float32]:
        """A patch (side, side, 3) in [-1, 1], each level spread over its width.

        Dequantised values are 2 (v + u) / 255 - 1 with u uniform in [-1/2, 1/2). Photos smaller
        than the patch are continued by reflection.

        Raises:
            TrainingError: If no photo at all can be read.
            StorageError: If the store refuses.
        """
        pixels = self._photo(draw.photo)
        height, width = (max(length - side, 0) + 1 for length in pixels.shape[:2])
        top, left = int(draw.top * height), int(draw.left * width)
        patch = pixels[top : top + side, left : left + side]
        missing = [(0, side - length) for length in patch.shape[:2]]
        patch = np.pad(patch, [*missing, (0, 0)], mode="symmetric")
        patch = np.rot90(patch[:, ::-1] if draw.flip else patch, draw.turns)
        noise = np.random.default_rng(draw.grain).random(patch.shape, np.float32)
        return (patch + noise - np.float32(0.5)) * np.float32(2 / 255) - np.float32(1)

    def _photo(self, index: int) -> NDArray[np.uint8]:
        for number in range(index, index + len(self)):
            place = number % len(self)
            with self._lock:
                if place in self._bad:
                    continue
                if place in self._held:
                    self._held.move_to_end(place)
                    return self._held[place]
            try:
                pixels = self._read(self._names[place])
            except (ImageError, NotFoundError) as error:
                self._leave_out(place, error)
                continue
            self._hold(place, pixels)
            return pixels
        raise TrainingError(f"none of {len(self)} photos can be read")

    def _hold(self, place: int, pixels: NDArray[np.uint8]) -> None:
        with self._lock:
            if place not in self._held:
                self._held[place] = pixels
                self._room -= pixels.nbytes
            while self._room < 0 and len(self._held) > 1:
                self._room += self._held.popitem(last=False)[1].nbytes

    def _leave_out(self, place: int, error: Exception) -> None:
        with self._lock:
            is_news = place not in self._bad
            self._bad.add(place)
        if is_news:
            self._complain(self._names[place], error)


def read_rgb(store: Store, key: str, *, max_pixels: int) -> NDArray[np.uint8]:
    """A photo's pixels (H, W, 3) in 8 bits: alpha is dropped, grey becomes three equal channels.

    Raises:
        ImageError: It cannot be read.
        StorageError: The store refuses.
    """
    from sdflow.images.codec import decode  # needs libraries that training itself does not

    pixels = decode(store.get(key), key=key, max_pixels=max_pixels).pixels
    if pixels.dtype == np.uint16:
        pixels = np.rint(pixels / 257).astype(np.uint8)
    colours = pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    return np.ascontiguousarray(colours)
