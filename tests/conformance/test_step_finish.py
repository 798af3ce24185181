"""The end of machines that an API, a database or a worker gets in the way of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs.errors import DatabaseError, ServerTrouble
from jobs.store import attempts, doom, ending
from tests.conformance.store_kit import PRICE, World, submit
from workers.steps import finish
from workers.steps.context import Context

Terminate = Callable[..., set[str]]


def _ctx(world: World, terminate: Terminate) -> Context:
    made = SimpleNamespace(
        db=world.db,
        cloud=SimpleNamespace(terminate=terminate),
        bells=SimpleNamespace(observe=lambda: None),
    )
    return cast(Context, made)


def _failing(error: Exception) -> Terminate:
    def terminate(*_: Any, **__: Any) -> set[str]:
        raise error

    return terminate


def _wait(world: World, attempt_id: str) -> float:
    at = world.instance(attempt_id).terminate_next_at
    assert at is not None
    return (at - world.clock.now).total_seconds()


def _doomed(world: World) -> str:
    _, attempt_id, lease = world.run()
    world.finish(attempt_id, lease)
    return attempt_id


@pytest.mark.parametrize("answer", [_failing(ServerTrouble("503", status=503)), lambda *_, **__: set()])
def test_an_old_leak_makes_no_other_machine_wait(world: World, answer: Terminate) -> None:
    old = _doomed(world)
    for _ in range(7):
        doom.refused(world.db, [item.uuid for item in doom.due(world.db)], "503")
        world.clock.advance(80)
        world.heartbeat()
    new = _doomed(world)
    finish.terminate(_ctx(world, answer))
    assert _wait(world, new) < 2 < 40 < _wait(world, old)


def test_a_turn_that_the_database_does_not_let_pass_is_soon_taken_again(world: World) -> None:
    attempt_id = _doomed(world)
    with pytest.raises(DatabaseError):
        finish.terminate(_ctx(world, _failing(DatabaseError("busy"))))
    assert _wait(world, attempt_id) < 2


def test_one_that_dies_with_the_turn_makes_no_machine_outlive_its_ceiling(world: World) -> None:
    """The command ignores TERM, so that little is left when its machine is doomed."""
    job_id, attempt_id, lease = world.run(
        submit(world.db, max_cost=10 * (PRICE // 60), max_runtime=36_000),
        expires_at=world.clock.now + timedelta(seconds=599),
    )
    expires_at = world.instance(attempt_id).expires_at
    deadline_at = world.attempt(attempt_id).deadline_at
    assert deadline_at is not None
    world.clock.now = deadline_at
    attempts.order_stop(world.db, world.work(attempt_id), lease, "max_cost")
    while not ending.enforce(world.db, world.lead):
        world.clock.advance(1)
        world.heartbeat()
    assert len(doom.due(world.db)) == 1  # taken by who is killed before it asks
    while not doom.due(world.db):
        world.clock.advance(1)
    assert world.clock.now < expires_at
    assert not world.show(job_id).overrun
