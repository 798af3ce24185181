"""A machine that ends itself: with every service killed it goes at its expiry, and else it stays."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from jobs import money
from jobs.ids import parse_instance_name
from jobs.models import Instance
from jobs.pictures import time_text
from runner.sim.config import SimConfig
from runner.sim.machine import Machine
from tests.acceptance.conftest import Make
from tests.acceptance.harness import Installation, guards
from tests.acceptance.test_door import Between
from tests.waiting import wait_until

ARRANGEMENTS = ("service", "openssh", "workers")
IN_FULL = ("service", "workers")
TOKEN = f"guard-{os.urandom(8).hex()}"

HANGS_UP = """#!/bin/sh
process=$$
while [ "$process" -gt 1 ]; do
    case $(cat /proc/$process/comm) in sshd*) exec kill -9 "$process" ;; esac
    process=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$process/status)
done
"""

Guarded = Callable[..., Installation]


@pytest.fixture
def guarded(make: Make) -> Guarded:
    """Make an installation whose machines end themselves."""

    def _make(**environ: str) -> Installation:
        config = SimConfig(boot_seconds=0.2, more_tokens=(TOKEN,))
        return make(config, RUNNER_GUARD_TOKEN=TOKEN, **environ)

    return _make


def _machine(installation: Installation) -> Machine:
    (machine,) = installation.sim.instances()
    return machine


def _ends_itself(shown: dict[str, Any]) -> dict[str, Any] | None:
    found: dict[str, Any] | None = shown["attempts"][-1]["ends_itself"]
    return found


def _before(expires_at: datetime) -> dict[str, Any]:
    """The note of a machine that ends itself early enough to be gone by then."""
    at = expires_at - timedelta(seconds=money.GUARD_SECONDS)
    return {"at": time_text(at), "why_not": None}


def _left(machine: Machine) -> float:
    """The seconds until it expires."""
    name = parse_instance_name(machine.order.name)
    assert name is not None
    return name.expires_at - datetime.now(UTC).timestamp()


@pytest.mark.timeout(200)
def test_with_every_service_killed_it_is_gone_at_its_expiry(guarded: Guarded, make: Make) -> None:
    """And without the guard it is still rented, for as long as nobody comes."""
    short = {"RUNNER_BOOT_TIMEOUT": "8s"}
    without = make(SimConfig(boot_seconds=0.2), **short)
    with_guard = guarded(**short)
    for installation in (without, with_guard):
        installation.up()
    jobs = [installation.submit("sleep 600", max_runtime=5) for installation in (without, with_guard)]
    shown = [
        installation.until(job, "running", "finishing", "failed")
        for installation, job in zip((without, with_guard), jobs, strict=True)
    ]
    for installation in (without, with_guard):
        installation.stop(signal.SIGKILL)
    assert [found["state"] for found in shown] == ["running", "running"], shown
    assert _ends_itself(shown[0]) is None
    expires_at = datetime.fromisoformat(shown[1]["attempts"][0]["expires_at"])
    assert _ends_itself(shown[1]) == _before(expires_at)
    machine = _machine(with_guard)
    assert _left(machine) > money.TERMINATE_SECONDS
    wait_until(lambda: not with_guard.sim.instances(), timeout=90, what="the end of the machine")
    ended = machine.ended
    assert ended is not None
    assert timedelta(0) <= expires_at - ended < timedelta(seconds=15), "within what its ceiling pays for"
    wait_until(lambda: not with_guard.sim.processes(machine.uuid), what="the end of its processes")
    other = _machine(without)
    assert _left(other) < money.GUARD_SECONDS, "it was rented before the other one"
    assert other.ended is None


def test_it_is_said_whether_it_does(guarded: Guarded) -> None:
    installation = guarded()
    installation.up()
    job = installation.submit("sleep 60")
    shown = installation.until(job, "running", "failed")
    assert shown["state"] == "running", shown
    attempt = shown["attempts"][0]
    assert (attempt["host_key"], _machine(installation).password_login) == ("attested", False)
    expires_at = datetime.fromisoformat(attempt["expires_at"])
    assert attempt["ends_itself"] == _before(expires_at)
    at = expires_at - timedelta(seconds=money.GUARD_SECONDS)
    assert f"yes, at {at:%Y-%m-%d %H:%M:%S} UTC" in installation.ok("show", job)
    installation.ok("cancel", job)
    assert installation.final(job)["state"] == "cancelled"
    installation.nothing_left()


def test_where_it_cannot_the_job_runs_all_the_same(guarded: Guarded) -> None:
    installation = guarded()
    installation.sim.faults.sudo = "refused"
    installation.up()
    job = installation.submit("echo done")
    done = installation.final(job)
    assert done["state"] == "succeeded", done
    assert installation.log(job) == b"done\n"
    ends_itself = _ends_itself(done)
    assert ends_itself is not None
    assert ends_itself["at"] is None
    assert "a password is required" in ends_itself["why_not"]
    assert f"no: {ends_itself['why_not']}" in installation.ok("show", job)
    assert installation.tail().count("does not end itself at its expiry") == 1
    installation.nothing_left()


def test_without_password_logins_it_is_sudo_that_counts(make: Make) -> None:
    installation = make(
        SimConfig(boot_seconds=0.2, more_tokens=(TOKEN,), password_login=False), RUNNER_GUARD_TOKEN=TOKEN
    )
    installation.sim.faults.sudo = "refused"
    installation.up()
    done = installation.final(installation.submit("true"))
    why_not = "there is no sudo without a password on the machine"
    assert (done["state"], _ends_itself(done)) == ("succeeded", {"at": None, "why_not": why_not})


@pytest.mark.arrangements("openssh")
def test_a_machine_that_hangs_up_at_it_runs_the_job_without(make: Make) -> None:
    """Whoever asks for sudo loses the connection, each time."""
    config = SimConfig(boot_seconds=2.0, more_tokens=(TOKEN,), password_login=False)
    installation = make(config, RUNNER_GUARD_TOKEN=TOKEN)
    installation.up()
    job = installation.submit("echo done")
    wait_until(installation.sim.instances, what="a machine")
    (_machine(installation).folder / "bin" / "sudo").write_text(HANGS_UP)
    done = installation.final(job)
    assert done["state"] == "succeeded", done
    why_not = "the connection was lost each time that it was told to"
    assert _ends_itself(done) == {"at": None, "why_not": why_not}


def test_who_takes_the_first_key_gives_no_token(guarded: Guarded) -> None:
    """RUNNER_HOST_KEYS=accept-new counts also where the machine has attested its key."""
    installation = guarded(RUNNER_HOST_KEYS="accept-new")
    installation.up()
    done = installation.final(installation.submit("true"))
    assert done["state"] == "succeeded", done
    ends_itself = _ends_itself(done)
    assert ends_itself is not None
    assert (ends_itself["at"], "accept-new" in ends_itself["why_not"]) == (None, True)


@pytest.mark.arrangements(full=("service",))
def test_who_is_in_between_gets_no_token(
    guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is attested wrongly is refused also where the job has nothing private."""
    installation = guarded()
    installation.up()
    with Between(installation.sim, "its own, forged") as between:
        address = property(lambda _: between.port, lambda *_: None)
        monkeypatch.setattr(Machine, "port", address, raising=False)
        job = installation.submit("true")
        done = installation.final(job, timeout=150)
        assert (done["state"], done["reason"]) == ("failed", "host_key"), done
        assert between.told
        assert all(line.endswith('supervisor.sh" attest') for line in between.told), between.told
        assert between.given == b""
    assert _ends_itself(done) is None
    installation.nothing_left()


