"""Pairs of an HR image and the LR images drawn of it, cut alike: training data."""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from sdflow.storage import keys
from sdflow.work.ledger import Output
from sdflow.work.names import pair_name, piece_key
from sdflow.worker.photo import SCALE
from sdflow.worker.results import Written

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdflow.geometry import Region
    from sdflow.storage.store import Store
    from sdflow.work.parameters import PairParameters
    from sdflow.work.shard import WorkItem
    from sdflow.worker.fetched import Fetched
    from sdflow.worker.fetcher import Codec
    from sdflow.worker.results import Sample

FORMAT = 1
"""Version of what is said of a pair."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Where a pair is cut from and what it is called.

    Attributes:
        region: Of the HR image, in pixels of the source.
        suffix: What its names end in, before their extensions.
    """

    region: Region
    suffix: str


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A source with all that was drawn of it."""

    item: WorkItem
    image: Fetched
    samples: Sequence[Sample]
    pairs: Sequence[Pair]
    identity: str


class PairWriter:
    """Cuts pairs, and writes them into folders or into one tar of the image.

    Args:
        target: Where they go.
        codec: Writes images; its parameters say how to cut.
        given: These parameters.
    """

    wants_all = True

    def __init__(self, target: Store, codec: Codec, given: PairParameters) -> None:
        self._target = target
        self._codec = codec
        self._given = given

    def write(self, item: WorkItem, image: Fetched, samples: Sequence[Sample]) -> Written:
        """As ``ResultWriter.write``; an image without cuts needs no samples."""
        given = self._given
        identity = _identity(item, image, self._codec.parameters.hash)
        if not image.cuts:
            sides = image.pixels.shape[:2]
            is_small = min(sides) < (given.crop or SCALE)
            why = f"smaller than {given.crop or SCALE} px" if is_small else "not enough texture"
            return Written((), f"no pair: {why}", identity=identity)
        pairs = [
            Pair(region, "" if given.crop is None else f"_c{number:04d}")
            for number, region in image.cuts
        ]
        write = self._folders if given.layout == "folders" else self._tar
        started = perf_counter()
        outputs, encode_s = write(_Drawn(item, image, samples, pairs, identity))
        return Written(
            outputs,
            pairs=len(pairs),
            shape=f"{pairs[0].region.height},{pairs[0].region.width},{image.pixels.shape[2]}",
            identity=identity,
            encode_s=encode_s,
            upload_s=perf_counter() - started - encode_s,
        )

    def _folders(self, drawn: _Drawn) -> tuple[tuple[Output, ...], float]:
        """The objects, and the seconds that encoding took."""
        base = pair_name(drawn.item.key, drawn.identity)
        outputs: list[Output] = []
        encode_s = 0.0
        described = []
        for pair in drawn.pairs:
            names = [keys.hr_key(base + pair.suffix)]
            for sample in drawn.samples:
                number = sample.number if len(drawn.samples) > 1 else None
                names.append(keys.lr_key(base + pair.suffix, number))
            started = perf_counter()
            images = self._images(drawn, pair, names[0])
            encode_s += perf_counter() - started
            outputs += [
                Output(name, self._target.put(name, data), len(data))
                for name, data in zip(names, images, strict=True)
            ]
            described.append(_described(pair, drawn.samples, names, images))
        record = {**self._record(drawn), "pairs": described}
        name, data = keys.pairs_key(base), json.dumps(record).encode()
        outputs.append(Output(name, self._target.put(name, data), len(data)))
        return tuple(outputs), encode_s

    def _tar(self, drawn: _Drawn) -> tuple[tuple[Output, ...], float]:
        """A part of a shard: members one after the other, without what a tar ends with."""
        size_bytes, encode_s = 0, 0.0

        def blocks() -> Iterator[bytes]:
            nonlocal size_bytes, encode_s
            for pair in drawn.pairs:
                started = perf_counter()
                members = self._members(drawn, pair)
                block = b"".join(_member(name, data) for name, data in members)
                size_bytes, encode_s = size_bytes + len(block), encode_s + perf_counter() - started
                yield block

        key = piece_key(drawn.item, self._codec.parameters)
        etag = self._target.put_stream(key, blocks())
        return (Output(key, etag, size_bytes),), encode_s

    def _members(self, drawn: _Drawn, pair: Pair) -> Iterator[tuple[str, bytes]]:
        base = pair_name(drawn.item.key, drawn.identity) + pair.suffix
        names = [f"{base}.hr.png", *(f"{base}.lr{sample.number}.png" for sample in drawn.samples)]
        images = self._images(drawn, pair, names[0])
        yield from zip(names, images, strict=True)
        described = _described(pair, drawn.samples, names, images)
        record = {**self._record(drawn), **described}
        yield f"{base}.json", json.dumps(record).encode()

    def _images(self, drawn: _Drawn, pair: Pair, key: str) -> list[bytes]:
        """The HR file and the LR files of a pair."""
        image, small = drawn.image, pair.region.divided(SCALE).slices
        cut = [image.pixels[pair.region.slices], *(one.pixels[small] for one in drawn.samples)]
        numbers = (0, *(sample.number for sample in drawn.samples))
        return [
            self._codec.encode(pixels, image, sample=number, key=key)[0]
            for number, pixels in zip(numbers, cut, strict=True)
        ]

    def _record(self, drawn: _Drawn) -> dict[str, Any]:
        given, item, image = self._codec.parameters, drawn.item, drawn.image
        return {
            "format": FORMAT,
            "id": drawn.identity,
            "key": item.key,
            "etag": item.etag,
            "md5": image.md5,
            "size": list(image.pixels.shape[:2]),
            "scale": SCALE,
            "seed": given.seed,
            "weights": given.weights,
            "parameters": given.hash,
        }


def _identity(item: WorkItem, image: Fetched, parameters: str) -> str:
    text = f"{item.key}\0{image.md5}\0{parameters}".encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:16]


def _described(
    pair: Pair, samples: Sequence[Sample], names: Sequence[str], images: Sequence[bytes]
) -> dict[str, Any]:
    """What is said of one pair: where it was cut, and of each file its hash."""
    region = pair.region
    files = [
        {"name": name, "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in zip(names, images, strict=True)
    ]
    return {
        "crop": [region.y, region.x, region.height, region.width],
        "hr": files[0],
        "lr": [
            {**file, "sample": sample.number, **_drawn(sample)}
            for file, sample in zip(files[1:], samples, strict=True)
        ],
    }


def _drawn(sample: Sample) -> dict[str, Any]:
    """Temperature, component and log p(LR image | content of the HR image) in nats, all of it."""
    draw = sample.draw
    if draw is None:
        return {"tau": None, "component": None, "log_likelihood": None}
    return {
        "tau": round(draw.tau, 6),
        "component": draw.component,
        "log_likelihood": float(f"{draw.log_prob:.6g}"),
    }


def _member(name: str, data: bytes) -> bytes:
    """A file in a tar: header, content, and zeros up to the next block of 512 bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    header = info.tobuf(tarfile.PAX_FORMAT, "utf-8")
    return header + data + bytes(-len(data) % tarfile.BLOCKSIZE)
