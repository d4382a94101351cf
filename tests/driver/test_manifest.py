from __future__ import annotations

import pytest

from sdflow.driver.manifest import LINES, Manifest, read_manifest
from sdflow.errors import StorageError
from sdflow.storage import keys
from sdflow.storage.memory import MemoryStore
from sdflow.storage.store import ObjectInfo


def _photo(number: int) -> ObjectInfo:
    return ObjectInfo(f"{number:09d}.jpg", 10, f"v{number}")


def test_manifest_is_read_back_as_it_was_listed() -> None:
    target, photos = MemoryStore(), [_photo(number) for number in range(LINES + 1)]
    photos.append(ObjectInfo("caf\udce9.jpg", 1, "v"))
    manifest = Manifest(target)
    for photo in photos:
        manifest.add(photo)
    manifest.finish()
    assert list(read_manifest(target)) == photos


def test_while_an_archive_that_grew_is_listed_no_image_is_read_twice() -> None:
    target = MemoryStore()
    manifest = Manifest(target)
    for number in range(0, 4 * LINES, 2):
        manifest.add(_photo(number))
    manifest.finish()
    again = Manifest(target)
    for number in range(LINES):  # one part, where the odd ones are new
        again.add(_photo(number))
    found = [info.key for info in read_manifest(target)]
    assert found == sorted(set(found))
    assert len(found) == LINES + LINES  # the second part of the first listing goes on elsewhere


def test_damaged_manifest_is_named() -> None:
    target = MemoryStore()
    target.put(keys.manifest_key(0), b"not gzip")
    with pytest.raises(StorageError, match=r"part-00000\.jsonl\.gz is damaged .*run the job again"):
        list(read_manifest(target))
