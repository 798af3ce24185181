"""What many jobs ask of the API at once is asked once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from jobs.errors import ApiError, NoAnswer
from tests.conformance.store_kit import World
from tests.waiting import wait_until
from workers.cloud.shapes import Image, Product
from workers.steps import inventory

JOBS = 6


class SlowCloud:
    """Answers when the test wants it, or fails."""

    def __init__(self) -> None:
        self.asked = 0
        self.answering = threading.Event()
        self.failure: ApiError | None = None

    def list_products(self, *, deadline_s: float) -> tuple[Product, ...]:
        self._answer()
        return (Product("gpu_1x_l40", "1x L40 (48GB)", 860_000, 4, (), None, None, None),)

    def list_images(self, *, deadline_s: float) -> tuple[Image, ...]:
        self._answer()
        return (Image(84, "Ubuntu", ""),)

    def _answer(self) -> None:
        self.asked += 1
        assert self.answering.wait(30)
        if self.failure is not None:
            raise self.failure


class CountingLock:
    """A lock that tells how many threads have begun to wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.waiters = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if blocking:
            self.waiters += 1
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        self._lock.release()


def _all_ask(world: World, cloud: SlowCloud, lock: CountingLock, what: str) -> list[Any]:
    """What each of several threads is told; the answer comes when all but one wait."""

    def ask() -> object:
        try:
            if what == "images":
                return inventory.image_id(world.db, cast("Any", cloud), "Ubuntu")
            return set(inventory.offers(world.db, cast("Any", cloud)))
        except ApiError as error:
            return error

    with ThreadPoolExecutor(JOBS) as threads:
        asking = [threads.submit(ask) for _ in range(JOBS)]
        wait_until(lambda: lock.waiters == JOBS - 1, what="all that wait")
        cloud.answering.set()
        return [one.result() for one in asking]


@pytest.mark.parametrize(("what", "told"), [("offers", {"gpu_1x_l40"}), ("images", 84)])
def test_one_asks_for_all(world: World, monkeypatch: pytest.MonkeyPatch, what: str, told: object) -> None:
    lock, cloud = CountingLock(), SlowCloud()
    monkeypatch.setattr(inventory, f"_asking_for_{what}", lock)
    assert _all_ask(world, cloud, lock, what) == [told] * JOBS
    assert cloud.asked == 1


def test_where_one_asks_in_vain_the_others_do_not_ask_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, cloud = CountingLock(), SlowCloud()
    monkeypatch.setattr(inventory, "_asking_for_offers", lock)
    cloud.failure = NoAnswer("it hangs")
    told = _all_ask(world, cloud, lock, "offers")
    assert all(isinstance(error, NoAnswer) for error in told)
    assert cloud.asked == 1
    cloud.failure = None
    assert set(inventory.offers(world.db, cast("Any", cloud))) == {"gpu_1x_l40"}  # the next one asks again
