"""Who leads, and what is held against machines when that changes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs.store import ending, leases
from tests.conformance.store_kit import World
from workers.observer import Observer
from workers.steps.context import Context


class _Rounds:
    """Stands for the event that ends the loop: has something done before each of so many rounds."""

    def __init__(self, count: int, before: Callable[[], None]) -> None:
        self._left, self._before = count, before

    def is_set(self) -> bool:
        self._left -= 1
        if self._left >= 0:
            self._before()
        return self._left < 0

    def wait(self, _: float) -> bool:
        return False


def test_a_worker_that_looked_on_while_another_one_led_was_awake(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What passed while it waited for the lead is held against a machine: somebody was there all the time."""
    led: list[Any] = []
    began = world.clock.now

    def enforce(_db: Any, _lead: Any, awake_since: Any) -> int:
        led.append(awake_since)
        raise KeyboardInterrupt

    def before() -> None:
        observer._woken.set()
        observer._renew_at = 0.0
        world.clock.advance(5)
        if (world.clock.now - began).total_seconds() < 100:
            assert leases.lead(world.db, "another") is not None

    monkeypatch.setattr(ending, "enforce", enforce)
    made = SimpleNamespace(
        db=world.db,
        owner=world.owner,
        stopping=_Rounds(60, before),
        settings=SimpleNamespace(max_instances=9, max_burn=None),
    )
    observer = Observer(cast(Context, made), lambda _: 0)
    leases.release_lead(world.db, world.owner)
    with pytest.raises(KeyboardInterrupt):
        observer._look_again_and_again()
    assert (world.clock.now - began).total_seconds() > 100
    assert [(moment - began).total_seconds() for moment in led] == [5]
