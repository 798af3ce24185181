"""Seats: no more are taken than there are, but for commands that run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs.store import leases
from jobs.store.leases import Held
from tests.conformance.store_kit import World
from tests.waiting import wait_until
from workers import attendants as module
from workers.attendants import Attendants


@pytest.fixture
def enough() -> threading.Event:
    """Set: the attendants end."""
    return threading.Event()


@pytest.fixture
def attendants(
    world: World, enough: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Attendants]:
    """With two seats; those who attend just wait."""
    monkeypatch.setattr(module, "attend", lambda *_: enough.wait(30))
    bells = SimpleNamespace(terminate=lambda: None, observe=lambda: None, drain=lambda _why: None)
    ctx = SimpleNamespace(db=world.db, owner="us", bells=bells, stopping=threading.Event())
    attendants = Attendants(cast("Any", ctx), seats=2)
    attendants.start()
    yield attendants
    enough.set()
    attendants.stop()


def _orphan(world: World) -> str:
    """A job that runs, and nobody attends to."""
    _, attempt_id, _ = world.run()
    leases.release_attempts(world.db, world.owner)
    return attempt_id


def _ours(world: World, *attempt_ids: str) -> int:
    return sum(world.attempt(id_).lease_owner == "us" for id_ in attempt_ids)


def test_what_wakes_it_delays_no_heartbeat(attendants: Attendants, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes over before heartbeats have come through without a gap: not even who has nothing to do."""
    beats: list[float] = []

    def beat(*_: object) -> list[Held]:
        beats.append(time.monotonic())
        return []

    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 1.0)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(leases, "heartbeat", beat)
    attendants.woken.set()
    wait_until(lambda: beats, timeout=30, what="a heartbeat")
    time.sleep(0.8)
    attendants.woken.set()
    wait_until(lambda: len(beats) > 1, timeout=30, what="another one")
    assert beats[1] - beats[0] < 1.7


def test_seats_are_for_machines_that_boot(world: World, attendants: Attendants) -> None:
    booting = [world.boot()[1] for _ in range(3)]
    assert attendants.offer(booting) == 2
    assert attendants.offer(booting) == 0
    assert (_ours(world, *booting), attendants.count) == (2, 2)


def test_a_command_that_runs_has_its_seat(world: World, attendants: Attendants) -> None:
    running = [_orphan(world) for _ in range(3)]
    assert attendants.offer(running) == 3
    booting = world.boot()[1]
    assert attendants.offer([booting]) == 0
    late = _orphan(world)
    assert attendants.offer([booting, late]) == 1
    assert _ours(world, booting, late, *running) == 4


def test_what_no_thread_could_be_started_for_is_given_back(
    world: World, attendants: Attendants, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = [_orphan(world) for _ in range(4)]
    start, started = threading.Thread.start, []

    def scarce(thread: threading.Thread) -> None:
        if thread.name.startswith("attend-"):
            if len(started) == 2:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    with pytest.raises(RuntimeError, match="new thread"):
        attendants.offer(running)
    assert (_ours(world, *running), attendants.count) == (2, 2)
    assert sum(world.attempt(id_).lease_owner is None for id_ in running) == 2
