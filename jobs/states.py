"""The table of states: every move that a job may make, who may make it, and nothing else.

The table is executable. :func:`jobs.store.transitions.move` asks it for each transition and refuses
what it does not hold; the diagram in ``docs/lifecycle.md`` is generated from it. An attempt has the
states of its job from ``deploying`` to ``finishing``, and ``ended`` after that.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The public states of a job."""

    QUEUED = "queued"
    DEPLOYING = "deploying"
    BOOTING = "booting"
    RUNNING = "running"
    FINISHING = "finishing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        return self in FINAL


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})
"""States that last. A machine that turns up all the same is ended, and is on the job's receipt."""
LIVE = frozenset({State.DEPLOYING, State.BOOTING, State.RUNNING, State.FINISHING})
"""States in which the job has an attempt that has not ended."""
ENDED = "ended"
"""The state of an attempt that is over."""
UNREACHABLE_MINUTES = 15
"""A command whose machine nobody reaches for so long is lost."""


class Who(StrEnum):
    """Who may move a job."""

    PERSON = "person"
    ADMISSION = "admission"
    HOLDER = "holder"
    OBSERVER = "observer"


class Event(StrEnum):
    """What happened to a job."""

    SUBMITTED = "submitted"
    WAITS = "waits"
    CANCELLED = "cancelled"
    CANNOT_START = "cannot start"
    CEILING_TOO_SMALL = "ceiling too small"
    ADMITTED = "admitted"
    DEPLOYED = "deployed"
    NO_CAPACITY = "no capacity"
    THROTTLED = "throttled"
    CORRECTED = "request corrected"
    IMAGE_REFUSED = "image refused"
    REFUSED = "deploy refused"
    ABSENT = "deploy had no effect"
    STARTED = "started"
    BOOT_FAILED = "boot failed"
    DISTRUSTED = "host key distrusted"
    GONE = "machine gone"
    STOPPED = "stopped before its start"
    EXITED = "exited"
    OVERDUE = "overdue"
    RETRIED = "tried again"
    SUCCEEDED = "ended with success"
    FAILED = "ended with failure"
    CANCELLED_AT_LAST = "ended by cancel"
    EXPIRED = "ended by a ceiling"


@dataclass(frozen=True)
class Row:
    """One line of the table. ``state`` is None for a job that does not exist yet."""

    state: State | None
    event: Event
    next: State
    who: frozenset[Who]


def _row(state: State | None, event: Event, next_: State, *who: Who) -> Row:
    return Row(state, event, next_, frozenset(who))


C, W, H, O = Who.PERSON, Who.ADMISSION, Who.HOLDER, Who.OBSERVER  # noqa: E741 - the table's own letters

TABLE: tuple[Row, ...] = (
    _row(None, Event.SUBMITTED, State.QUEUED, C),
    _row(State.QUEUED, Event.WAITS, State.QUEUED, W),
    _row(State.QUEUED, Event.CANCELLED, State.CANCELLED, C, W),
    _row(State.QUEUED, Event.CANNOT_START, State.FAILED, W),
    _row(State.QUEUED, Event.CEILING_TOO_SMALL, State.EXPIRED, W),
    _row(State.QUEUED, Event.ADMITTED, State.DEPLOYING, W),
    _row(State.DEPLOYING, Event.DEPLOYED, State.BOOTING, H, O),
    _row(State.DEPLOYING, Event.NO_CAPACITY, State.QUEUED, H),
    _row(State.DEPLOYING, Event.THROTTLED, State.QUEUED, H, O),
    _row(State.DEPLOYING, Event.CORRECTED, State.QUEUED, H),
    _row(State.DEPLOYING, Event.IMAGE_REFUSED, State.QUEUED, H),
    _row(State.DEPLOYING, Event.REFUSED, State.FINISHING, H),
    _row(State.DEPLOYING, Event.ABSENT, State.FINISHING, O),
    _row(State.DEPLOYING, Event.STOPPED, State.FINISHING, H, O),
    _row(State.BOOTING, Event.STARTED, State.RUNNING, H),
    _row(State.BOOTING, Event.BOOT_FAILED, State.FINISHING, H, O),
    _row(State.BOOTING, Event.DISTRUSTED, State.FINISHING, H),
    _row(State.BOOTING, Event.GONE, State.FINISHING, O),
    _row(State.BOOTING, Event.STOPPED, State.FINISHING, H, O),
    _row(State.RUNNING, Event.EXITED, State.FINISHING, H),
    _row(State.RUNNING, Event.OVERDUE, State.FINISHING, H, O),
    _row(State.RUNNING, Event.GONE, State.FINISHING, H, O),
    _row(State.FINISHING, Event.RETRIED, State.QUEUED, O),
    _row(State.FINISHING, Event.SUCCEEDED, State.SUCCEEDED, O),
    _row(State.FINISHING, Event.FAILED, State.FAILED, O),
    _row(State.FINISHING, Event.CANCELLED_AT_LAST, State.CANCELLED, O),
    _row(State.FINISHING, Event.EXPIRED, State.EXPIRED, O),
)

_LOOKUP = {(row.state, row.event): row for row in TABLE}

REASONS: dict[State, frozenset[str]] = {
    State.SUCCEEDED: frozenset({"exit_code"}),
    State.FAILED: frozenset(
        [
            "exit_code",
            "boot_timeout",
            "deploy_failed",
            "lost",
            "dependency_failed",
            "host_key",
            "secret_key",
            "coupon",
            "setup_failed",
            "upload_failed",
        ]
    ),
    State.EXPIRED: frozenset({"max_runtime", "max_cost", "idle"}),
    State.CANCELLED: frozenset({"cancelled_by_user"}),
    State.QUEUED: frozenset(
        [
            "no_capacity",
            "waiting_for_price",
            "waiting_for_budget",
            "waiting_for_dependency",
            "waiting_for_slot",
        ]
    ),
}
"""The machine-readable reasons of each state that has any."""
CAUSES = frozenset().union(*(REASONS[state] for state in FINAL))
"""What may end an attempt."""


class IllegalMove(RuntimeError):
    """A move that the table does not hold: always a bug of the caller, never a race."""


def next_state(state: State | None, event: Event, who: Who) -> State:
    """The state after *event*, asked for by *who*.

    Raises IllegalMove where the table has no such line.
    """
    row = _LOOKUP.get((state, event))
    if row is None or who not in row.who:
        raise IllegalMove(f"{who} may not apply {event!r} to a job that is {state or 'new'}")
    return row.next


def final_event(cause: str, exit_code: int | None) -> Event:
    """Which end a cause leads to: the last line of the table, as a function."""
    if cause == "exit_code":
        return Event.SUCCEEDED if exit_code == 0 else Event.FAILED
    if cause == "cancelled_by_user":
        return Event.CANCELLED_AT_LAST
    if cause in REASONS[State.EXPIRED]:
        return Event.EXPIRED
    return Event.FAILED
