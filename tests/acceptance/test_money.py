"""What a job may cost, on machines of a simulated cloud: prices that are too high, or rise; the receipt."""

from __future__ import annotations

import json
from datetime import datetime

from jobs.store import limits
from tests.acceptance.conftest import Make
from tests.acceptance.harness import GPU, Installation
from tests.waiting import wait_until

ARRANGEMENTS = ("service", "workers")
IN_FULL = ("workers",)
PRODUCT = GPU[1]
STUBBORN = "trap '' TERM; echo on; while true; do sleep 0.1; done"


def _prices(served: Installation, cents: int) -> None:
    """Another price for what is rented from now on, which everybody knows at once."""
    served.sim.set_price(PRODUCT, cents)
    with served.quick() as client:
        limits.forget(client.database, "inventory")


def test_a_product_that_is_too_dear_is_waited_for(shared: Installation) -> None:
    _prices(shared, 150)
    words = (*GPU, "--max-price", "1.20")
    plan = shared.ok("submit", *words, "--dry-run", "--", "true")
    assert "$1.50/h, least cost $0.0250, worst cost" in plan
    assert "waits until it costs less" in plan
    job_id = shared.ok("submit", *words, "--", "true").strip()
    with shared.quick() as client:
        job = client.get(job_id)
        wait_until(lambda: job.refresh().reason == "waiting_for_price", what="that it waits")
        assert job.detail == f"{PRODUCT} costs $1.50 an hour, more than its max-price of $1.20"
    assert not shared.sim.requests("deployInstance") or not shared.show(job_id)["attempts"]
    _prices(shared, 119)
    found = shared.final(job_id)
    assert (found["state"], found["attempts"][0]["price_usd_per_hour"]) == ("succeeded", "1.19")
    shared.nothing_left()


def test_what_a_dry_run_says_of_what_would_not_be_rented(shared: Installation) -> None:
    two = "gpu_2x_a6000_nvlink"
    _prices(shared, 86)
    words = ("submit", "--gpu", two, *GPU, "--max-cost", "0.044", "--grace", "29s", "--dry-run")
    said = shared.ok(*words, "--", "true").splitlines()
    assert said[0].startswith(f"would rent   {PRODUCT} (in stock), $0.86/h, least cost $0.0144, worst cost")
    assert said[1].startswith(f"else         {two} (passed over: the ceiling does not pay for it), $")
    assert "grace        29s" in said
    shared.ok("budget", "set", "small", "0.05")
    words = ("submit", *GPU, "--max-cost", "0.05", "--budget", "small", "--dry-run")
    assert "budget       small, $0.05 left of $0.05" in shared.ok(*words, "--", "true").splitlines()
    job_id = shared.ok(*words[:-1], "--", "sleep 60").strip()
    shared.until(job_id, "running")
    said = shared.ok(*words, "--", "true").splitlines()
    assert "budget       small, $0.00 left of $0.05; the job may cost $0.05, so it would wait" in said
    assert json.loads(shared.ok(*words, "--json", "--", "true"))["budget_left_usd"] == "0.00"
    shared.ok("cancel", job_id)
    shared.final(job_id)
    shared.ok("budget", "rm", "small")
    shared.nothing_left()


def test_a_product_beyond_the_burn_limit_is_passed_over(make: Make) -> None:
    served = make(RUNNER_MAX_BURN="0.80")
    served.up()
    said = served.ok("submit", *GPU, "--dry-run", "--", "true")
    assert said.startswith(
        f"would wait   {PRODUCT} (passed over: RUNNER_MAX_BURN allows $0.80 an hour), $0.86/h"
    )
    both = served.ok("submit", *GPU, "--gpu", "gpu_1x_a6000", "--", "true").strip()
    alone = served.ok("submit", *GPU, "--", "true").strip()
    assert [attempt["product"] for attempt in served.final(both)["attempts"]] == ["gpu_1x_a6000"]
    with served.quick() as client:
        job = client.get(alone)
        wait_until(lambda: job.refresh().reason == "waiting_for_slot", what="that it waits")
        assert job.detail == f"{PRODUCT} alone costs $0.86 an hour, and RUNNER_MAX_BURN allows $0.80"
    served.ok("cancel", alone)
    served.nothing_left()


def test_a_machine_that_is_dearer_than_announced_is_ended_at_once(shared: Installation) -> None:
    _prices(shared, 86)
    shared.ok("submit", *GPU, "--dry-run", "--", "true")  # now everybody knows the price, which rises then
    shared.sim.set_price(PRODUCT, 500)
    found = shared.final(shared.ok("submit", *GPU, "--max-price", "1", "--", "echo never").strip())
    assert (found["state"], found["reason"], found["started_at"]) == ("failed", "deploy_failed", None)
    assert found["detail"] == "the machine costs $5.00 an hour, more than its max-price of $1.00"
    assert len(found["attempts"]) == 1, "it is not rented again"
    shared.receipt_agrees(found)
    shared.nothing_left()
    _prices(shared, 86)


