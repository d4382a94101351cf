"""Weights files in and out: the four official ``.pth``, or one ``.safetensors`` of ours."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sdflow.errors import WeightsError
from sdflow.model.calibration import Calibration
from sdflow.model.config import PAPER, ModelConfig
from sdflow.model.official import OFFICIAL_FILES, from_official, to_official
from sdflow.model.sdflow import SDFlow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

DEFAULT = "default"
"""The path that stands for the weights that come with the package."""

DEFAULT_DOWNSCALE = "default-downscale"
"""The path that stands for those of them that downscale best."""

_FORMAT = "sdflow-1"
_BUNDLED = {DEFAULT: "small.safetensors", DEFAULT_DOWNSCALE: "small-downscale.safetensors"}


def weight_files(path: str) -> tuple[str, ...]:
    """Names of the files that make up the weights at ``path``: one file, or four in a folder."""
    return (Path(path).name,) if path.endswith(".safetensors") else tuple(OFFICIAL_FILES)


def read_weights(path: str | Path) -> dict[str, bytes]:
    """Read weights from disk as :func:`decode_weights` takes them.

    Args:
        path: A file, a folder, or ``default`` for the weights that come with the package;
            ``default-downscale`` for those of them that a downscaling job takes.

    Raises:
        WeightsError: If a file is missing or unreadable.
    """
    if name := _BUNDLED.get(str(path)):
        return {name: resources.files("sdflow").joinpath("weights", name).read_bytes()}
    folder = Path(path).parent if str(path).endswith(".safetensors") else Path(path)
    files = {}
    for name in weight_files(str(path)):
        try:
            files[name] = (folder / name).read_bytes()
        except OSError as error:
            raise WeightsError(
                f"cannot read {folder / name}: {error.strerror}; weights are one .safetensors "
                f"file or a folder with {', '.join(OFFICIAL_FILES)}",
                item=str(path),
            ) from error
    return files


def decode_weights(files: Mapping[str, bytes], *, calibrated: bool = True) -> SDFlow:
    """Build the model from the content of its files.

    Args:
        files: Content by file name, either one ``.safetensors`` or the four official ones.
        calibrated: Take and check the calibration in the file; else the model has none.

    Returns:
        The model in evaluation mode, gradients off, on the CPU.

    Raises:
        WeightsError: If the content is damaged, holds code, or is of another network.
    """
    calibration: object = None
    if len(files) == 1:
        ((name, data),) = files.items()
        config, state, calibration = _decode_safetensors(name, data)
    else:
        config, state = PAPER, _decode_official(files)
    with torch.device("meta"):
        model = SDFlow(config)
    _check_state(state, model.state_dict(), ", ".join(files))
    model.load_state_dict(state, assign=True)
    if calibrated and calibration is not None:
        model.calibration = _checked(calibration, model)
    return model.eval().requires_grad_(requires_grad=False)


def encode_safetensors(model: SDFlow) -> bytes:
    """One file with the configuration in its metadata.

    Tensors are in float32, or in float16 where that loses nothing (:func:`rounded_to_half`).
    """
    from safetensors.torch import save  # only needed to write files

    metadata = {"format": _FORMAT, "config": json.dumps(model.config.to_dict())}
    if model.calibration is not None:
        record = {"weights": weights_hash(model), "directions": model.calibration.to_dict()}
        metadata["calibration"] = json.dumps(record)
    state = _portable_state(model)
    halves = {name: _halved(tensor) for name, tensor in state.items()}
    lossless = all(torch.equal(halves[name].to(one.dtype), one) for name, one in state.items())
    return save(halves if lossless else state, metadata)


def rounded_to_half(model: SDFlow) -> SDFlow:
    """A copy of float32 on the CPU whose every number float16 can hold, for small files.

    Raises:
        WeightsError: If a number is beyond float16, or is none.
    """
    state = {}
    for name, tensor in _portable_state(model).items():
        state[name] = _halved(tensor).to(tensor.dtype)
        if not bool(torch.isfinite(state[name]).all()):
            raise WeightsError(f"{name} has numbers that float16 cannot hold", item=name)
    with torch.device("meta"):
        rounded = SDFlow(model.config)
    rounded.load_state_dict(state, assign=True)
    return rounded.eval().requires_grad_(requires_grad=False)


def encode_official(model: SDFlow) -> dict[str, bytes]:
    """The four official files by name.

    Raises:
        WeightsError: If the model does not have the published sizes.
    """
    if model.config != PAPER:
        raise WeightsError("the official layout holds only the published (paper) sizes")
    state = _portable_state(model)
    files = {}
    for file_name, part in OFFICIAL_FILES.items():
        tensors = {
            to_official(part, name.removeprefix(f"{part}.")): tensor
            for name, tensor in state.items()
            if name.startswith(f"{part}.")
        }
        buffer = io.BytesIO()
        torch.save(tensors, buffer)
        files[file_name] = buffer.getvalue()
    return files


def weights_hash(model: SDFlow) -> str:
    """SHA-256 over sizes and float32 tensors, in hex: the same for every container and device."""
    digest = hashlib.sha256(json.dumps(model.config.to_dict(), sort_keys=True).encode())
    for name, tensor in sorted(_portable_state(model).items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _checked(record: object, model: SDFlow) -> Calibration:
    """A calibration, if it is of these very weights and can be true."""
    if not isinstance(record, dict) or record.get("weights") != weights_hash(model):
        raise WeightsError(
            "the file's calibration is of other weights: calibrate it again with "
            "sdflow weights calibrate IN OUT"
        )
    calibration = Calibration.from_dict(record.get("directions"))
    calibration.check(model.config)
    return calibration


def _portable_state(model: SDFlow) -> dict[str, Tensor]:
    return {
        name: (tensor.float() if tensor.is_floating_point() else tensor).cpu().contiguous()
        for name, tensor in model.state_dict().items()
    }


def _halved(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


def _decode_official(files: Mapping[str, bytes]) -> dict[str, Tensor]:
    state = {}
    for file_name, part in OFFICIAL_FILES.items():
        if file_name not in files:
            raise WeightsError(f"{file_name} is missing from the weights", item=file_name)
        for name, tensor in _unpickle(file_name, files[file_name]).items():
            state[f"{part}.{from_official(part, name)}"] = tensor
    return state


def _unpickle(name: str, data: bytes) -> dict[str, Tensor]:
    try:
        tensors = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{name} holds more than tensors, or is damaged; code in weights is never run: "
            "fetch the file again from its source",
            item=name,
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, AttributeError) as error:
        raise WeightsError(
            f"{name} is damaged or no PyTorch checkpoint: fetch the file again", item=name
        ) from error
    if not isinstance(tensors, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in tensors.items()
    ):
        raise WeightsError(f"{name} holds no plain dictionary of tensors", item=name)
    return tensors


def _decode_safetensors(name: str, data: bytes) -> tuple[ModelConfig, dict[str, Tensor], object]:
    from safetensors import SafetensorError  # only needed to read such files
    from safetensors.torch import load

    try:
        state = {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in load(data).items()
        }
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        sizes = json.loads(metadata["config"])
        calibration = json.loads(metadata.get("calibration", "null"))
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"{name} is damaged or no safetensors file", item=name) from error
    except KeyError as error:
        raise WeightsError(
            f"{name} has no sdflow configuration in its metadata", item=name
        ) from error
    if metadata.get("format") != _FORMAT or not isinstance(sizes, dict):
        raise WeightsError(f"{name} is not in the {_FORMAT} layout", item=name)
    return ModelConfig.from_dict(sizes), state, calibration


def _check_state(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str) -> None:
    wrong = sorted(state.keys() ^ expected.keys()) or [
        f"{name} {tuple(state[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if state[name].shape != tensor.shape
    ]
    if wrong:
        shown = "; ".join(wrong[:3]) + (" …" if len(wrong) > 3 else "")
        raise WeightsError(
            f"{source}: {len(wrong)} tensors are missing, unknown or of another shape: {shown}",
            item=source,
        )
