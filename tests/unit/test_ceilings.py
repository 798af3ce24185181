"""The ceilings of a running command as its attendant keeps them: independent of the machine's own clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs import money
from jobs.store.ending import after_stop
from jobs.store.leases import Held
from workers.steps.control import Control

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PATIENCE = after_stop(money.GRACE_SECONDS)


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


@pytest.mark.parametrize("grace", [1, 300])
def test_patience_is_as_long_as_the_grace_of_the_job(grace: int) -> None:
    control, patience = Control(), timedelta(seconds=grace + money.SEAL_SECONDS)
    control.cause, control.stop_ordered_at = "max_runtime", NOW
    control.hear(_held(grace=grace), NOW)
    for seconds in range(0, int(patience.total_seconds()), 5):
        control.hear(_held(grace=grace), NOW + seconds * SECOND)
    control.hear(_held(grace=grace), NOW + patience)
    assert not control.too_late
    control.hear(_held(grace=grace), NOW + patience + SECOND)
    assert control.too_late


@pytest.mark.parametrize(("seconds", "told"), [(-1, True), (0, False), (1, False)])
def test_an_expiry_that_became_earlier_is_told_to_the_machine(seconds: int, told: bool) -> None:
    """It ends itself by that, also where the command is to end at the same time as before."""
    control = Control()
    control.hear(_held(expires_at=NOW + timedelta(hours=2)), NOW)
    assert not control.expires_earlier
    control.hear(_held(expires_at=NOW + timedelta(hours=2) + seconds * SECOND), NOW)
    assert (control.expires_earlier, control.interrupt.is_set(), control.cause) == (told, told, None)


def test_an_expiry_that_became_earlier_since_it_was_told_is_told_again_and_once() -> None:
    """Between the arming and the first word of the database the order of a start may have shortened it."""
    control = Control()
    control.armed_for = NOW + timedelta(hours=2) - timedelta(seconds=money.GUARD_SECONDS)
    control.hear(_held(expires_at=NOW + timedelta(hours=2) - SECOND), NOW)
    assert control.expires_earlier
    control.expires_earlier = False
    control.hear(_held(expires_at=NOW + timedelta(hours=2) - SECOND), NOW)
    assert not control.expires_earlier
