"""Damaged files through the decoder, and what they say through the metadata of a result.

They are read in processes of their own.

``python -m tests.images.fuzz --files 20000 --seed 0`` exits with 1 if a file crashes a process,
takes more than 10 seconds or too much memory, or raises what is no stable code.
"""

from __future__ import annotations

import argparse
import json
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from sdflow.errors import DecodeError, TooLargeError
from sdflow.geometry import Size
from sdflow.images.codec import decode
from sdflow.images.encoding import encode
from sdflow.images.formats import ImageFormat, WriteOptions
from sdflow.images.metadata import finished, fitted
from sdflow.images.provenance import Provenance
from sdflow.telemetry import peak_rss_bytes

from .encodings import ENCODINGS
from .mutations import Damage
from .pictures import ramps
from .ranged import Ranged
from .samples import RICH

if TYPE_CHECKING:
    from sdflow.images.formats import ByteSource

MAX_PIXELS = 1 << 20
_FULL_COPIES = 8  # so that one file in five is full of metadata
_PROVENANCE = Provenance("sdflow 1", "0" * 64, "upscale", 0.8, 7, 0)
MAX_SECONDS = 10.0
MAX_RESIDENT_MB = 600
_MAX_ADDRESS_BYTES = 8 << 30
_START_SECONDS = 120.0  # imports and the files of the table, on a busy machine
_CODES = frozenset({f"decode.{kind}" for kind in ("empty", "unsupported", "truncated", "corrupt")})
_GOOD = _CODES | {"decoded", "too_large"}


def whole_files() -> list[bytes]:
    """What is damaged: the table, and of every format some that are full of metadata."""
    pixels = ramps(3)
    full = [encode(pixels, RICH, WriteOptions(name), key="k") for name in ImageFormat]
    return [*(encoding.make() for encoding in ENCODINGS), *_FULL_COPIES * full]


def damaged(seed: int, number: int, files: list[bytes]) -> bytes:
    """The file of this number."""
    return Damage(np.random.default_rng((seed, number)), files).file()


def outcome(data: ByteSource) -> str:
    """``decoded``, a code, or the exception that nobody may see."""
    try:
        image = decode(data, key="k", max_pixels=MAX_PIXELS, first_frame=True)
        height, width, _ = image.pixels.shape
        size = Size(2 * height, 2 * width)
        made = finished(image.metadata, size=size, provenance=_PROVENANCE).metadata
        for name in ImageFormat:
            fitted(made, name)
    except (DecodeError, TooLargeError) as error:
        return error.code
    except Exception as error:  # noqa: BLE001  # it is what the search is for
        return f"{type(error).__name__}: {error}"
    return "decoded"


def serve(seed: int) -> None:
    """Answer numbers on standard input with outcomes on standard output, one line each."""
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_ADDRESS_BYTES, _MAX_ADDRESS_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    files = whole_files()
    answer({"outcome": "ready"})
    for line in sys.stdin:
        begin = time.perf_counter()
        data = damaged(seed, int(line), files)
        found = outcome(Ranged(data) if int(line) % 4 == 0 else data)
        seconds = time.perf_counter() - begin
        resident_mb = peak_rss_bytes() >> 20
        answer({"outcome": found, "seconds": seconds, "resident_mb": resident_mb})


def answer(values: dict[str, str | float]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


class Child:
    """A process that decodes; a new one after each that had to end."""

    def __init__(self, seed: int, log: IO[bytes]) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # our own module
            [
                sys.executable,
                "-X",
                "faulthandler",
                "-m",
                __spec__.name,
                "--serve",
                f"--seed={seed}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        self._read(_START_SECONDS)

    def ask(self, number: int) -> dict[str, str | float]:
        """The outcome of a file; ``crash`` or ``hang`` if there is none, and then it is gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return {"outcome": "crash"}
        return self._read(MAX_SECONDS)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _read(self, seconds: float) -> dict[str, str | float]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        if not ready:
            return {"outcome": "hang"}
        line = self._process.stdout.readline()
        found: dict[str, str | float] = json.loads(line) if line else {"outcome": "crash"}
        return found


@dataclass(slots=True)
class Summary:
    """What became of the files."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, -1)
    largest_mb: tuple[float, int] = (0.0, -1)

    def add(self, number: int, found: dict[str, str | float]) -> bool:
        """Take in an answer; False if its process must end."""
        what = str(found["outcome"])
        resident = float(found.get("resident_mb", 0))
        if what in _GOOD and resident > MAX_RESIDENT_MB:
            what = "memory"
        self.counts[what] += 1
        self.slowest = max(self.slowest, (float(found.get("seconds", 0)), number))
        self.largest_mb = max(self.largest_mb, (resident, number))
        if what not in _GOOD:
            self.failures.append((number, what))
        return what not in ("crash", "hang", "memory")

    def text(self) -> str:
        """A few lines for people."""
        lines = [f"{count:7} {name}" for name, count in self.counts.most_common()]
        lines.append(f"slowest: {self.slowest[0]:.2f} s, file {self.slowest[1]}")
        lines.append(
            f"largest process: {self.largest_mb[0]:.0f} MB, after file {self.largest_mb[1]}"
        )
        lines += [f"FAILED file {number}: {what}" for number, what in sorted(self.failures)]
        return "\n".join(lines)


def search(files: int, seed: int, *, workers: int = 2) -> Summary:
    """Decode damaged files 0 to ``files`` in some processes at once."""
    summary = Summary()

    def work(first: int) -> None:
        with tempfile.TemporaryFile() as log:
            child = Child(seed, log)
            for number in range(first, files, workers):
                if not summary.add(number, child.ask(number)):
                    child.end()
                    child = Child(seed, log)
            child.end()

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    return summary


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--save", type=int, help="write one file to the current folder, and end")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.seed)
        return 0
    if options.save is not None:
        made = damaged(options.seed, options.save, whole_files())
        Path(f"damaged-{options.seed}-{options.save}.img").write_bytes(made)
        return 0
    summary = search(options.files, options.seed, workers=options.workers)
    sys.stdout.write(summary.text() + "\n")
    return 1 if summary.failures else 0


if __name__ == "__main__":
    sys.exit(main())
