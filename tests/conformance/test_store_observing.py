"""What a listing means: each row of an instance's life, and above all what must not be concluded."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobs.models import Instance
from jobs.states import State
from jobs.store import attempts, doom, ending, leases, observing, sightings
from jobs.store.sightings import Look, Sighting
from tests.conformance.store_kit import PRICE, ROOM, World, submit

# While it boots and runs


def test_the_listing_brings_address_price_and_readiness(world: World) -> None:
    job_id, attempt_id = world.boot(listed=False)
    uuid = world.instance(attempt_id).uuid
    world.change(uuid, ready=False, host=None, status="booting", price=None)
    world.list()
    assert ending.wanted(world.db, ROOM).attend == []
    assert world.work(attempt_id).host is None
    world.change(uuid, ready=True, host="198.51.100.7", port=2222, price=PRICE // 2)
    world.list()
    work = world.work(attempt_id)
    assert (work.host, work.port, work.username, work.price) == ("198.51.100.7", 2222, "ubuntu", PRICE // 2)
    assert ending.wanted(world.db, ROOM).attend == [attempt_id]
    assert world.show(job_id).attempts[0].ready_at == world.clock.now


@pytest.mark.parametrize(("status", "flag"), [("failed", "failed"), ("Stopped", "stopped")])
def test_a_machine_that_does_not_boot(world: World, status: str, flag: str) -> None:
    job_id, attempt_id = world.boot()
    world.change(world.instance(attempt_id).uuid, status=status, ready=False, **{flag: True})
    world.list()
    view = world.show(job_id)
    assert (view.state, view.reason) == (State.FINISHING, "deploy_failed")
    assert view.detail is not None
    assert status in view.detail
    assert world.instance(attempt_id).state == "doomed"
    assert world.attempt(attempt_id).retryable


@pytest.mark.parametrize("flag", ["failed", "stopped"])
def test_a_machine_that_stops_while_it_runs(world: World, flag: str) -> None:
    job_id, attempt_id, _ = world.run()
    world.change(world.instance(attempt_id).uuid, ready=False, **{flag: True})
    world.list()
    view = world.show(job_id)
    assert (view.state, view.reason) == (State.FINISHING, "lost")
    assert not world.attempt(attempt_id).retryable
    assert (view.attempts[0].log_end or "").startswith("incomplete")
    assert world.instance(attempt_id).state == "doomed"


def test_a_status_that_says_it_is_over(world: World) -> None:
    job_id, attempt_id, _ = world.run()
    world.change(world.instance(attempt_id).uuid, over=True, status="terminated")
    world.list()
    assert (world.instance(attempt_id).state, world.instance(attempt_id).gone_proof) == ("gone", "status")
    assert (world.show(job_id).state, world.show(job_id).reason) == (State.FINISHING, "lost")
    assert world.show(job_id).attempts[0].cost_estimated


def test_a_machine_that_is_dearer_than_planned_ends_earlier(world: World) -> None:
    """The ceiling holds for the price that is charged, not for the one that was announced."""
    job_id, attempt_id, _ = world.run()
    before = world.attempt(attempt_id).deadline_at
    assert before is not None
    world.change(world.instance(attempt_id).uuid, price=PRICE * 100)  # 2 dollars a minute, 5 dollars in all
    world.list()
    attempt, row = world.attempt(attempt_id), world.instance(attempt_id)
    assert row.requested_at is not None
    assert row.expires_at == row.requested_at + timedelta(seconds=119)
    assert attempt.deadline_at == row.expires_at - timedelta(seconds=60)
    assert attempt.deadline_cause == "max_cost"
    held = leases.held(world.db, world.owner)[0]
    assert (held.deadline_at, held.deadline_cause) == (attempt.deadline_at, "max_cost")
    world.clock.advance(59 + 41)
    world.settle()
    world.settle()
    view = world.show(job_id)
    assert (view.state, view.reason) == (State.EXPIRED, "max_cost")
    assert view.cost <= view.max_cost


def test_a_machine_that_is_cheaper_keeps_its_expiry(world: World) -> None:
    _, attempt_id, _ = world.run()
    before = (world.instance(attempt_id).expires_at, world.attempt(attempt_id).deadline_at)
    world.change(world.instance(attempt_id).uuid, price=PRICE // 10)
    world.list()
    assert (world.instance(attempt_id).expires_at, world.attempt(attempt_id).deadline_at) == before


# Machines that are missing


def test_an_empty_listing_proves_nothing(world: World) -> None:
    """One empty 200, or an hour of them, must not make every job lost."""
    runs = [world.run() for _ in range(3)]
    for _ in range(40):
        world.clock.advance(90)
        world.heartbeat()
        findings = world.list(sightings=[])
        assert len(findings.doubted) == 3
    for job_id, attempt_id, _ in runs:
        assert world.instance(attempt_id).state == "live"
        assert world.show(job_id).state is State.RUNNING


def test_a_listing_without_most_of_them_proves_nothing(world: World) -> None:
    runs = [world.run() for _ in range(4)]
    kept = list(world.account.values())[:1]
    for _ in range(5):
        world.clock.advance(90)
        world.list(sightings=kept)
    assert [world.instance(attempt_id).state for _, attempt_id, _ in runs] == ["live"] * 4


def test_absence_from_two_listings_far_enough_apart(world: World) -> None:
    runs = [world.run() for _ in range(4)]
    job_id, attempt_id, _ = runs[0]
    world.vanish(attempt_id)
    world.clock.advance(1)
    findings = world.list()
    assert [uuid for _, uuid in findings.doubted] == [world.instance(attempt_id).uuid]
    world.clock.advance(89)
    world.list()
    assert world.instance(attempt_id).state == "live"
    world.clock.advance(1)
    assert world.list().doubted == []
    assert (world.instance(attempt_id).state, world.instance(attempt_id).gone_proof) == ("gone", "absent")
    assert (world.show(job_id).state, world.show(job_id).reason) == (State.FINISHING, "lost")
    assert [world.show(other).state for other, _, _ in runs[1:]] == [State.RUNNING] * 3


def test_incomplete_listings_between_prove_nothing(world: World) -> None:
    runs = [world.run() for _ in range(4)]
    _, attempt_id, _ = runs[0]
    shown = [s for s in world.account.values() if s.uuid != world.instance(attempt_id).uuid]
    world.clock.advance(1)
    world.list(sightings=shown)
    for _ in range(3):
        world.clock.advance(100)
        world.list(sightings=shown, complete=False)
    assert world.instance(attempt_id).state == "live"


def test_seen_again_begins_anew(world: World) -> None:
    runs = [world.run() for _ in range(4)]
    _, attempt_id, _ = runs[0]
    shown = [s for s in world.account.values() if s.uuid != world.instance(attempt_id).uuid]
    world.clock.advance(1)
    world.list(sightings=shown)
    world.clock.advance(60)
    world.list()
    assert world.instance(attempt_id).missing_since is None
    world.clock.advance(60)
    world.list(sightings=shown)
    assert world.instance(attempt_id).state == "live"


def test_a_question_by_uuid_begins_anew(world: World) -> None:
    runs = [world.run() for _ in range(4)]
    _, attempt_id, _ = runs[0]
    shown = [s for s in world.account.values() if s.uuid != world.instance(attempt_id).uuid]
    for _ in range(6):
        world.clock.advance(60)
        world.heartbeat()
        for instance_id, uuid in world.list(sightings=shown).doubted:
            observing.proved_alive(world.db, world.lead, instance_id, world.account[uuid])
    assert world.instance(attempt_id).state == "live"


def test_who_was_seen_longest_ago_is_asked_for_first(world: World) -> None:
    runs = [world.run() for _ in range(3)]
    world.clock.advance(10)
    doubted = world.list(sightings=[]).doubted
    first = [id_ for id_, _ in doubted]
    assert len(first) == len(runs)
    observing.proved_alive(world.db, world.lead, first[0], world.account[doubted[0][1]])
    assert [id_ for id_, _ in world.list(sightings=[]).doubted] == [*first[1:], first[0]]


def test_a_machine_that_is_younger_than_the_listing(world: World) -> None:
    world.run()
    world.clock.advance(10)
    _, attempt_id = world.boot(listed=False)
    shown = [s for s in world.account.values() if s.uuid != world.instance(attempt_id).uuid]
    assert world.list(sightings=shown, ago=5).doubted == []
    assert world.list(sightings=shown).doubted == []  # the listing may be behind
    assert world.instance(attempt_id).missing_since is None
    world.clock.advance(91)
    assert [uuid for _, uuid in world.list(sightings=shown).doubted] == [world.instance(attempt_id).uuid]


def test_a_404_is_the_end(world: World) -> None:
    job_id, attempt_id, _ = world.run()
    observing.proved_gone(world.db, world.lead, world.instance(attempt_id).id, "404")
    assert world.show(job_id).reason == "lost"
    observing.proved_gone(world.db, world.lead, world.instance(attempt_id).id, "404")
    assert world.instance(attempt_id).gone_at == world.clock.now


def test_an_ended_machine_is_gone_by_absence_alone(world: World) -> None:
    """After an accepted terminate nobody has to be asked: a thousand ends cost no thousand questions."""
    job_id, attempt_id, lease = world.run()
    world.finish(attempt_id, lease)
    world.clock.advance(1)
    assert world.terminate() == 1
    world.clock.advance(1)
    world.list()
    assert world.instance(attempt_id).state == "doomed"
    world.clock.advance(90)
    world.list()
    assert world.instance(attempt_id).gone_proof == "absent"
    ending.settle(world.db, world.lead)
    assert world.show(job_id).state is State.SUCCEEDED


def test_an_absence_before_the_accepted_terminate_does_not_count(world: World) -> None:
    others = [world.run() for _ in range(4)]
    _, attempt_id, lease = world.run()
    shown = [s for s in world.account.values() if s.uuid != world.instance(attempt_id).uuid]
    world.clock.advance(1)
    world.list(sightings=shown)
    assert world.instance(attempt_id).missing_since is not None
    world.finish(attempt_id, lease)
    world.clock.advance(88)
    world.terminate()
    world.clock.advance(2)
    world.list(sightings=shown)
    assert world.instance(attempt_id).state == "doomed"
    assert len(others) == 4


def test_gone_and_seen_again(world: World) -> None:
    job_id, attempt_id, lease = world.run()
    uuid, row = world.instance(attempt_id).uuid, world.instance(attempt_id)
    world.finish(attempt_id, lease)
    world.terminate()
    observing.proved_gone(world.db, world.lead, row.id, "404")
    ending.settle(world.db, world.lead)
    assert world.show(job_id).state is State.SUCCEEDED
    world.appear(row.name, uuid)
    world.clock.advance(60)
    world.list()
    assert world.instance(attempt_id).state == "gone"  # the listing is only behind
    world.clock.advance(60)
    world.list()
    again = world.instance(attempt_id)
    assert (again.state, again.gone_at, again.terminate_accepted_at) == ("doomed", None, None)
    assert world.show(job_id).state is State.SUCCEEDED
    assert world.terminate() == 1


def test_a_doomed_machine_that_lives_on_is_terminated_again(world: World) -> None:
    """An accepted terminate that had no effect is not the end of it."""
    _, attempt_id, lease = world.run()
    uuid = world.instance(attempt_id).uuid
    assert uuid is not None
    world.finish(attempt_id, lease)
    doom.due(world.db)
    doom.accepted(world.db, [uuid])
    first = world.instance(attempt_id).terminate_accepted_at
    for _ in range(8):
        world.clock.advance(10)
        world.list()
        assert doom.due(world.db) == []
    world.clock.advance(11)
    world.list()
    assert [item.uuid for item in doom.due(world.db)] == [uuid]
    assert world.instance(attempt_id).terminate_accepted_at == first
    doom.refused(world.db, [uuid], "500")
    assert doom.due(world.db) == []
    world.clock.advance(6)
    assert len(doom.due(world.db)) == 1


def test_a_machine_missing_from_an_incomplete_listing_is_asked_for(world: World) -> None:
    """One item that nobody can read must not keep every job of the account from its end."""
    job_id, attempt_id, lease = world.run()
    world.finish(attempt_id, lease)
    world.terminate()
    world.clock.advance(1)
    (doubted,) = world.list(complete=False).doubted
    assert world.instance(attempt_id).missing_since is None
    observing.proved_gone(world.db, world.lead, doubted[0], "404")
    ending.settle(world.db, world.lead)
    assert world.show(job_id).final


def test_a_deploy_under_incomplete_listings_is_given_up_at_its_expiry(world: World) -> None:
    job_id, attempt_id, lease = world.order()
    attempts.deploy_unknown(world.db, world.work(attempt_id), lease)
    world.clock.advance(4400)
    world.list(complete=False)
    assert world.show(job_id).state is State.DEPLOYING
    world.clock.advance(200)
    world.list(complete=False)
    assert world.instance(attempt_id).state == "absent"


def test_what_is_wrong_with_one_machine_does_not_hide_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, broken = world.boot(listed=False)
    _, healthy = world.boot(listed=False)
    seen = sightings.seen

    def stumbles(look: Look, row: Instance, sight: Sighting) -> None:
        row.status = "half written"
        if row.attempt_id == broken:
            raise OverflowError("date value out of range")
        seen(look, row, sight)

    monkeypatch.setattr(sightings, "seen", stumbles)
    world.list()
    assert world.instance(healthy).ready
    assert world.instance(broken).status is None, "nothing half written"
    assert world.instance(broken).name in caplog.text
    monkeypatch.setattr(sightings, "seen", seen)
    world.list()
    assert world.instance(broken).ready
    assert world.show(first).state is State.BOOTING


def test_a_large_ceiling_over_a_small_price_stays_in_the_calendar(world: World) -> None:
    _, attempt_id = world.boot(submit(world.db, max_cost=1_000_000_000_000), price=100)
    before = world.instance(attempt_id).expires_at
    world.change(world.instance(attempt_id).uuid, price=12_000)
    world.list()
    assert world.instance(attempt_id).price == 12_000
    assert world.instance(attempt_id).expires_at == before


def test_a_deploy_is_not_called_absent_by_a_listing_that_lacks_the_others(world: World) -> None:
    for _ in range(2):
        world.boot()
    job_id, attempt_id, lease = world.order()
    attempts.deploy_unknown(world.db, world.work(attempt_id), lease)
    world.clock.advance(61)
    world.list(sightings=[])
    assert world.show(job_id).state is State.DEPLOYING
    world.list()
    assert (world.show(job_id).state, world.instance(attempt_id).state) == (State.FINISHING, "absent")
