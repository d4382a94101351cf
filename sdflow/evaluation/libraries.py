"""The libraries that only measuring needs, loaded when a measure is taken."""

from __future__ import annotations

import importlib
from typing import Any

from sdflow.errors import UsageError


def library(name: str) -> Any:  # noqa: ANN401  # a module; scipy's have no types
    """Import ``scipy...`` or ``skimage...``.

    Raises:
        UsageError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = {"skimage": "scikit-image"}.get(root := name.partition(".")[0], root)
        raise UsageError(
            f"measuring needs {package}: pip install 'sdflow[train]'", item=package
        ) from error