def test_a_price_that_rises_stops_the_command_and_is_on_the_receipt(shared: Installation) -> None:
    _prices(shared, 86)
    job_id = shared.ok("submit", *GPU, "--max-price", "1", "--", "echo on; sleep 600").strip()
    uuid = shared.until(job_id, "running")["attempts"][0]["instance_uuid"]
    shared.sim.reprice(uuid, 6000)
    found = shared.final(job_id)
    assert (found["state"], found["reason"], found["exit_code"]) == ("expired", "max_cost", 143)
    assert (
        found["detail"]
        == f"stopped, because {PRODUCT} costs $60.00 an hour, more than its max-price of $1.00"
    )
    assert shared.log(job_id) == b"on\n"
    receipt = json.loads(shared.ok("receipt", job_id, "--json"))
    (attempt,) = receipt["attempts"]
    assert attempt["price_usd_per_hour"] == "60.00"
    bill = shared.sim.ledger()[uuid].cost_micros
    assert round(float(receipt["cost_usd"]) * 1e6) >= bill
    shared.nothing_left()


def test_the_parts_of_a_receipt_are_the_whole(shared: Installation) -> None:
    _prices(shared, 101)
    shared.sim.faults.boot_fails = 1
    job_id = shared.ok("submit", *GPU, "--max-cost", "3", "--", "exit 7").strip()
    found = shared.final(job_id)
    assert [attempt["outcome"] for attempt in found["attempts"]] == ["deploy_failed", "exit_code"]
    receipt = json.loads(shared.ok("receipt", job_id, "--json"))
    with shared.quick() as client:
        assert client.get(job_id).receipt() == receipt
    phases = [phase for attempt in receipt["attempts"] for phase in attempt["phases"].values()]
    micros = [round(float(part["cost_usd"]) * 1e6) for part in [*phases, receipt["strays"]]]
    assert sum(micros) == round(float(receipt["cost_usd"]) * 1e6) > 0
    assert sum(part["minutes"] for part in phases) == sum(a["minutes"] for a in found["attempts"])
    assert receipt["failures_usd"] == receipt["cost_usd"], "it did not succeed"
    assert (receipt["max_cost_usd"], receipt["max_cost_source"]) == ("3.00", "--max-cost")
    assert receipt["overrun_usd"] == "0.00"
    said = shared.ok("receipt", job_id)
    assert said.splitlines()[1].split() == [
        "attempt", "product", "price", "booting", "running", "finishing", "billed", "cost"
    ]  # fmt: skip
    assert f"sum           ${receipt['cost_usd']}" in said
    assert "ceiling       $3.00 (--max-cost)" in said
    assert shared.ok("show", job_id).endswith(said), "`show` ends with it"
    shared.receipt_agrees(found)
    shared.nothing_left()


def test_who_does_not_end_in_its_grace_is_killed(shared: Installation) -> None:
    words = (*GPU, "--max-runtime", "1s", "--grace", "2s")
    found = shared.final(shared.ok("submit", *words, "--", STUBBORN).strip())
    assert (found["reason"], found["exit_code"], found["grace_seconds"]) == ("max_runtime", 137, 2)
    (attempt,) = found["attempts"]
    assert attempt["log"] == "sealed"
    late = datetime.fromisoformat(attempt["ended_at"]) - datetime.fromisoformat(attempt["deadline_at"])
    assert late.total_seconds() < 30, "which is the grace of who names none"
    shared.nothing_left()


def test_idle_gpus_end_it_and_the_samples_are_told(shared: Installation) -> None:
    words = ("--gpu", "gpu_2x_a6000_nvlink", "--idle-timeout", "10s")
    found = shared.final(shared.ok("submit", *words, "--", "echo on; sleep 600").strip())
    assert (found["state"], found["reason"], found["exit_code"]) == ("expired", "idle", 143)
    assert found["idle_timeout_seconds"] == 10
    said = "stopped after 10s in which its GPUs did nothing and it wrote nothing; how busy they were"
    assert found["detail"].startswith(said)
    assert found["detail"].endswith("0,0 0,0 0,0 0,0 0,0")
    assert shared.log(found["id"]) == b"on\n"
    shared.nothing_left()


def test_where_nobody_can_tell_whether_they_are_idle_it_is_refused(shared: Installation) -> None:
    done = shared.run("submit", "--gpu", "cpu_small_amd_epyc", "--idle-timeout", "1m", "--", "true")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"cpu_small_amd_epyc has no GPU that could be idle" in done.stderr
    shared.sim.faults.drivers = False
    found = shared.final(shared.ok("submit", *GPU, "--idle-timeout", "1m", "--", "echo never").strip())
    assert (found["state"], found["reason"], found["started_at"]) == ("failed", "deploy_failed", None)
    assert "the machine has no nvidia-smi" in found["detail"]
    assert len(found["attempts"]) == 1
    shared.sim.faults.drivers = True
    shared.nothing_left()
