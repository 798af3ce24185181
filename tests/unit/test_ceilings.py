"""The ceilings of a running command as its attendant keeps them: independent of the machine's own clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs import money
from jobs.store.attempts import Work
from jobs.store.leases import Held
from workers.steps.boot import _deadline
from workers.steps.control import PATIENCE, Control

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def _held(**values: Any) -> Held:
    standard = Held("a" * 26, 1, "running", False, NOW + timedelta(hours=1), "max_cost")
    return replace(standard, **values)


def test_nothing_happens_before_its_time() -> None:
    control = Control()
    control.hear(_held(), NOW + timedelta(hours=1) - SECOND)
    assert (control.cause, control.interrupt.is_set()) == (None, False)


@pytest.mark.parametrize("cause", ["max_cost", "max_runtime"])
def test_the_deadline_stops_the_command_with_its_cause(cause: str) -> None:
    control = Control()
    control.hear(_held(deadline_cause=cause), NOW + timedelta(hours=1))
    assert (control.cause, control.interrupt.is_set()) == (cause, True)


def test_a_cancel_stops_it_and_the_first_cause_stays() -> None:
    control = Control()
    control.hear(_held(cancel_requested=True), NOW)
    control.hear(_held(cancel_requested=True), NOW + timedelta(hours=2))
    assert control.cause == "cancelled_by_user"


def test_patience_ends_after_grace_and_the_time_to_read_the_end() -> None:
    control = Control()
    control.cause, control.stop_ordered_at = "max_runtime", NOW
    for seconds in range(int(PATIENCE.total_seconds()) + 1):
        control.hear(_held(), NOW + seconds * SECOND)
    assert not control.too_late
    control.hear(_held(), NOW + PATIENCE + SECOND)
    assert control.too_late
    assert control.interrupt.is_set()


def test_patience_begins_anew_where_nobody_looked_for_long() -> None:
    """The computer slept, or another worker held it: the command may have ended in time, unseen."""
    control = Control()
    control.hear(_held(), NOW)
    control.cause, control.stop_ordered_at = "max_runtime", NOW
    woken = NOW + timedelta(hours=8)
    for seconds in range(int(PATIENCE.total_seconds()) + 1):
        control.hear(_held(), woken + seconds * SECOND)
    assert not control.too_late
    control.hear(_held(), woken + PATIENCE + SECOND)
    assert control.too_late


def test_one_whose_outputs_are_on_their_way_is_not() -> None:
    control = Control()
    control.hear(_held(state="finishing", outputs_until=NOW + timedelta(minutes=1)), NOW)
    assert not control.stale


@pytest.mark.parametrize("held", [None, _held(state="finishing"), _held(state="ended")])
def test_an_attempt_that_moved_on_is_let_go(held: Held | None) -> None:
    control = Control()
    control.hear(held, NOW)
    assert control.stale
    assert control.interrupt.is_set()


def _work(**values: Any) -> Work:
    """Only what the deadline is made of."""
    names = dict.fromkeys(Work.__dataclass_fields__)
    standard = {
        "requested_at": NOW,
        "expires_at": NOW + timedelta(hours=10),
        "max_cost": 1_000_000,
        "max_runtime": 3600,
        "price": 860_000,
        "spent": 0,
        "outputs_seconds": 0,
    }
    return Work(**cast("dict[str, Any]", {**names, **standard, **values}))


def _decide(work: Work, now: datetime) -> tuple[datetime, str]:
    return _deadline(cast("Any", SimpleNamespace(db=SimpleNamespace(clock=lambda: now))), work)


def test_the_shorter_ceiling_decides() -> None:
    assert _decide(_work(), NOW + 60 * SECOND) == (NOW + 3660 * SECOND, "max_runtime")
    minutes = money.affordable_minutes(1_000_000, 860_000)
    by_money = NOW + timedelta(seconds=minutes * 60 - 1 - money.ENDING_SECONDS)
    assert _decide(_work(max_runtime=86_400), NOW + 60 * SECOND) == (by_money, "max_cost")


def test_a_machine_dearer_than_the_inventory_said_stops_earlier() -> None:
    cheap, _ = _decide(_work(max_runtime=86_400), NOW)
    dear, cause = _decide(_work(max_runtime=86_400, price=1_720_000), NOW)
    assert dear < cheap
    assert cause == "max_cost"
    spent, _ = _decide(_work(max_runtime=86_400, spent=500_000), NOW)
    assert spent < cheap, "what earlier attempts have cost is taken off"


def test_the_name_is_never_outlived() -> None:
    expires_at = NOW + timedelta(minutes=10)
    deadline, _ = _decide(_work(max_runtime=86_400, price=1, expires_at=expires_at), NOW)
    assert deadline == expires_at - timedelta(seconds=money.ENDING_SECONDS)
