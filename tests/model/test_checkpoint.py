from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from sdflow import SDFlow
from sdflow.errors import WeightsError
from sdflow.model.checkpoint import (
    decode_weights,
    encode_official,
    encode_safetensors,
    weights_hash,
)
from sdflow.model.config import PAPER, SMALL
from sdflow.model.official import OFFICIAL_FILES, from_official, to_official
from tests.model.seeded import TINY, official_files, official_shapes, paper_model, seeded_model


@pytest.mark.parametrize("file_name", OFFICIAL_FILES)
def test_names_translate_both_ways(file_name: str) -> None:
    part = OFFICIAL_FILES[file_name]
    official = official_shapes()[file_name.removesuffix(".pth")]
    ours = [from_official(part, name) for name in official]
    assert len(set(ours)) == len(official)
    assert [to_official(part, name) for name in ours] == list(official)


def test_official_files_survive_a_round_trip() -> None:
    files = encode_official(paper_model(7).float())
    assert files.keys() == OFFICIAL_FILES.keys()
    original = official_files(7)
    for name, data in files.items():
        expected = torch.load(io.BytesIO(original[name]), weights_only=True)
        tensors = torch.load(io.BytesIO(data), weights_only=True)
        assert tensors.keys() == expected.keys()
        assert all(torch.equal(tensors[key], expected[key]) for key in expected)


@pytest.mark.parametrize("config", [TINY, SMALL], ids=["tiny", "small"])
def test_one_file_survives_a_round_trip(config: Any, tmp_path: Path) -> None:  # noqa: ANN401
    model = seeded_model(config)
    path = tmp_path / "model.safetensors"
    path.write_bytes(encode_safetensors(model))
    loaded = SDFlow.load(path, dtype=torch.float64)
    assert loaded.config == config
    assert not loaded.training
    lr, noise = torch.zeros(1, 3, 4, 4).double(), torch.ones(1, 45, 4, 4).double()
    expected = model.double().upscale(lr, tau=0.5, noise=noise)
    assert torch.equal(loaded.upscale(lr, tau=0.5, noise=noise), expected)


def test_hash_tells_weights_apart_and_not_their_container() -> None:
    model = paper_model(7).float()
    again = decode_weights({"m.safetensors": encode_safetensors(model)})
    assert weights_hash(again) == weights_hash(model) == weights_hash(paper_model(7).double())
    assert weights_hash(seeded_model(TINY, seed=1)) != weights_hash(seeded_model(TINY, seed=2))


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this must never run",))


def _pickled(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda: _pickled(_Code()), "hrnet.pth holds more than tensors"),
        (lambda: pickle.dumps(_Code(), protocol=2), "hrnet.pth"),
        (lambda: official_files(7)["hrnet.pth"][:5000], "hrnet.pth is damaged"),
        (lambda: b"", "hrnet.pth is damaged"),
        (lambda: b"not a checkpoint", "hrnet.pth"),
        (lambda: _pickled([torch.zeros(1)]), "no plain dictionary"),
        (lambda: _pickled({"epoch": 3}), "no plain dictionary"),
        (lambda: _pickled({"layer.weight": torch.zeros(1)}), "'layer.weight' is no tensor"),
    ],
)
def test_bad_official_file_gets_a_clear_error(
    data: Any,  # noqa: ANN401
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = {**official_files(7), "hrnet.pth": data()}
    with pytest.raises(WeightsError, match=message):
        decode_weights(files)
    assert "never run" not in capsys.readouterr().out


def test_missing_tensor_is_named() -> None:
    tensors = torch.load(io.BytesIO(official_files(7)["lrencoder.pth"]), weights_only=True)
    del tensors["in_conv.1.bias"]
    with pytest.raises(WeightsError, match=r"1 tensors are missing.*: encoder\.conv_in\.bias"):
        decode_weights({**official_files(7), "lrencoder.pth": _pickled(tensors)})


def test_wrongly_shaped_tensor_is_named() -> None:
    model = seeded_model(TINY)
    model.encoder.conv_out2.bias = torch.nn.Parameter(torch.zeros(7))
    with pytest.raises(WeightsError, match=r"encoder.conv_out2.bias \(7,\), not \(3,\)"):
        decode_weights({"m.safetensors": encode_safetensors(model)})


@pytest.mark.parametrize("cut", [0, 4, 200, -1])
def test_truncated_safetensors_get_a_clear_error(cut: int) -> None:
    with pytest.raises(WeightsError, match=r"m\.safetensors is damaged"):
        decode_weights({"m.safetensors": encode_safetensors(seeded_model(TINY))[:cut]})


def test_foreign_safetensors_get_a_clear_error() -> None:
    from safetensors.torch import save

    with pytest.raises(WeightsError, match="no sdflow configuration"):
        decode_weights({"m.safetensors": save({"a": torch.zeros(1)})})


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"hrnet\.pth: No such file.*contentnet\.pth"):
        SDFlow.load(tmp_path)
    with pytest.raises(WeightsError, match=r"m\.safetensors: No such file"):
        SDFlow.load(tmp_path / "m.safetensors")


def test_only_published_sizes_have_an_official_layout() -> None:
    with pytest.raises(WeightsError, match="paper"):
        encode_official(seeded_model(TINY))
    assert PAPER != TINY
