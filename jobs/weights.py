"""``sdflow weights``: what is in a weights file, and other containers for it."""

from __future__ import annotations

import json
from pathlib import Path

from sdflow.errors import WeightsError


def info(path: str) -> str:
    """Describe weights as JSON: sizes, parameters of each network, hash, reach.

    Raises:
        WeightsError: If they are missing, damaged or of another network.
    """
    from sdflow.model.checkpoint import weights_hash
    from sdflow.model.config import PRESETS
    from sdflow.model.sdflow import SDFlow

    model = SDFlow.load(path)
    config = model.config
    counts = {
        name: sum(tensor.numel() for tensor in part.parameters())
        for name, part in model.named_children()
    }
    facts = {
        "preset": next((name for name, preset in PRESETS.items() if preset == config), None),
        "sha256": weights_hash(model),
        "parameters": {**counts, "total": sum(counts.values())},
        "reach_lr_px": {"upscale": config.upscale.reach, "downscale": config.downscale.reach},
        "config": config.to_dict(),
    }
    return json.dumps(facts, indent=2)


def convert(path: str, out: str) -> str:
    """Rewrite weights as one ``.safetensors`` file, or as a folder of four official files.

    Returns:
        What was written, as one line.

    Raises:
        WeightsError: If they cannot be read, or ``out`` exists or cannot be written.
    """
    from sdflow.model.checkpoint import encode_official, encode_safetensors
    from sdflow.model.sdflow import SDFlow

    model = SDFlow.load(path)
    target = Path(out)
    if target.exists():
        raise WeightsError(f"{out} exists already: name a new file or folder", item=out)
    single = out.endswith(".safetensors")
    folder = target.parent if single else target
    files = {target.name: encode_safetensors(model)} if single else encode_official(model)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise WeightsError(f"cannot write {out}: {error.strerror}", item=out) from error
    return f"wrote {', '.join(str(folder / name) for name in files)}"
