from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock

from sdflow.worker.budget import PixelBudget


def test_never_more_is_held_than_the_limit_and_all_get_their_turn() -> None:
    budget, lock = PixelBudget(10), Lock()
    held, largest = 0, 0

    def use(pixels: int) -> None:
        nonlocal held, largest
        with budget.hold(pixels):
            with lock:
                held += pixels
                largest = max(largest, held)
            with lock:
                held -= pixels

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, [1, 4, 7, 2, 9, 3] * 50))
    assert 0 < largest <= 10
    assert held == 0


def test_one_image_above_the_limit_is_admitted_alone() -> None:
    budget, barrier = PixelBudget(10), Barrier(2)

    def small() -> None:
        barrier.wait()
        with budget.hold(1):
            order.append("small")

    order: list[str] = []
    with ThreadPoolExecutor(1) as threads:
        with budget.hold(1000):
            waiting = threads.submit(small)
            barrier.wait()
            order.append("large")
        waiting.result()
    assert order == ["large", "small"]
