"""The doctor names what is wrong by its own name, and looks at the rest all the same."""

from __future__ import annotations

import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from filelock import FileLock
from sqlalchemy import update

from jobs.errors import DatabaseError
from jobs.models import Notification
from jobs.settings import load_settings
from jobs.store import clock, limits, locks
from runner import doctor
from runner.doctor import Finding, examine
from tests.acceptance.harness import GPU, Installation
from workers.cloud.shapes import Listing


def _examined(installation: Installation, **environ: str) -> dict[str, Finding]:
    return {found.what: found for found in examine(load_settings({**installation.environ, **environ}))}


def test_a_home_that_is_no_folder(installation: Installation) -> None:
    found = _examined(installation, RUNNER_HOME="/dev/null")
    assert not found["home"].ok
    assert found["home"].mend == "Name a folder by RUNNER_HOME."
    assert not found["database"].ok
    assert [found[what].ok for what in ("token", "clock")] == [True, True], "no database is needed for these"
    assert "account" not in found


def test_a_database_that_fails_is_not_the_api(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise DatabaseError("It is damaged.")

    monkeypatch.setattr(limits, "take_ticket", failing)
    found = _examined(installation)
    assert (found["database"].ok, found["database"].detail) == (False, "It is damaged.")
    assert [found[what].ok for what in ("token", "clock")] == [True, True]
    assert "API" not in found


def test_where_nothing_is_wrong(installation: Installation) -> None:
    assert [found.what for found in _examined(installation).values() if not found.ok] == []


def test_a_clock_that_is_wrong_and_one_that_was_set_too_late(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.sim.faults.date_offset_seconds = 3600
    found = _examined(installation)["clock"]
    assert (found.ok, found.mend) == (False, "Set this computer's clock (NTP).")
    installation.sim.faults.date_offset_seconds = 0
    with FileLock(locks.beside(installation.home / "runner.db", locks.SERVICE)):
        with monkeypatch.context() as wrong, installation.quick() as client:
            wrong.setattr(clock, "_wall", lambda: datetime.now(UTC) - timedelta(hours=1))
            client.database.share_clock()  # as a service does when it begins
        found = _examined(installation)["clock"]
    assert not found.ok
    assert "start the service again" in (found.mend or "")


def test_the_guard_token(installation: Installation) -> None:
    found = _examined(installation)["guard"]
    assert (found.ok, found.detail) == (True, "RUNNER_GUARD_TOKEN is not set: no machine ends itself")
    found = _examined(installation, RUNNER_GUARD_TOKEN=installation.sim.token)["guard"]
    assert (found.ok, "could be revoked alone" in found.detail) == (True, True)
    found = _examined(installation, RUNNER_GUARD_TOKEN=installation.sim.read_only_token)["guard"]
    assert (found.ok, found.detail) == (True, "accepted, and not the API token")
    found = _examined(installation, RUNNER_GUARD_TOKEN="revoked")["guard"]
    assert (found.ok, found.mend) == (False, "Make a new API token, and set RUNNER_GUARD_TOKEN to it.")
    token = {"RUNNER_GUARD_TOKEN": installation.sim.token, "RUNNER_HOST_KEYS": "accept-new"}
    found = _examined(installation, **token)["guard"]
    assert (found.ok, "no machine gets it" in found.detail) == (False, True)


def test_a_guard_token_of_another_account(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is accepted, and would end nothing."""
    from workers.cloud.client import Cloud

    def listing(cloud: Cloud, **options: float) -> Listing:
        found = listed(cloud, **options)
        return replace(found, instances=()) if next(order) else found

    installation.up()
    installation.until(installation.submit("sleep 60"), "running")
    guard = {"RUNNER_GUARD_TOKEN": installation.sim.read_only_token}
    assert _examined(installation, **guard)["guard"].ok
    order, listed = iter([False, True]), Cloud.list_instances
    monkeypatch.setattr(Cloud, "list_instances", listing)
    found = _examined(installation, **guard)["guard"]
    assert (found.ok, "of another account" in found.detail) == (False, True)


def test_a_price_that_the_service_has_not_seen_yet(
    served: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = served.ok("submit", *GPU, "--", "sleep 600").strip()
    uuid = served.until(job_id, "running")["attempts"][0]["instance_uuid"]
    assert served.service is not None
    served.service.send_signal(signal.SIGSTOP)
    served.sim.reprice(uuid, 90)
    with monkeypatch.context() as hasty:
        hasty.setattr(doctor, "LOOK_SECONDS", 0)
        found = _examined(served)["account"]
        assert (found.ok, "metered at $0.86/h, listed at $0.90/h" in found.detail) == (False, True)
    served.service.send_signal(signal.SIGCONT)
    assert _examined(served)["account"].ok, "it has looked by then"
    served.ok("cancel", job_id)
    served.final(job_id)


def test_a_notification_that_waits_for_long(installation: Installation) -> None:
    found = _examined(installation)["notify"]
    assert (found.ok, found.detail) == (True, "RUNNER_NOTIFY_URL is not set")
    url = "http://127.0.0.1/secret"
    installation.ok("cancel", installation.submit("true"))
    found = _examined(installation, RUNNER_NOTIFY_URL=url)["notify"]
    assert found.ok, "it may be sent in a moment"
    with installation.quick() as client, client.database.write() as session:
        long_ago = client.database.now(session) - timedelta(hours=1)
        session.execute(update(Notification).values(created_at=long_ago, error="there was no connection"))
    found = _examined(installation, RUNNER_NOTIFY_URL=url)["notify"]
    assert not found.ok
    assert found.detail == (
        "1 notification waiting, the oldest for 1h00m, last error: there was no connection"
    )
    assert "secret" not in f"{found}"
