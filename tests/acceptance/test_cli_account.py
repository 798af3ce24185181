"""The account's token, recharge settings and spend; and the restart of machines, with jobs on them or not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobs import money
from runner.sim.faults import Rule
from tests.acceptance.account import FAILED, UNREACHABLE, USAGE, Account, says
from tests.acceptance.harness import Installation
from tests.waiting import wait_until

UNKNOWN = "8b52a46b-a892-4fde-925c-6d13226908f7"

# ---- account


@pytest.mark.parametrize("prices", ["string", "number"])
def test_an_account_without_a_database(account: Account, prices: Any) -> None:
    account.sim.faults.prices_as = prices
    assert account.json("account") == {
        "api_url": account.sim.url,
        "token": {"valid": True, "read_only": None},
        "recharge": {"method": "creditcard", "threshold_usd": "10.00", "amount_usd": "20.00"},
        "spend": None,
    }
    text = account.ok("account")
    assert "$20.00 when less than $10.00 is left, by creditcard" in text
    assert "spend     not known: there is no database yet" in text
    assert not account.home.exists()


def test_a_read_only_token_cannot_be_told_without_using_it(account: Account) -> None:
    """It is accepted like any other, and nothing is tried with it."""
    account.environ["MASSED_COMPUTE_API_KEY"] = account.sim.read_only_token
    assert account.json("account")["token"] == {"valid": True, "read_only": None}
    assert {entry.operation for entry in account.sim.requests()} == {"validateToken", "getBilling"}
    text = account.ok("account")
    assert "whether it may write shows when it is used" in text
    assert account.sim.read_only_token not in text


@pytest.mark.parametrize("token", ["", "not-the-token"])
def test_a_token_that_is_refused(account: Account, token: str) -> None:
    done = account.run("account", "--json", environ={"MASSED_COMPUTE_API_KEY": token})
    says(done, UNREACHABLE, "API token")
    assert b"not-the-token" not in done.stderr


def test_no_recharge_settings(account: Account) -> None:
    account.sim.faults.no_recharge_settings = True
    assert account.json("account")["recharge"] is None
    assert "no settings: Massed Compute rents nothing without them (402)" in account.ok("account")


def test_a_database_that_cannot_be_used_hides_nothing_else(account: Account) -> None:
    account.home.mkdir()
    (account.home / "runner.db").write_bytes(b"this is not a database at all" * 100)
    done = account.run("account", "--json")
    assert done.returncode == UNREACHABLE
    assert json.loads(done.stdout)["spend"] is None
    assert b"is not a database" in done.stderr
    assert b"spend     not known: the database cannot be used" in account.run("account").stdout
    done = account.run("account", environ={"RUNNER_DATABASE_URL": "sqlite:///:memory:"})
    assert (done.returncode, b"recharge  $20.00" in done.stdout) == (USAGE, True)


def test_the_spend_of_an_empty_database(installation: Installation) -> None:
    assert installation.jobs() == []  # which makes it
    spend = json.loads(installation.ok("account", "--json"))["spend"]
    assert (spend["total_usd"], spend["month_usd"], spend["machines"]) == ("0.00", "0.00", 0)


# ---- restart


def test_restart(account: Account) -> None:
    one, two = account.rent("one", "two")
    done = account.run("restart", one, two, one)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines() == [f"restarted one ({one})", f"restarted two ({two})"]
    assert b"the disk stays as it is; every process is killed" in done.stderr
    assert len(account.sim.requests("restartInstances")) == 1
    assert account.live() == {one, two}
    assert not account.home.exists()


def test_restart_of_an_unknown_machine_restarts_the_others(account: Account) -> None:
    (uuid,) = account.rent("one")
    done = account.run("restart", UNKNOWN, uuid, "--json")
    assert done.returncode == FAILED
    (found,) = json.loads(done.stdout)
    assert (found["uuid"], found["restarted"], found["job"]) == (uuid, True, None)
    assert f"there is no machine {UNKNOWN}" in done.stderr.decode()
    says(account.run("restart", UNKNOWN), FAILED, f"there is no machine {UNKNOWN}")


def test_restart_says_what_was_not_confirmed(account: Account) -> None:
    one, two = account.rent("one", "two")
    account.sim.faults.restart_omits = 1
    done = account.run("restart", one, two)
    assert done.returncode == FAILED
    assert done.stdout.decode() == f"restarted two ({two})\n"
    assert f"did not confirm the restart of {one}" in done.stderr.decode()


def test_a_restart_without_an_answer_may_have_happened(account: Account) -> None:
    (uuid,) = account.rent("one")
    account.sim.faults.add(Rule(operation="restartInstances", kind="lost", times=1))
    done = account.run("restart", uuid)
    assert (done.returncode, done.stdout) == (UNREACHABLE, b"")
    assert b"may have happened all the same" in done.stderr
    assert len(account.sim.requests("restartInstances")) == 1


def test_restart_of_a_machine_that_is_over(account: Account) -> None:
    (uuid,) = account.rent("one")
    account.sim.faults.terminated_listed_seconds = 600
    account.ok("terminate", uuid)
    says(account.run("restart", uuid), FAILED, f"one ({uuid}) is terminated already")


def test_a_read_only_token_restarts_nothing(account: Account) -> None:
    (uuid,) = account.rent("one")
    account.environ["MASSED_COMPUTE_API_KEY"] = account.sim.read_only_token
    says(account.run("restart", uuid), UNREACHABLE, "may only read")


@pytest.mark.parametrize("words", [(), ("../../etc",), ("",), ("a b",), tuple(f"u{n}" for n in range(101))])
def test_restart_wants_uuids(account: Account, words: tuple[str, ...]) -> None:
    says(account.run("restart", *words), USAGE, "100 machines" if len(words) > 100 else "UUID")
    assert account.sim.requests() == ()


def test_restart_where_the_database_cannot_be_used(account: Account) -> None:
    (uuid,) = account.rent("one")
    account.home.mkdir()
    (account.home / "runner.db").write_bytes(b"this is not a database at all" * 100)
    done = account.run("restart", uuid)
    assert (done.returncode, done.stdout.decode()) == (0, f"restarted one ({uuid})\n")
    assert b"whether a job runs there is not known" in done.stderr
    done = account.run("restart", uuid, environ={"RUNNER_DATABASE_URL": "sqlite:///:memory:"})
    assert (done.returncode, done.stdout.decode()) == (0, f"restarted one ({uuid})\n")
    assert b"must name a file" in done.stderr


def test_a_machine_on_which_a_job_runs(served: Installation) -> None:
    """It is refused, unless by force; then the job ends as lost, and what it cost is the account's spend."""
    job_id = served.submit("sleep 600")
    job = served.until(job_id, "running")
    (attempt,) = job["attempts"]
    uuid = attempt["instance_uuid"]
    refused = served.run("restart", uuid)
    assert (refused.returncode, refused.stdout) == (FAILED, b"")
    assert f"job {job_id} runs on {attempt['instance_name']}" in refused.stderr.decode()
    assert served.sim.requests("restartInstances") == ()
    done = served.run("restart", "--force", uuid, "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert (found["restarted"], found["job"]) == (True, job_id)
    assert f"job {job_id} ran on" in done.stderr.decode()
    job = served.final(job_id)
    assert (job["state"], job["reason"]) == ("failed", "lost")
    wait_until(lambda: not served.sim.instances(), what="the end of the machine")
    spend = json.loads(served.ok("account", "--json"))["spend"]
    assert spend["total_usd"] == spend["month_usd"] == job["cost_usd"]
    assert (spend["machines"], spend["unpriced_machines"]) == (1, 0)
    assert money.parse_usd(spend["total_usd"], "spend") > 0
    assert f"${job['cost_usd']} in all" in served.ok("account")
