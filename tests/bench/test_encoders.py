"""The table of encoders: every library that is there, on photos or on a drawn image."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from jobs import bench
from sdflow.bench.content import mosaic
from sdflow.bench.encoders import FORMATS, EncoderRow, encoder_table, missing_libraries
from sdflow.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos that are large enough and one that is not."""
    (tmp_path / "below").mkdir()
    for name, side, level in (("a.png", 300, 10), ("below/b.jpg", 256, 200), ("c.png", 255, 90)):
        Image.new("RGB", (side, side + 9), (level,) * 3).save(tmp_path / name, quality=95)
    (tmp_path / "notes.txt").write_text("no photo")
    return tmp_path


def test_photos_are_put_side_by_side(photos: Path) -> None:
    image = mosaic(photos, 512)
    assert image.shape == (512, 512, 3)
    expected = np.repeat(np.repeat(np.array([[10, 200], [10, 200]]), 256, axis=0), 256, axis=1)
    assert np.abs(image - expected[..., None]).max() <= 1


def test_a_folder_without_photos_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--images .*no photo"):
        mosaic(tmp_path, 512)


def test_every_library_is_measured(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--encoders", "jpeg,tiff", "--images", str(photos), "--runs", "1", "--json", "-"]
    assert bench.main(flags) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    libraries = {"Pillow", "libvips", "imagecodecs", "tifffile"}
    assert missing_libraries() == []
    assert {row["library"] for row in rows} == libraries
    assert {row["format"] for row in rows} == {"jpeg", "tiff"}
    for row in rows:
        assert row["mp_per_s"] > 0
        assert 0 < row["bytes_per_px"] < 3


def test_the_table_has_a_line_each_by_format_from_the_fastest_on() -> None:
    rows = [
        EncoderRow("png", "A", "level 1", 10.04, 2.0),
        EncoderRow("jpeg", "B", "quality 95", 70.0, 0.5),
        EncoderRow("png", "C", "level 2", 20.0, 1.234),
    ]
    assert encoder_table(rows).splitlines()[2:] == [
        "| jpeg | B | quality 95 | 70.0 | 0.50 |",
        "| png | C | level 2 | 20.0 | 1.23 |",
        "| png | A | level 1 | 10.0 | 2.00 |",
    ]
    assert FORMATS[0] == "jpeg"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--encoders", "gif"], "--encoders 'gif' is not one of jpeg"),
        (["--encoders", "--runs", "0"], "--runs must be at least 1"),
        (["--encoders", "--images", "/no/such/folder"], "--images /no/such/folder"),
    ],
)
def test_wrong_flags_are_named(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main(flags) == 2
    assert message in capsys.readouterr().err
