from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sdflow.geometry import Region, Size
from sdflow.tiling.crops import plan_crops

_SIDES = st.integers(1, 40).map(lambda cells: 8 * cells)


@given(height=_SIDES, width=_SIDES, crop=st.integers(4, 12), stride=st.integers(1, 12))
def test_squares_cover_the_image_and_lie_on_its_grid(
    height: int, width: int, crop: int, stride: int
) -> None:
    crop, stride = 8 * crop, 8 * min(stride, crop)
    regions = list(plan_crops(Size(height, width), crop=crop, stride=stride))
    assert bool(regions) == (min(height, width) >= crop)
    assert len(set(regions)) == len(regions)
    whole = Region(0, 0, height, width)
    for region in regions:
        assert whole.contains(region)
        assert (region.y % 8, region.x % 8, region.height, region.width) == (0, 0, crop, crop)
    if regions:
        covered = {
            (y // 8, x // 8)
            for r in regions
            for y in range(r.y, r.bottom, 8)
            for x in range(r.x, r.right, 8)
        }
        assert len(covered) == height * width // 64


def test_without_a_side_the_whole_image_is_the_one_region() -> None:
    assert list(plan_crops(Size(12, 20), crop=None, stride=None)) == [Region(0, 0, 12, 20)]


def test_squares_side_by_side_need_no_stride() -> None:
    assert [r.x for r in plan_crops(Size(64, 200), crop=64, stride=None)] == [0, 64, 128, 136]