@pytest.mark.full
def test_a_machine_that_attests_nothing_gets_no_token(guarded: Guarded) -> None:
    """And the job, which has nothing private, runs."""
    installation = guarded()
    installation.sim.faults.host_keys = "missing"
    installation.up()
    done = installation.final(installation.submit("true"), timeout=150)
    assert (done["state"], done["attempts"][0]["host_key"]) == ("succeeded", "accepted"), done
    assert _ends_itself(done) == {"at": None, "why_not": "its host key is not verified"}


@pytest.mark.full
def test_a_machine_that_hangs_at_it_later_is_told_of_a_cancel(guarded: Guarded) -> None:
    """By the next service, though the machine does not take its token; the guard of before stands."""
    installation = guarded()
    installation.up()
    job = installation.submit("sleep 300")
    before = _ends_itself(installation.until(job, "running", "failed"))
    installation.stop(signal.SIGKILL)
    (_machine(installation).folder / "bin" / "sudo").write_text("#!/bin/sh\nexec sleep 600\n")
    installation.ok("cancel", job)
    installation.up()
    done = installation.final(job, timeout=60)
    assert (done["state"], done["reason"]) == ("cancelled", "cancelled_by_user"), done
    assert _ends_itself(done) == before
    installation.nothing_left()


def test_a_machine_that_becomes_dearer_ends_itself_earlier(guarded: Guarded) -> None:
    """It hears of that over the connection that stands, so it holds also where every service dies then."""
    installation = guarded()
    installation.up()
    job = installation.submit("sleep 600", max_cost=2, max_runtime="1h")
    before = _ends_itself(installation.until(job, "running"))
    assert before is not None
    installation.sim.reprice(_machine(installation).uuid, 1000)
    wait_until(lambda: _ends_itself(installation.show(job)) != before, what="an earlier end")
    shown = installation.show(job)
    assert _ends_itself(shown) == _before(datetime.fromisoformat(shown["attempts"][0]["expires_at"]))
    machine = _machine(installation)
    wait_until(lambda: len(guards(installation.sim, machine.uuid)) == 1, what="one guard")
    installation.ok("cancel", job)
    installation.final(job)
    installation.nothing_left()


