"""What is kept in the destination while an image is done in parts.

Below the image's own prefix lie ``image.json``, which says what the image is; where its file cannot
be read piece by piece the ``window-*`` of its parts; the ``part-*`` that are done; and a ``note-*``
where something had to be given up for one. Windows and
parts are bare samples, row by row, so that rows of them can be read by ranges.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from sdflow.errors import NotFoundError, StorageError
from sdflow.geometry import Size
from sdflow.images.formats import ImageFormat, Metadata
from sdflow.images.orientation import upright_size

if TYPE_CHECKING:
    from sdflow.images.formats import OpenedImage, Pixels
    from sdflow.storage.store import Store

_RECORD = "image.json"
_PART = re.compile(r"part-([0-9]+)\.s([0-9]+)")
_RAW = ("icc", "exif", "xmp", "iptc")


@dataclass(frozen=True, slots=True)
class GiantRecord:
    """An image that is done in parts.

    Attributes:
        stored: Size of the stored pixels.
        orientation: What turns them upright.
        num_bands: Channels.
        dtype: uint8 or uint16.
        format: Of the source.
        metadata: Of the source.
        note: What of the source is left out, for people.
        has_windows: Whether its windows lie beside the record; else they are read from the source.
        layout: A name for where its parts lie.
    """

    stored: Size
    orientation: int
    num_bands: int
    dtype: np.dtype[np.uint8 | np.uint16]
    format: ImageFormat
    metadata: Metadata
    note: str
    has_windows: bool
    layout: str = ""

    @classmethod
    def of(cls, opened: OpenedImage, *, note: str, has_windows: bool) -> GiantRecord:
        """The record of an image that has been opened."""
        info = opened.info
        return cls(
            Size(info.height, info.width),
            opened.orientation,
            info.bands,
            info.dtype,
            info.format,
            opened.metadata,
            note,
            has_windows,
        )

    @property
    def size(self) -> Size:
        """Size of the upright image."""
        return upright_size(self.stored, self.orientation)

    def encode(self) -> bytes:
        """As JSON."""
        given: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        raw = {name: getattr(self.metadata, name) for name in _RAW}
        given["metadata"] = {
            name: b64encode(value).decode() for name, value in raw.items() if value is not None
        }
        given["metadata"]["dpi"] = self.metadata.dpi
        given["metadata"]["png_colour"] = [
            [name.decode("ascii"), b64encode(body).decode()]
            for name, body in self.metadata.png_colour
        ]
        given["stored"] = [self.stored.height, self.stored.width]
        given["dtype"] = self.dtype.name
        return json.dumps(given, indent=1).encode()

    @classmethod
    def decode(cls, data: bytes) -> GiantRecord:
        """Read :meth:`encode` back; raises KeyError, TypeError or ValueError for other bytes."""
        given = json.loads(data)
        metadata = given["metadata"]
        raw = {name: b64decode(metadata[name]) for name in _RAW if name in metadata}
        dpi = metadata["dpi"]
        given["metadata"] = Metadata(
            **raw,
            dpi=None if dpi is None else (dpi[0], dpi[1]),
            png_colour=tuple(
                (name.encode("ascii"), b64decode(body)) for name, body in metadata["png_colour"]
            ),
        )
        given["stored"] = Size(*given["stored"])
        given["dtype"] = np.dtype(given["dtype"])
        given["format"] = ImageFormat(given["format"])
        return cls(**given)


def read_record(target: Store, prefix: str) -> GiantRecord | None:
    """An image's record; None where nothing is known of it yet.

    Raises:
        StorageError: If it cannot be read.
    """
    key = prefix + _RECORD
    try:
        return GiantRecord.decode(target.get(key))
    except NotFoundError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(
            f"{key} was changed by hand or by another version: remove it, and the image is begun "
            "anew",
            item=key,
        ) from error


class Scratch:
    """The parts of one image in the destination.

    Args:
        target: The destination.
        prefix: Of everything that belongs to the image.
    """

    def __init__(self, target: Store, prefix: str) -> None:
        self._target = target
        self._prefix = prefix

    def put_record(self, record: GiantRecord) -> None:
        """Keep the record; whatever windows there are to be are there by now."""
        self._target.put(self._prefix + _RECORD, record.encode())

    def put_window(self, number: int, pixels: Pixels) -> None:
        """Keep what of the source a part needs, as it is stored."""
        self._target.put(self._window_key(number), pixels.tobytes())

    def window(self, number: int, size: Size, record: GiantRecord) -> Pixels:
        """What :meth:`put_window` has kept."""
        data = self._target.get(self._window_key(number))
        pixels = np.frombuffer(data, record.dtype)
        return pixels.reshape(size.height, size.width, record.num_bands)

    def put_part(self, number: int, sample: int, pixels: Pixels) -> str:
        """Keep the result of a part; returns its key."""
        key = self._part_key(number, sample)
        self._target.put(key, pixels.tobytes())
        return key

    def clear(self) -> None:
        """Remove everything."""
        self._target.delete_many([info.key for info in self._target.list(self._prefix)])

    def put_note(self, note: str) -> None:
        """Keep what had to be given up for a part; the same is kept once."""
        name = hashlib.sha256(note.encode()).hexdigest()[:16]
        self._target.put(f"{self._prefix}note-{name}", note.encode())

    def notes(self) -> list[str]:
        """What :meth:`put_note` has kept."""
        listed = self._target.list(f"{self._prefix}note-")
        return [self._target.get(info.key).decode() for info in listed]

    def part_bytes(self, number: int, sample: int, start: int, stop: int) -> bytes:
        """A range of the bytes that :meth:`put_part` has kept."""
        return self._target.get(self._part_key(number, sample), start=start, stop=stop)

    def parts(self) -> set[tuple[int, int]]:
        """Number and sample of every part that is done."""
        listed = self._target.list(self._prefix + "part-")
        found = (_PART.fullmatch(info.key.removeprefix(self._prefix)) for info in listed)
        return {(int(match[1]), int(match[2])) for match in found if match}

    def _window_key(self, number: int) -> str:
        return f"{self._prefix}window-{number:05d}"

    def _part_key(self, number: int, sample: int) -> str:
        return f"{self._prefix}part-{number:05d}.s{sample}"
