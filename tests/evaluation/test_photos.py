from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from sdflow.errors import AccessDeniedError, DecodeError, ImageError, SdflowError, UsageError
from sdflow.evaluation.photos import LeftOut, each_measured, find_photos
from sdflow.images.encoding import encode
from sdflow.images.formats import ImageFormat, Metadata, Pixels, WriteOptions
from sdflow.storage.memory import MemoryStore
from tests.model.seeded import photo


def _png(pixels: Pixels) -> bytes:
    return encode(pixels, Metadata(), WriteOptions(ImageFormat.PNG), key="k")


def _store(**pictures: Pixels) -> MemoryStore:
    store = MemoryStore()
    for name, pixels in pictures.items():
        store.put(f"{name}.png", _png(pixels))
    return store


def test_only_wanted_photos_are_found_in_order() -> None:
    store = MemoryStore()
    for key in ("b.png", "a.jpg", "notes.txt", "c/d.webp", "_sdflow/report.png", "z.png"):
        store.put(key, b"x")
    found = find_photos(store, max_pixels=9, exclude=("z*",), limit=3)
    assert found.keys == ("a.jpg", "b.png", "c/d.webp")
    assert find_photos(store, max_pixels=9, include=("b*",)).keys == ("b.png",)
    with pytest.raises(UsageError, match="no photo to measure"):
        find_photos(store, max_pixels=9, include=("q*",))


def test_alpha_is_dropped_and_grey_and_depth_are_kept() -> None:
    deep = photo(5, 6, deep=True)
    alpha = np.full((5, 6, 1), 9, np.uint16)
    pictures = {
        "deep": (deep, deep),
        "clear": (np.concatenate((deep, alpha), axis=2), deep),
        "grey": (deep[..., :1], deep[..., :1]),
        "both": (np.concatenate((deep[..., :1], alpha), axis=2), deep[..., :1]),
    }
    photos = find_photos(
        _store(**{name: one for name, (one, _) in pictures.items()}), max_pixels=30
    )
    for name, (_, expected) in pictures.items():
        pixels = photos.read(f"{name}.png")
        assert pixels.dtype == np.uint16
        assert np.array_equal(pixels, expected)


def test_photos_are_read_upright() -> None:
    buffer, turned = io.BytesIO(), Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    Image.fromarray(photo(8, 16)).save(buffer, "JPEG", exif=turned)
    store = MemoryStore()
    store.put("a.jpg", buffer.getvalue())
    assert find_photos(store, max_pixels=999).read("a.jpg").shape == (16, 8, 3)


def test_a_bad_photo_is_left_out_by_name_and_the_others_are_measured() -> None:
    store = _store(a=photo(4, 4), c=photo(40, 40))
    store.put("b.png", b"no picture")
    photos = find_photos(store, max_pixels=100)
    left_out: list[LeftOut] = []
    measured = each_measured(photos, lambda key: photos.read(key).shape, left_out)
    assert list(measured) == [(4, 4, 3)]
    assert [(one.key, one.error.code) for one in left_out] == [
        ("b.png", "decode.unsupported"),
        ("c.png", "too_large"),
    ]


def test_nothing_but_bad_photos_is_an_error_with_the_first_reason() -> None:
    store = MemoryStore()
    store.put("a.png", b"")
    store.put("b.png", b"no picture")
    photos = find_photos(store, max_pixels=100)
    with pytest.raises(ImageError, match=r"none of 2 photos .* a\.png has no content") as found:
        list(each_measured(photos, photos.read, []))
    assert found.value.code == "decode.empty"


def test_what_is_not_an_image_s_own_fault_ends_it() -> None:
    photos = find_photos(_store(a=photo(4, 4)), max_pixels=100)

    def refuse(key: str) -> None:
        raise AccessDeniedError(key)

    with pytest.raises(AccessDeniedError):
        list(each_measured(photos, refuse, []))


def test_all_reasons_are_errors_with_a_code() -> None:
    left_out: list[LeftOut] = []

    def refuse(key: str) -> None:
        raise DecodeError(f"{key} is cut", item=key, code="decode.truncated")

    with pytest.raises(SdflowError, match=r"a\.png is cut"):
        list(each_measured(find_photos(_store(a=photo(4, 4)), max_pixels=99), refuse, left_out))
    assert left_out[0].error.code == "decode.truncated"
