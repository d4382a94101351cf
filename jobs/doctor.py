"""``sdflow doctor``: what is installed, what there is to compute with, what the stores allow."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from sdflow.driver.places import s3_options
from sdflow.errors import UsageError
from sdflow.storage.location import StoreLocation, open_store
from sdflow.storage.policy import least_policy
from sdflow.storage.rights import source_rights, target_rights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdflow.driver.doctor_settings import DoctorSettings
    from sdflow.storage.rights import Right

_PACKAGES = ("sdflow", "ray", "torch", "numpy", "boto3", "pillow", "pyvips", "tifffile")
_OF_TRAINING = ("tensorboardX", "rich", "scipy", "scikit-image", "pyarrow")
_MIN_FREE_BYTES = 10 * 2**30


def run(settings: DoctorSettings, *, report: Callable[[str], None]) -> int:
    """Look at this machine and at the stores.

    Args:
        settings: The command's.
        report: Given a line of JSON for everything looked at; or the policy.

    Returns:
        Exit status: 1 if something does not work, else 0.

    Raises:
        UsageError: A place is no address, or a policy is wanted of no place in S3.
    """
    options = s3_options(settings)
    source, target = (
        None if url is None else StoreLocation(url, options) for url in (settings.src, settings.dst)
    )
    if settings.policy:
        policy = least_policy(source, target)
        if not policy["Statement"]:
            raise UsageError("--policy: give SRC or DST as s3://bucket/prefix/", item="--policy")
        report(json.dumps(policy, indent=2))
        return 0
    is_well = True
    for found in (*_machine(), *_rights(source, target)):
        is_well = is_well and found["ok"]
        report(json.dumps(found))
    return 0 if is_well else 1


def _machine() -> Iterator[dict[str, Any]]:
    yield _said("python", ".".join(map(str, sys.version_info[:3])))
    for name in _PACKAGES:
        yield _package(name)
    missing = [name for name in _OF_TRAINING if not _package(name)["ok"]]
    text = "pip install 'sdflow[train]' for sdflow train and evaluate" if missing else "installed"
    yield _said("training", text)
    yield _said("processor", f"{os.cpu_count()} cores{_bf16()}")
    yield from _gpus()
    free = shutil.disk_usage(tempfile.gettempdir()).free
    text = f"{free / 2**30:.0f} GiB free in {tempfile.gettempdir()}"
    if free < _MIN_FREE_BYTES:
        yield _said("scratch", f"{text}: giant images need more; set TMPDIR", ok=False)
    else:
        yield _said("scratch", text)


def _package(name: str) -> dict[str, Any]:
    try:
        return _said(name, version(name))
    except PackageNotFoundError:
        return _said(name, f"is not installed: pip install {name}", ok=False)


def _bf16() -> str:
    import torch

    from sdflow.worker.precision import has_bf16

    return ", bf16" if has_bf16(torch.device("cpu")) else ""


def _gpus() -> Iterator[dict[str, Any]]:
    import torch

    if not torch.cuda.is_available():
        yield _said("gpu", "none that torch can use: jobs run on the processor")
    for index in range(torch.cuda.device_count()):
        given = torch.cuda.get_device_properties(index)
        yield _said(f"gpu {index}", f"{given.name}, {given.total_memory / 2**30:.0f} GiB")


def _rights(source: StoreLocation | None, target: StoreLocation | None) -> Iterator[dict[str, Any]]:
    found: list[Right] = []
    if source is not None:
        found += source_rights(open_store(source))
    if target is not None:
        found += target_rights(open_store(target))
    for right in found:
        if right.error:
            text = f"{right.error} ({right.action}); 'sdflow doctor --policy SRC DST' says all"
            yield _said(right.name, text, ok=False)
        else:
            yield _said(right.name, right.note or "works")


def _said(what: str, text: str, *, ok: bool = True) -> dict[str, Any]:
    return {"ok": ok, "what": what, "found": text}
