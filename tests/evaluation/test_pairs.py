from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdflow.errors import ImageError, UsageError
from sdflow.evaluation.pairs import (
    Pair,
    cropped_pair,
    enlarge,
    matched_pair,
    middle,
    references_by_source,
    shrink,
    shrunk_pair,
)
from tests.model.seeded import photo

_SIDES = st.integers(1, 40)


def test_interpolation_is_pillows() -> None:
    pixels = photo(24, 32)
    image = Image.fromarray(pixels)
    small = np.asarray(image.resize((8, 6), Image.Resampling.BICUBIC))
    large = np.asarray(image.resize((128, 96), Image.Resampling.LANCZOS))
    assert np.array_equal(shrink(pixels, "bicubic"), small)
    assert np.array_equal(enlarge(pixels, "lanczos"), large)


@given(height=st.integers(4, 40), width=st.integers(4, 40))
def test_a_shrunk_pair_fits_and_loses_less_than_a_cell(height: int, width: int) -> None:
    pixels = photo(height, width)
    pair = shrunk_pair("a", pixels)
    assert pair.truth is not None
    assert pair.truth.shape == enlarge(pair.lr, "bicubic").shape
    assert np.array_equal(pair.truth, pixels[: height // 4 * 4, : width // 4 * 4])


def test_what_is_smaller_than_a_cell_is_refused() -> None:
    with pytest.raises(ImageError, match="less than 4 px"):
        shrunk_pair("a.png", photo(3, 9))


@given(height=_SIDES, width=_SIDES, missing=st.tuples(*[st.integers(-3, 3)] * 2))
def test_a_truth_may_lack_or_have_a_part_of_a_cell(
    height: int, width: int, missing: tuple[int, int]
) -> None:
    truth = photo(4 * height + missing[0], 4 * width + missing[1])
    pair = matched_pair("a.png", photo(height, width), truth, name="b.png")
    assert pair.truth is not None
    assert np.array_equal(pair.truth, truth[: 4 * height, : 4 * width])


def test_a_truth_of_another_size_is_refused_by_both_names() -> None:
    with pytest.raises(ImageError, match=r"a\.png .* reference b\.png must be 32 x 24 px") as found:
        matched_pair("a.png", photo(6, 8), photo(28, 32), name="b.png")
    assert found.value.code == "pair.size"


@given(height=_SIDES, width=_SIDES, cells=st.integers(1, 12))
def test_a_cropped_pair_still_shows_the_same_place(height: int, width: int, cells: int) -> None:
    lr = photo(height, width)
    truth = lr.repeat(4, axis=0).repeat(4, axis=1)
    pair = cropped_pair(Pair("a", lr, truth), 4 * cells)
    assert pair.truth is not None
    assert pair.lr.shape == (min(height, cells), min(width, cells), 3)
    assert np.array_equal(pair.truth, pair.lr.repeat(4, axis=0).repeat(4, axis=1))


@given(height=_SIDES, width=_SIDES, side=_SIDES, multiple_of=st.sampled_from((1, 2, 4)))
def test_the_middle_lies_on_the_grid_as_near_the_middle_as_can_be(
    height: int, width: int, side: int, multiple_of: int
) -> None:
    y, x = np.mgrid[:height, :width]
    window = middle(np.stack([y, x], axis=2).astype(np.uint8), side, multiple_of=multiple_of)
    for axis, length in enumerate((height, width)):
        kept = window.shape[axis]
        assert kept == min(side, length) // multiple_of * multiple_of
        if window.size:
            first = int(window[0, 0, axis])
            assert first % multiple_of == 0
            assert 0 <= (length - kept) - 2 * first < 2 * multiple_of


@pytest.mark.parametrize(
    ("source", "reference"),
    [
        ("a.jpg", "a.png"),
        ("x/a_LR4.png", "x/a_HR.png"),
        ("0001x4.png", "0001.png"),
        ("img_SRF_4_LR.png", "img_SRF_4_HR.png"),
        ("a.lr.png", "a-GT.tif"),
        ("HR.png", "HR.png"),
    ],
)
def test_names_that_differ_in_their_ending_alone_are_a_pair(source: str, reference: str) -> None:
    assert references_by_source([source], [reference]) == {source: reference}


def test_other_folders_and_names_are_no_pair() -> None:
    sources, references = ["x/a.png", "b.png"], ["y/a.png", "bb.png"]
    assert references_by_source(sources, references) == {}


def test_two_candidates_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"a\.jpg and a_HR\.png have the same name"):
        references_by_source(["a.png"], ["a.jpg", "a_HR.png"])
