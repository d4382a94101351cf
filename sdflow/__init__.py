"""SDFlow x4 super-resolution and realistic downscaling, as a library and as a batch job.

Importing this package loads neither Ray nor an S3 client; torch is loaded when one of the public
names is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdflow.model.config import ModelConfig
    from sdflow.model.sdflow import SDFlow
    from sdflow.worker.engine import TiledEngine

__version__ = "0.1.0"
__all__ = ["ModelConfig", "SDFlow", "TiledEngine", "__version__"]

_HOMES = {
    "ModelConfig": "sdflow.model.config",
    "SDFlow": "sdflow.model.sdflow",
    "TiledEngine": "sdflow.worker.engine",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sdflow' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
