"""Every object key that a job makes up is built here, and nowhere else.

A job keeps its own files below ``_sdflow/`` in the destination; outputs mirror the source keys.
"""

from __future__ import annotations

from posixpath import splitext

JOB_FOLDER = "_sdflow"
JOB_PREFIX = f"{JOB_FOLDER}/"
JOB_KEY = f"{JOB_PREFIX}job.json"
MANIFEST_PREFIX = f"{JOB_PREFIX}manifest/"
LEDGER_PREFIX = f"{JOB_PREFIX}ledger/"
DEAD_LETTER_KEY = f"{JOB_PREFIX}deadletter.jsonl"
SUMMARY_KEY = f"{JOB_PREFIX}summary.json"
REPORT_KEY = f"{JOB_PREFIX}report.html"


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
