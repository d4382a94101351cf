from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Lock, Thread

from sdflow.worker.budget import PixelBudget


def test_never_more_is_held_than_the_limit_and_all_get_their_turn() -> None:
    budget, lock = PixelBudget(10), Lock()
    held, largest = 0, 0

    def use(pixels: int) -> None:
        nonlocal held, largest
        budget.acquire(pixels)
        with lock:
            held += pixels
            largest = max(largest, held)
        with lock:
            held -= pixels
        budget.release(pixels)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, [1, 4, 7, 2, 9, 3] * 50))
    assert 0 < largest <= 10
    assert held == 0


def test_one_image_above_the_limit_is_admitted_alone() -> None:
    budget, barrier = PixelBudget(10), Barrier(2)

    def small() -> None:
        barrier.wait()
        budget.acquire(1)
        order.append("small")

    order: list[str] = []
    with ThreadPoolExecutor(1) as threads:
        budget.acquire(1000)
        waiting = threads.submit(small)
        barrier.wait()
        order.append("large")
        budget.release(1000)
        waiting.result()
    assert order == ["large", "small"]


def test_large_request_is_not_passed_by_small_ones_that_come_later() -> None:
    budget, admitted = PixelBudget(10), Event()

    def large() -> None:
        budget.acquire(9)
        admitted.set()

    budget.acquire(5)
    first = Thread(target=large)
    first.start()
    while not budget.num_waiting:
        continue
    later = Thread(target=budget.acquire, args=(4,))  # would fit, and comes after
    later.start()
    while budget.num_waiting < 2:
        continue
    budget.release(5)
    first.join()
    assert admitted.is_set()
    budget.release(9)
    later.join()
