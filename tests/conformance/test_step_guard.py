"""The step that arms a machine, on a real database: what it costs a job, and what it must never cost it."""

from __future__ import annotations

import json
import math
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import update

from jobs import money
from jobs.models import Attempt, Instance
from jobs.store import attempts, guards, leases, observing
from jobs.store.transitions import AttemptLease
from jobs.values import Secret
from tests.conformance.store_kit import PRICE, World, submit
from workers.ssh.connect import Machine
from workers.ssh.errors import Unreachable
from workers.steps import door, guard
from workers.steps.boot import boot
from workers.steps.context import Context
from workers.steps.control import Control
from workers.supervisor import attestation

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJwxUKXL3aX3TzYwEVbXmOyYP5ZrXQFhH9mH0rRmBvTj"


class Fake:
    """A machine that is told to end itself, or breaks at it."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.alive = True
        self.breaks = breaks
        self.asked: list[float] = []
        self.told: list[float] = []

    def may_be_armed(self, end: float) -> None:
        self.asked.append(end)
        if self.breaks:
            self.alive = False
            raise Unreachable("it does not answer")

    def state(self, attempt_id: str) -> SimpleNamespace:
        return SimpleNamespace(kind="running")

    def arm(self, payload: bytes, end: float) -> None:
        self.told.append(json.loads(payload.splitlines()[-1])["seconds"])


@pytest.fixture
def ctx(world: World, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setattr(door, "keys_only", lambda *_, **__: True)
    settings = SimpleNamespace(guard_token=Secret("token"), host_keys=None, api_url="http://127.0.0.1:1")
    return cast("Context", SimpleNamespace(db=world.db, settings=settings))


def test_a_machine_that_was_to_end_itself_and_is_gone(world: World) -> None:
    _, attempt_id, lease = world.run()
    guards.armed(world.db, world.work(attempt_id), lease, world.clock.now + timedelta(seconds=60))
    world.clock.advance(61)
    world.vanish(attempt_id)
    world.heartbeat()
    world.list()
    observing.proved_gone(world.db, world.lead, world.instance(attempt_id).id, "404")
    assert "which was to end itself" in str(world.attempt(attempt_id).detail)


def test_one_that_has_no_guard_and_is_gone_after_its_expiry(world: World) -> None:
    _, attempt_id, _ = world.run()
    world.clock.now = world.instance(attempt_id).expires_at + timedelta(seconds=9)
    world.vanish(attempt_id)
    world.heartbeat()
    observing.proved_gone(world.db, world.lead, world.instance(attempt_id).id, "404")
    assert "perhaps by `runner reap`" in str(world.attempt(attempt_id).detail)


def _running(world: World) -> tuple[str, AttemptLease]:
    _, attempt_id, lease = world.run()
    with world.db.write() as session:
        session.execute(update(Attempt).values(host_key=HOST_KEY, host_key_check="attested"))
    return attempt_id, lease


def _arm(
    ctx: Context, world: World, attempt_id: str, lease: AttemptLease, control: Control, **fake: Any
) -> Fake:
    """One login, and what the machine heard over it."""
    machine = Fake(**fake)
    try:
        assert guard.arm(ctx, world.work(attempt_id), lease, cast("Machine", machine), control)
    except Unreachable:
        assert machine.breaks
    return machine


def test_it_fires_before_the_expiry(ctx: Context, world: World) -> None:
    """So that neither the way of the order nor that of the call begins another minute."""
    attempt_id, lease = _running(world)
    machine = _arm(ctx, world, attempt_id, lease, Control())
    at = world.instance(attempt_id).expires_at - timedelta(seconds=money.GUARD_SECONDS)
    assert 0 < money.GUARD_SECONDS < money.TERMINATE_SECONDS
    assert machine.told == [(at - world.clock.now).total_seconds()]
    assert world.attempt(attempt_id).guard == {"at": at.isoformat(), "why_not": None, "told": True}


def test_who_has_told_it_tells_only_what_is_new(ctx: Context, world: World) -> None:
    attempt_id, lease = _running(world)
    control = Control()
    (before,) = _arm(ctx, world, attempt_id, lease, control).told
    again = _arm(ctx, world, attempt_id, lease, control)
    assert (again.asked, again.told) == ([], [])
    with world.db.write() as session:
        earlier = world.instance(attempt_id).expires_at - timedelta(seconds=600)
        session.execute(update(Instance).values(expires_at=earlier))
    assert _arm(ctx, world, attempt_id, lease, control).told == [before - 600]


def test_who_finds_a_command_that_runs_tells_of_the_expiry_of_its_go(ctx: Context, world: World) -> None:
    """Whoever started it has died before that was written, and the guard may stand for a later one."""
    _, attempt_id = world.boot()
    lease = world.attend(attempt_id)
    with world.db.write() as session:
        session.execute(update(Attempt).values(host_key=HOST_KEY, host_key_check="attested"))
    attempts.order_go(world.db, world.work(attempt_id), lease)
    machine = Fake()
    control = Control()
    assert boot(ctx, world.work(attempt_id), lease, cast("Machine", machine), control)
    assert machine.told == []
    assert guard.rearm(ctx, world.work(attempt_id), lease, cast("Machine", machine), control)
    assert len(machine.told) == 1
    assert guard.rearm(ctx, world.work(attempt_id), lease, cast("Machine", machine), control)
    assert len(machine.told) == 1


def test_who_takes_over_writes_nothing_that_is_known(
    ctx: Context, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have another token to tell; but after an outage, with all coming back, each turn is dear."""
    attempt_id, lease = _running(world)
    _arm(ctx, world, attempt_id, lease, Control())
    monkeypatch.delattr(guards, "write")
    assert len(_arm(ctx, world, attempt_id, lease, Control()).told) == 1


