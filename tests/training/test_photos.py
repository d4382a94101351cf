"""Photos that patches are cut from."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from PIL import Image

from sdflow.errors import DecodeError, TrainingError, UsageError
from sdflow.storage.memory import MemoryStore
from sdflow.training.patches import PatchDraw
from sdflow.training.photos import PhotoSet, read_rgb

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _draw(
    photo: int = 0, *, top: float = 0.0, left: float = 0.0, flip: bool = False, turns: int = 0
) -> PatchDraw:
    return PatchDraw(photo, top, left, flip, turns, grain=5)


def _numbered(side: int) -> NDArray[np.uint8]:
    """Every pixel another one, as far as 8 bits go."""
    return (np.arange(side * side * 3) % 251).astype(np.uint8).reshape(side, side, 3)


def _set(*photos: NDArray[np.uint8], hold_bytes: int = 2**20) -> PhotoSet:
    names = [str(index) for index in range(len(photos))]
    return PhotoSet(
        names, lambda name: photos[int(name)], complain=_unexpected, hold_bytes=hold_bytes
    )


def _unexpected(name: str, error: Exception) -> None:
    raise AssertionError((name, error))


def _levels(patch: NDArray[np.float32]) -> NDArray[np.float64]:
    return (patch.astype(np.float64) + 1) * 127.5


def test_dequantised_values_stay_within_half_a_level() -> None:
    pixels = _numbered(16)
    found = _levels(_set(pixels).patch(_draw(), 16))
    off = found - pixels
    assert np.abs(off).max() <= 0.5 + 1e-4
    assert off.std() == pytest.approx(1 / np.sqrt(12), rel=0.05)


@pytest.mark.parametrize(("flip", "turns"), [(False, 1), (True, 0), (True, 3)])
def test_patches_are_flipped_then_turned(flip: bool, turns: int) -> None:
    pixels = _numbered(8)
    found = np.rint(_levels(_set(pixels).patch(_draw(flip=flip, turns=turns), 8)))
    wanted = np.rot90(pixels[:, ::-1] if flip else pixels, turns)
    assert np.abs(found - wanted).max() <= 1


def test_shares_reach_from_corner_to_corner() -> None:
    pixels = _numbered(10)
    photos = _set(pixels)
    first = photos.patch(_draw(), 8)
    last = photos.patch(_draw(top=0.999, left=0.999), 8)
    assert np.abs(_levels(first) - pixels[:8, :8]).max() <= 0.5 + 1e-4
    assert np.abs(_levels(last) - pixels[2:, 2:]).max() <= 0.5 + 1e-4


def test_small_photos_are_continued_by_reflection() -> None:
    pixels = _numbered(6)
    found = _levels(_set(pixels).patch(_draw(), 8))
    assert np.abs(found[6:, :6] - pixels[:-3:-1]).max() <= 0.5 + 1e-4


def test_held_photos_are_read_once_and_only_as_many_as_there_is_room_for() -> None:
    reads: list[str] = []
    pixels = _numbered(8)

    def read(name: str) -> NDArray[np.uint8]:
        reads.append(name)
        return pixels

    photos = PhotoSet("ab", read, complain=_unexpected, hold_bytes=2 * pixels.nbytes)
    for index in (0, 1, 0, 1):
        photos.patch(_draw(index), 8)
    assert reads == ["a", "b"]
    small = PhotoSet("ab", read, complain=_unexpected, hold_bytes=pixels.nbytes)
    for index in (0, 1, 0):
        small.patch(_draw(index), 8)
    assert reads == ["a", "b", "a", "b", "a"]


def test_a_bad_photo_is_said_once_and_the_next_one_takes_its_place() -> None:
    said: list[str] = []
    pixels = _numbered(8)

    def read(name: str) -> NDArray[np.uint8]:
        if name == "b":
            raise DecodeError("broken", item=name)
        return pixels if name == "a" else pixels // 2

    photos = PhotoSet("abc", read, complain=lambda name, _: said.append(name))
    for _ in range(2):
        assert np.array_equal(photos.patch(_draw(1), 8), photos.patch(_draw(2), 8))
    assert said == ["b"]


def test_a_set_without_a_good_photo_ends_the_run() -> None:
    def read(name: str) -> NDArray[np.uint8]:
        raise DecodeError("broken", item=name)

    photos = PhotoSet("ab", read, complain=lambda _name, _error: None)
    with pytest.raises(TrainingError, match="none of 2 photos"):
        photos.patch(_draw(), 8)
    with pytest.raises(UsageError, match="no photos"):
        PhotoSet((), read, complain=_unexpected)


def _stored(image: Image.Image, name: str = "a.png") -> MemoryStore:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    store = MemoryStore()
    store.put(name, buffer.getvalue())
    return store


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_every_photo_becomes_three_channels_of_eight_bits(mode: str) -> None:
    colours = Image.fromarray(_numbered(8))
    store = _stored(colours.convert(mode))
    wanted = np.asarray(colours.convert("L" if mode.startswith("L") else "RGB").convert("RGB"))
    assert np.array_equal(read_rgb(store, "a.png", max_pixels=100), wanted)


def test_sixteen_bits_are_rounded_to_eight() -> None:
    buffer = BytesIO()
    deep = _numbered(8).astype(np.uint16) * 257 + 100
    tifffile.imwrite(buffer, deep, photometric="rgb")
    store = MemoryStore()
    store.put("a.tif", buffer.getvalue())
    assert np.array_equal(read_rgb(store, "a.tif", max_pixels=100), _numbered(8))
