"""Every object key that a job makes up is built here, and nowhere else.

A job keeps its own files below ``_sdflow/`` in the destination; outputs mirror the source keys.
"""

from __future__ import annotations

import re
from posixpath import splitext

JOB_FOLDER = "_sdflow"
JOB_PREFIX = f"{JOB_FOLDER}/"
JOB_KEY = f"{JOB_PREFIX}job.json"
MANIFEST_PREFIX = f"{JOB_PREFIX}manifest/"
LEDGER_PREFIX = f"{JOB_PREFIX}ledger/"
LEASE_PREFIX = f"{JOB_PREFIX}lease/"
CLAIMS_PREFIX = f"{JOB_PREFIX}claims/"
SCRATCH_PREFIX = f"{JOB_PREFIX}scratch/"
DEAD_LETTER_KEY = f"{JOB_PREFIX}deadletter.jsonl"
SUMMARY_KEY = f"{JOB_PREFIX}summary.json"
REPORT_KEY = f"{JOB_PREFIX}report.html"
PIECES_PREFIX = f"{JOB_PREFIX}pieces/"

HR_PREFIX, LR_PREFIX, PAIRS_PREFIX = "HR/", "LRx4/", "meta/"
SHARDS_PREFIX, INDEX_PREFIX = "shards/", "index/"
DATASET_KEY, CARD_KEY, SAMPLES_KEY = "dataset.json", "README.md", "samples.png"
META_INFO_KEY, META_INFO_PAIRS_KEY = "meta_info.txt", "meta_info_pairs.txt"

_OWNER = re.compile(rf"{LEASE_PREFIX}owner-([0-9]{{8}})\.json")


def probe_key(token: str) -> str:
    """Key of an object that is written to see whether that works, and removed."""
    if not token or "/" in token:
        raise ValueError(f"{token!r} is not a token")
    return f"{JOB_PREFIX}probe-{token}"


def manifest_key(part: int) -> str:
    """Key of one part of the manifest, counted from 0; the names sort like the numbers."""
    if not 0 <= part < 100_000:
        raise ValueError(f"manifest part {part} is not in [0, 100000)")
    return f"{MANIFEST_PREFIX}part-{part:05d}.jsonl.gz"


def ledger_key(name: str) -> str:
    """Key of one writer's part of the ledger."""
    if not name or "/" in name:
        raise ValueError(f"{name!r} is not a name for a part of the ledger")
    return f"{LEDGER_PREFIX}{name}.jsonl.gz"


def lease_key(epoch: int) -> str:
    """Key of the lease of a job's owner, the epochs counted from 1; names sort like numbers."""
    if not 0 < epoch < 100_000_000:
        raise ValueError(f"epoch {epoch} is not in [1, 100000000)")
    return f"{LEASE_PREFIX}owner-{epoch:08d}.json"


def lease_epoch(key: str) -> int | None:
    """The epoch that :func:`lease_key` made a key of; None for any other key."""
    match = _OWNER.fullmatch(key)
    return int(match[1]) if match else None


def join_key(driver: str) -> str:
    """Key of the lease of a driver that has joined the owner."""
    if not driver or "/" in driver:
        raise ValueError(f"{driver!r} is not a name for a driver")
    return f"{LEASE_PREFIX}join-{driver}.json"


def claims_prefix(block: str) -> str:
    """What the keys of all claims to one block of the listing begin with."""
    if not block or "/" in block:
        raise ValueError(f"{block!r} is not a name for a block")
    return f"{CLAIMS_PREFIX}{block}/"


def claim_key(block: str, number: int) -> str:
    """Key of one claim to a block, counted from 1; the names sort like the numbers."""
    if not 0 < number < 100_000:
        raise ValueError(f"claim {number} is not in [1, 100000)")
    return f"{claims_prefix(block)}{number:05d}"


def scratch_prefix(image: str) -> str:
    """What the keys of all that is kept of one image's parts begin with."""
    if not image or "/" in image:
        raise ValueError(f"{image!r} is not a name for an image's parts")
    return f"{SCRATCH_PREFIX}{image}/"


def hr_key(name: str) -> str:
    """Key of the HR image of a pair, in folders."""
    return f"{HR_PREFIX}{name}.png"


def lr_key(name: str, sample: int | None) -> str:
    """Key of an LR image of a pair, in folders; None where there is one sample alone."""
    return f"{LR_PREFIX}{name}{_tail('.png', sample)}"


def pairs_key(name: str) -> str:
    """Key of what is said of a source's pairs, in folders."""
    return f"{PAIRS_PREFIX}{name}.json"


def stale_key(night: int) -> str:
    """Key of the list of pairs that are not to be used any more, as of a night."""
    if not 0 < night < 1_000_000:
        raise ValueError(f"night {night} is not in [1, 1000000)")
    return f"stale-{night:06d}.jsonl"


def piece_key(identity: str) -> str:
    """Key of all pairs of one image, until they are in a shard."""
    if not identity or "/" in identity:
        raise ValueError(f"{identity!r} is not the name of an image's pairs")
    return f"{PIECES_PREFIX}{identity}.tar"


def shard_key(night: int, number: int, digest: str) -> str:
    """Key of a shard: the night that wrote it, from 1, its number, and a hash of what is in it."""
    if not 0 < night < 1_000_000 or not 0 <= number < 100_000:
        raise ValueError(f"no shard has the number {number} of night {night}")
    return f"{shards_of(night)}{number:05d}-{digest}.tar"


def shards_of(night: int) -> str:
    """What the keys of a night's shards begin with."""
    return f"{SHARDS_PREFIX}{night:06d}-"


def index_key(night: int, part: int) -> str:
    """Key of a part, from 0, of what a night, from 1, adds to the index; names sort by time."""
    if not 0 < night < 1_000_000 or not 0 <= part < 100_000:
        raise ValueError(f"no part of an index has the number {part} of night {night}")
    return f"{INDEX_PREFIX}{night:06d}-{part:05d}.jsonl.gz"


def is_job_key(key: str) -> bool:
    """Whether a key belongs to some job's own folder, at any depth.

    A source may hold the whole destination of an earlier job somewhere below it.
    """
    return JOB_FOLDER in key.split("/")


def output_key(source_key: str, *, extension: str | None, sample: int | None) -> str:
    """The natural name of an output: ``a/b.jpg`` becomes ``a/b.s0.png``.

    Args:
        source_key: Key of the source image.
        extension: Extension of the output, "png" or ".png"; None keeps the source's own.
        sample: Number of the sample, from 0; None where there is only one.
    """
    stem, own_extension = splitext(source_key)
    return stem + _tail(own_extension if extension is None else extension, sample)


def full_output_key(source_key: str, *, extension: str | None, sample: int | None) -> str:
    """The name of an output whose natural name is taken: ``b.jpg`` becomes ``b.jpg.s0.png``.

    The arguments are those of :func:`output_key`. Where neither is given, the name is the
    source's own. Two sources never share such a name.
    """
    if extension is None and sample is None:
        return source_key
    own_extension = splitext(source_key)[1]
    return source_key + _tail(own_extension if extension is None else extension, sample)


def _tail(extension: str, sample: int | None) -> str:
    number = "" if sample is None else f".s{sample}"
    bare = extension.removeprefix(".")
    # A lone dot at the end of a name is the name's own.
    return number + (f".{bare}" if bare else extension)
