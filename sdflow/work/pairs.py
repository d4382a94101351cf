"""Laying two sorted streams side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sdflow.storage.store import key_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_Left = TypeVar("_Left")
_Right = TypeVar("_Right")


def pair_by_key(
    left: Iterable[tuple[str, _Left]], right: Iterable[tuple[str, _Right]]
) -> Iterator[tuple[str, _Left | None, _Right | None]]:
    """Yield every key once, with what either side has for it; None where a side lacks it.

    Args:
        left: Keys in the order of UTF-8 bytes, each once.
        right: Likewise.
    """
    lefts, rights = iter(left), iter(right)
    a, b = next(lefts, None), next(rights, None)
    while a is not None and b is not None:
        order_a, order_b = key_order(a[0]), key_order(b[0])
        if order_a < order_b:
            yield a[0], a[1], None
            a = next(lefts, None)
        elif order_b < order_a:
            yield b[0], None, b[1]
            b = next(rights, None)
        else:
            yield a[0], a[1], b[1]
            a, b = next(lefts, None), next(rights, None)
    while a is not None:
        yield a[0], a[1], None
        a = next(lefts, None)
    while b is not None:
        yield b[0], None, b[1]
        b = next(rights, None)
