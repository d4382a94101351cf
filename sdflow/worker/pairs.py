"""Pairs of an HR image and the LR images drawn of it, cut alike: training data."""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from sdflow.geometry import Size
from sdflow.images.texture import texture
from sdflow.storage import keys
from sdflow.tiling.crops import plan_crops
from sdflow.work.ledger import Output
from sdflow.work.names import pair_base, piece_key
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
        """As ``ResultWriter.write``; without a pair where nothing is large or textured enough."""
        given = self._given
        size = Size(*image.pixels.shape[:2])
        cuts = list(enumerate(plan_crops(size, crop=given.crop, stride=given.stride)))
        pairs = [
            Pair(region, "" if given.crop is None else f"_c{number:04d}")
            for number, region in cuts
            if texture(image.pixels[region.slices]) >= given.min_texture
        ]
        identity = _identity(item, image, self._codec.parameters.hash)
        write = self._folders if given.layout == "folders" else self._tar
        started = perf_counter()
        outputs, encode_s = write(item, image, samples, pairs, identity)
        upload_s = perf_counter() - started - encode_s
        note = "" if pairs else "no pair: smaller than --crop"
        if cuts and not pairs:
            note = "no pair: flatter than --min-texture"
        shape = ""
        if pairs:
            region = pairs[0].region
            shape = f"{region.height},{region.width},{image.pixels.shape[2]}"
        return Written(outputs, note, len(pairs), shape, identity, encode_s, upload_s)

    def _folders(
        self,
        item: WorkItem,
        image: Fetched,
        samples: Sequence[Sample],
        pairs: Sequence[Pair],
        identity: str,
    ) -> tuple[tuple[Output, ...], float]:
        """The objects, and the seconds that encoding took."""
        base = pair_base(item)
        outputs: list[Output] = []
        encode_s = 0.0
        described = []
        for pair in pairs:
            names = [f"{keys.HR_PREFIX}{base}{pair.suffix}.png"]
            for sample in samples:
                number = f".s{sample.number}" if len(samples) > 1 else ""
                names.append(f"{keys.LR_PREFIX}{base}{pair.suffix}{number}.png")
            started = perf_counter()
            images = self._images(image, samples, pair, names[0])
            encode_s += perf_counter() - started
            outputs += [
                Output(name, self._target.put(name, data), len(data))
                for name, data in zip(names, images, strict=True)
            ]
            described.append(_described(pair, samples, names, images))
        record = {**self._record(item, image, identity), "pairs": described}
        name, data = f"{keys.PAIRS_PREFIX}{base}.json", json.dumps(record).encode()
        outputs.append(Output(name, self._target.put(name, data), len(data)))
        return tuple(outputs), encode_s

    def _tar(
        self,
        item: WorkItem,
        image: Fetched,
        samples: Sequence[Sample],
        pairs: Sequence[Pair],
        identity: str,
    ) -> tuple[tuple[Output, ...], float]:
        """A part of a shard: members one after the other, without what a tar ends with."""
        if not pairs:
            return (), 0.0
        size_bytes, encode_s = 0, 0.0

        def blocks() -> Iterator[bytes]:
            nonlocal size_bytes, encode_s
            for pair in pairs:
                started = perf_counter()
                members = self._members(item, image, samples, pair, identity)
                block = b"".join(_member(name, data) for name, data in members)
                size_bytes, encode_s = size_bytes + len(block), encode_s + perf_counter() - started
                yield block

        key = piece_key(item, self._codec.parameters)
        etag = self._target.put_stream(key, blocks())
        return (Output(key, etag, size_bytes),), encode_s

    def _members(
        self,
        item: WorkItem,
        image: Fetched,
        samples: Sequence[Sample],
        pair: Pair,
        identity: str,
    ) -> Iterator[tuple[str, bytes]]:
        base = sample_key(item.key, identity) + pair.suffix
        names = [f"{base}.hr.png", *(f"{base}.lr{sample.number}.png" for sample in samples)]
        images = self._images(image, samples, pair, names[0])
        yield from zip(names, images, strict=True)
        described = _described(pair, samples, names, images)
        record = {**self._record(item, image, identity), **described}
        yield f"{base}.json", json.dumps(record).encode()

    def _images(
        self, image: Fetched, samples: Sequence[Sample], pair: Pair, key: str
    ) -> list[bytes]:
        """The HR file and the LR files of a pair."""
        small = pair.region.divided(SCALE).slices
        cut = [image.pixels[pair.region.slices], *(sample.pixels[small] for sample in samples)]
        numbers = (0, *(sample.number for sample in samples))
        return [
            self._codec.encode(pixels, image, sample=number, key=key)[0]
            for number, pixels in zip(numbers, cut, strict=True)
        ]

    def _record(self, item: WorkItem, image: Fetched, identity: str) -> dict[str, Any]:
        given = self._codec.parameters
        return {
            "format": FORMAT,
            "id": identity,
            "key": item.key,
            "etag": item.etag,
            "md5": image.md5,
            "size": list(image.pixels.shape[:2]),
            "scale": SCALE,
            "seed": given.seed,
            "weights": given.weights,
            "parameters": given.hash,
        }


def sample_key(key: str, identity: str) -> str:
    """What a source's samples are called in shards, where the first dot ends a sample's name."""
    folder, slash, name = key.rpartition("/")
    stem, dot, _ = name.rpartition(".")
    return f"{folder}{slash}{(stem if dot else name).replace('.', '_')}-{identity[:8]}"


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
    header = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    return header + data + bytes(-len(data) % tarfile.BLOCKSIZE)
