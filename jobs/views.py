"""What one sees of a job: immutable pictures that the store hands out and everything above shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.states import FINAL, State


@dataclass(frozen=True)
class Share:
    """A part of what a job has cost: billed minutes, and micro-dollars."""

    minutes: int
    cost: int


@dataclass(frozen=True)
class AttemptView:
    """One try. ``cost`` is in micro-dollars; prices in micro-dollars an hour; None is unknown.

    ``price`` is what is charged, ``full_price`` that before a coupon, ``prices`` the billed minutes at each
    price in order, 0 where it is not known. ``phases``: what the cost was for.
    ``outputs``: the tree that has come back; ``outputs_state``: ``files``, ``bytes``, whether that is all
    (``over``, ``complete``), and a ``note``; ``transfer``: ``what`` comes or goes, ``bytes`` ``of`` how many.
    """

    id: str
    number: int
    state: str
    outcome: str | None
    detail: str | None
    exit_code: int | None
    product: str
    price: int | None
    full_price: int | None
    instance_uuid: str | None
    instance_name: str
    instance_state: str
    deployed_at: datetime | None
    ready_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    terminated_at: datetime | None
    cost: int
    cost_estimated: bool
    minutes: int
    prices: tuple[tuple[int, int], ...]
    phases: Mapping[str, Share]
    expires_at: datetime
    deadline_at: datetime | None
    log_bytes: int
    log_end: str | None
    host_key_check: str | None
    guard: Mapping[str, Any] | None
    unreachable_since: datetime | None
    leak_suspected: bool
    outputs: str | None
    outputs_state: Mapping[str, Any] | None
    transfer: Mapping[str, Any] | None

    @property
    def failed(self) -> bool:
        """Whether it is over, and not by its command's success."""
        return self.outcome is not None and (self.outcome, self.exit_code) != ("exit_code", 0)

    @property
    def ends_itself_at(self) -> datetime | None:
        """When its machine is to end itself; None where it does not."""
        at = None if self.guard is None else self.guard.get("at")
        return None if at is None else datetime.fromisoformat(at)


@dataclass(frozen=True)
class JobView:
    """One job. Money is in micro-dollars, durations in seconds; times are aware, in UTC.

    What its attempts and its strays have cost adds up to ``cost``, which is an estimate where one of them is.
    ``max_price``: micro-dollars an hour.
    """

    id: str
    name: str | None
    state: State
    reason: str | None
    detail: str | None
    command: str | tuple[str, ...]
    products: tuple[str, ...]
    cheapest: bool
    image: str
    exit_code: int | None
    cost: int
    max_cost: int
    max_cost_source: str
    max_runtime: int
    max_runtime_source: str
    max_price: int | None
    coupon: str | None
    budget: str | None
    reserved: int | None  # of its budget, while it is not final
    grace: int
    idle_timeout: int | None
    retries: int
    retry_on: tuple[str, ...]
    workdir: Mapping[str, int] | None
    setup: str | None
    outputs: tuple[str, ...]
    sync_every: int | None
    cancel_requested: bool
    submitted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    since: datetime
    attempts: tuple[AttemptView, ...]
    strays: Share  # what was rented for it beside its attempts
    cost_estimated: bool
    secrets: tuple[str, ...] = ()  # their names

    @property
    def failures(self) -> int:
        """What did not lead to its success: attempts that failed, and strays."""
        return self.strays.cost + sum(attempt.cost for attempt in self.attempts if attempt.failed)

    @property
    def overrun(self) -> int:
        """By how much it has cost more than its ceiling."""
        return max(0, self.cost - self.max_cost)

    @property
    def final(self) -> bool:
        return self.state in FINAL


@dataclass(frozen=True)
class EventView:
    """One line of a job's history."""

    at: datetime
    event: str
    from_state: str | None
    to_state: str
    reason: str | None
    detail: str | None
    who: str


@dataclass(frozen=True)
class WorkerView:
    """A worker that lives. ``note``: what it cannot do at present, for people.

    ``seats``: how many jobs it attends to at most; ``busy``: to how many it does.
    """

    id: str
    host: str
    pid: int
    version: str
    seats: int
    busy: int
    leads: bool
    started_at: datetime
    heartbeat_at: datetime
    note: str | None


@dataclass(frozen=True)
class Chunk:
    """A run of log bytes; ``data`` is None where the bytes are known to be missing."""

    start: int
    size: int
    data: bytes | None