def test_it_ends_itself_earlier_also_where_its_outputs_are_waited_for(guarded: Guarded) -> None:
    installation = guarded()
    installation.up()
    with installation.without_store():
        job = installation.submit("echo result > out", output="out", max_cost=2, max_runtime="1h")
        before = _ends_itself(installation.until(job, "finishing"))
        assert before is not None
        wait_until(lambda: "wait on the machine" in installation.tail(), what="the store's absence is seen")
        installation.sim.reprice(_machine(installation).uuid, 1000)
        wait_until(lambda: _ends_itself(installation.show(job)) != before, what="an earlier end")
    shown = installation.final(job)
    assert _ends_itself(shown) == _before(datetime.fromisoformat(shown["attempts"][0]["expires_at"]))
    assert (shown["state"], shown["attempts"][0]["outputs"]["complete"]) == ("succeeded", True)
    installation.nothing_left()


def test_the_next_attendant_brings_an_earlier_expiry(guarded: Guarded) -> None:
    """As after a price that went up while nobody was connected. There is one guard before and after."""
    installation = guarded()
    installation.up()
    job = installation.submit("sleep 300")
    before = _ends_itself(installation.until(job, "running", "failed"))
    assert before is not None
    machine = _machine(installation)
    (record,) = [path for path in (machine.folder / "run").iterdir() if path.name != "arming"]
    pid, due = record.read_text().split()
    installation.stop(signal.SIGKILL)
    with installation.quick() as client, client.database.write() as session:
        earlier = session.execute(select(Instance.expires_at)).scalar_one() - timedelta(hours=1)
        session.execute(update(Instance).values(expires_at=earlier))
    installation.up()
    wait_until(lambda: _ends_itself(installation.show(job)) != before, timeout=60, what="another note")
    now = _ends_itself(installation.show(job))
    assert now is not None
    assert datetime.fromisoformat(now["at"]) == datetime.fromisoformat(before["at"]) - timedelta(hours=1)
    new_pid, new_due = record.read_text().split()
    assert new_pid != pid
    assert 3590 < float(due) - float(new_due) < 3610
    found = guards(installation.sim, machine.uuid)
    assert [str(process.pid) for process in found] == [new_pid]
    installation.ok("cancel", job)
    installation.final(job)
    installation.nothing_left()
