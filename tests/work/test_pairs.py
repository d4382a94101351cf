from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sdflow.storage.store import key_order
from sdflow.work.pairs import pair_by_key

_KEYS = st.sets(st.sampled_from(["a", "a/b", "a.b", "ab", "é", "\udce9", "b", ""]))


@given(left=_KEYS, right=_KEYS)
def test_every_key_comes_once_in_order_with_what_either_side_has(
    left: set[str], right: set[str]
) -> None:
    pairs = list(
        pair_by_key(
            [(key, 1) for key in sorted(left, key=key_order)],
            [(key, 2) for key in sorted(right, key=key_order)],
        )
    )
    assert pairs == [
        (key, 1 if key in left else None, 2 if key in right else None)
        for key in sorted(left | right, key=key_order)
    ]
