"""The turns of a process without a database: two a second, and the urgent ones first."""

from __future__ import annotations

import threading

import pytest

from jobs.errors import RateLimited
from tests.waiting import wait_until
from workers.cloud.gate import LocalGate, NoGate, Priority


def test_the_second_call_waits_for_its_turn() -> None:
    gate = LocalGate(interval=3600)
    gate.enter(Priority.REST, 0)
    with pytest.raises(RateLimited) as refused:
        gate.enter(Priority.TERMINATE, 10)
    assert refused.value.status is None


def test_a_quiet_time_is_not_saved_up() -> None:
    gate = LocalGate(interval=3600)
    gate._next -= 10_000
    gate.enter(Priority.REST, 0)
    with pytest.raises(RateLimited):
        gate.enter(Priority.REST, 0)


def test_the_urgent_overtake_and_who_gives_up_is_forgotten() -> None:
    gate = LocalGate(interval=0.01)
    gate._next += 3600
    passed: list[Priority] = []

    def enter(priority: Priority) -> None:
        gate.enter(priority, 7200)
        passed.append(priority)

    threads = []
    for priority in reversed(Priority):
        threads.append(threading.Thread(target=enter, args=(priority,)))
        threads[-1].start()
        wait_until(lambda: len(gate._waiting) == len(threads), what="a thread that waits")
    with pytest.raises(RateLimited):
        gate.enter(Priority.TERMINATE, 0)
    with gate._changed:
        gate._next -= 3600
        gate._changed.notify_all()
    for thread in threads:
        thread.join()
    assert passed == list(Priority)
    assert not gate._waiting


def test_no_gate_never_waits() -> None:
    gate = NoGate()
    for _ in range(1000):
        gate.enter(Priority.REST, 0)
