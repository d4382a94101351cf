from __future__ import annotations

from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.errors import StorageError
from sdflow.storage.store import ObjectInfo
from sdflow.work.names import result_key
from sdflow.work.plan import is_wanted, plan_blocks, plan_names, plan_shards
from sdflow.work.shard import WorkItem


def _listing(*keys: str) -> list[ObjectInfo]:
    return [ObjectInfo(key, 1, "v") for key in sorted(keys, key=str.encode)]


def _png_names(*keys: str) -> dict[str, str]:
    def natural(key: str) -> str:
        return result_key(WorkItem(key, "", 0), wanted="png", sample=None)

    planned = plan_names(_listing(*keys), natural_name=natural)
    return {
        info.key: result_key(WorkItem(info.key, "", 0, full), wanted="png", sample=None)
        for info, full in planned
    }


def test_source_whose_own_name_it_is_keeps_it_and_the_other_its_full_name() -> None:
    assert _png_names("x/a.jpg", "x/a.png", "x/b.jpg") == {
        "x/a.jpg": "x/a.jpg.png",
        "x/a.png": "x/a.png",
        "x/b.jpg": "x/b.png",
    }


def test_two_strangers_both_keep_their_full_names() -> None:
    assert _png_names("a.jpg", "a.webp") == {"a.jpg": "a.jpg.png", "a.webp": "a.webp.png"}


def test_longer_stems_between_do_not_hide_a_clash() -> None:
    names = _png_names("a.jpg", "a.kin.jpg", "a.kin.webp", "a.kink.jpg", "a.webp", "a/a.jpg")
    assert names["a.jpg"] == "a.jpg.png"
    assert names["a.webp"] == "a.webp.png"
    assert names["a.kin.webp"] == "a.kin.webp.png"
    assert names["a.kink.jpg"] == "a.kink.png"
    assert names["a/a.jpg"] == "a/a.png"


words = st.sampled_from(["a", "b", "a.b", "a-b", "a.jpg"])
extensions = st.sampled_from([".jpg", ".png", ".webp", ".tif", ".JPG"])


@given(
    st.sets(st.builds(lambda w, e, f: f + w + e, words, extensions, st.sampled_from(["", "a/"])))
)
def test_every_source_is_planned_once_and_no_two_share_a_plain_name(keys: set[str]) -> None:
    names = _png_names(*keys)
    assert names.keys() == keys
    plain = [name for key, name in names.items() if not name.startswith(f"{key}.")]
    assert len(plain) == len(set(plain))


def test_unsorted_listing_is_refused() -> None:
    listing = [ObjectInfo("b", 1, "v"), ObjectInfo("a", 1, "v")]
    with pytest.raises(StorageError, match="'a' out of order"):
        list(plan_names(listing, natural_name=str))


@pytest.mark.parametrize(
    ("key", "include", "exclude", "wanted"),
    [
        ("a/b.JPG", (), (), True),
        ("a/b.txt", (), (), False),
        ("Thumbs.db", (), (), False),
        ("a/b.bin", ("*.bin",), (), True),
        ("a/b.jpg", ("*.bin",), (), False),
        ("a/deep/b.jpg", ("a/*",), (), True),
        ("a/b.jpg", ("a/*",), ("*/b.*",), False),
        ("a/b.jpg", (), ("b.jpg",), True),
        ("[1].jpg", ("[[]1].jpg",), (), True),
    ],
)
def test_globs_match_the_whole_key_and_exclude_wins(
    key: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    wanted: bool,
) -> None:
    assert is_wanted(key, include=include, exclude=exclude) is wanted


@given(st.lists(st.integers(0, 100), max_size=200), st.integers(1, 5))
def test_shards_hold_every_image_in_order_within_their_bounds(
    sizes: list[int], num_workers: int
) -> None:
    items = [WorkItem(str(index), "v", 1, pixels=size) for index, size in enumerate(sizes)]
    shards = list(plan_shards(items, num_workers=num_workers, max_images=8, target_px=lambda: 150))
    assert [item for shard in shards for item in shard.items] == items
    for shard in shards:
        assert 1 <= len(shard.items) <= 8
        assert len(shard.items) == 1 or shard.pixels <= 150
    assert all(len(shard.items) == 1 for shard in shards[: 2 * num_workers])


def test_shards_grow_with_the_job() -> None:
    items = [WorkItem(str(index), "v", 1) for index in range(1000)]
    shards = list(plan_shards(items, num_workers=2, max_images=32, target_px=lambda: 10**9))
    lengths = [len(shard.items) for shard in shards]
    assert all(before <= after for before, after in pairwise(lengths[:-1]))
    assert lengths[0] == 1
    assert max(lengths) == 32


def test_shards_follow_the_pace_that_is_measured_meanwhile() -> None:
    items = [WorkItem(str(index), "v", 1, pixels=10) for index in range(100)]
    targets = iter([10, 10, 20, 40, *[10] * 100])
    shards = plan_shards(items, num_workers=1, max_images=100, target_px=lambda: next(targets))
    assert [len(shard.items) for shard in shards][:6] == [1, 1, 2, 3, 1, 1]


def test_shards_are_planned_while_the_listing_runs() -> None:
    drawn = []

    def items() -> object:
        for index in range(100):
            drawn.append(index)
            yield WorkItem(str(index), "v", 1)

    shards = plan_shards(
        items(),  # type: ignore[arg-type]
        num_workers=1,
        max_images=4,
        target_px=lambda: 100,
    )
    next(shards)
    assert len(drawn) == 2


def _flagged(keys: list[str]) -> list[tuple[ObjectInfo, bool]]:
    ordered = sorted(set(keys), key=lambda key: key.encode("utf-8", "surrogateescape"))
    return [(ObjectInfo(key, 1000, "v"), False) for key in ordered]


@given(st.lists(st.text(min_size=1), max_size=50))
def test_blocks_go_through_the_listing_once_and_in_order(keys: list[str]) -> None:
    listing = _flagged(keys)
    blocks = list(plan_blocks(listing))
    assert [(info, flag) for info, flag, _ in blocks] == listing
    runs = [name for name, _ in groupby(name for _, _, name in blocks)]
    assert len(runs) == len(set(runs))


def test_new_object_changes_only_the_block_it_is_in() -> None:
    keys = [f"{number:06d}.jpg" for number in range(5000)]
    before = {info.key: name for info, _, name in plan_blocks(_flagged(keys))}
    after = {info.key: name for info, _, name in plan_blocks(_flagged([*keys, "002500a.jpg"]))}
    assert len(set(before.values())) > 20
    assert sum(after[key] != name for key, name in before.items()) < 1500
    assert len({after[key] for key in keys} ^ set(before.values())) <= 2


def test_large_sources_make_small_blocks() -> None:
    listing = [(ObjectInfo(f"{number:04d}", 20_000_000, "v"), False) for number in range(100)]
    sizes = [len(list(group)) for _, group in groupby(name for _, _, name in plan_blocks(listing))]
    assert max(sizes) == 4