def test_once_a_command_runs_one_that_hangs_is_asked_once_and_shortly(ctx: Context, world: World) -> None:
    """Meanwhile nobody could tell it of a cancel."""
    attempt_id, lease = _running(world)
    control = Control()
    (end,) = _arm(ctx, world, attempt_id, lease, control, breaks=True).asked
    assert end <= time.monotonic() + 15
    assert _arm(ctx, world, attempt_id, lease, control).asked == []
    assert world.attempt(attempt_id).guard == {"at": None, "why_not": guard.HANGS, "told": False}


def test_before_its_command_runs_there_is_time(ctx: Context, world: World) -> None:
    attempt_id, lease = _running(world)
    control = Control()
    with world.db.write() as session:
        session.execute(update(Attempt).values(state="booting"))
    for _ in range(guard.TRIES):
        assert _arm(ctx, world, attempt_id, lease, control, breaks=True).asked == [math.inf]
    assert _arm(ctx, world, attempt_id, lease, control).asked == []


def test_one_that_boots_is_told_at_each_login(ctx: Context, world: World) -> None:
    """It may have restarted, without losing a job that it does not have yet."""
    attempt_id, lease = _running(world)
    control = Control()
    with world.db.write() as session:
        session.execute(update(Attempt).values(state="booting"))
    for _ in range(2):
        assert len(_arm(ctx, world, attempt_id, lease, control).told) == 1


class Attesting:
    """A machine whose startup command is slow: it attests its key when it is asked for the fourth time."""

    host_key = HOST_KEY

    def __init__(self, key: bytes | None) -> None:
        self.key = key
        self.asked = 0
        self.brought = False

    def attestations(self, attempt_id: str) -> dict[str, str] | None:
        self.asked += 1
        if self.key is None or self.asked < 4:
            return None
        return {"ssh-ed25519": attestation(self.key, attempt_id, *HOST_KEY.split())}

    def bootstrap(self, script: str) -> None:
        self.brought = True


@pytest.mark.parametrize("attests", [True, False])
def test_a_machine_that_attests_nothing_runs_what_is_not_private(
    ctx: Context, world: World, monkeypatch: pytest.MonkeyPatch, attests: bool
) -> None:
    """It is waited for, since it is to have the guard token; but a job that needs no proof is not lost."""
    _, attempt_id = world.boot()
    monkeypatch.setattr(door, "FILES_SECONDS", 0.0)
    monkeypatch.setattr(door, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(door, "ATTEST_SECONDS", 20.0 if attests else 0.1)
    cast("Any", ctx).key = SimpleNamespace(public_line="ssh-ed25519 AAAAB")
    work = world.work(attempt_id)
    machine = Attesting(work.attestation_key if attests else None)
    checked = door.check_host_key(ctx, work, cast("Machine", machine), Control())
    assert (checked, machine.brought) == (("attested", False) if attests else ("accepted", True))


def test_one_whose_key_was_taken_before_there_was_a_token_is_not_doubted(ctx: Context, world: World) -> None:
    """Its command may run already."""
    attempt_id, lease = _running(world)
    with world.db.write() as session:
        session.execute(update(Attempt).values(state="booting", host_key_check="accepted"))
    assert not door.unchecked(ctx, world.work(attempt_id))
    assert _arm(ctx, world, attempt_id, lease, Control()).asked == []
    assert world.attempt(attempt_id).guard == {"at": None, "why_not": guard.UNVERIFIED, "told": False}


def test_an_expiry_that_a_dearer_price_shortened_is_heard_where_the_deadline_stays(world: World) -> None:
    _, attempt_id, _ = world.run(
        submit(world.db, max_cost=80 * (PRICE // 60), max_runtime=3600),
        expires_at=world.clock.now + timedelta(seconds=4560),
    )
    control = Control()
    control.hear(leases.held(world.db, world.owner)[0], world.clock.now)
    deadline, expires = world.attempt(attempt_id).deadline_at, world.instance(attempt_id).expires_at
    world.change(world.instance(attempt_id).uuid, price=PRICE * 125 // 100)
    world.clock.advance(30)
    world.heartbeat()
    world.list()
    assert world.attempt(attempt_id).deadline_at == deadline
    assert world.instance(attempt_id).expires_at < expires
    control.hear(leases.held(world.db, world.owner)[0], world.clock.now)
    assert control.expires_earlier
