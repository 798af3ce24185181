"""A coupon is checked before anything is rented with it: nothing is rented at the full price by accident."""

from __future__ import annotations

import json
from dataclasses import replace

from jobs.store import limits
from runner.sim.config import Coupon, SimConfig
from tests.acceptance.conftest import Make
from tests.acceptance.harness import GPU, Installation

ARRANGEMENTS = ("service", "workers")
IN_FULL = ("workers",)


def _refused(served: Installation, *words: str) -> str:
    done = served.run("submit", *words, "--", "true")
    assert (done.returncode, done.stdout) == (2, b""), done
    return done.stderr.decode()


def test_what_is_charged_is_the_price_with_the_coupon(shared: Installation) -> None:
    words = (*GPU, "--coupon", "TestCoupon", "--max-price", "0.80")
    assert "$0.774/h" in shared.ok("submit", *words, "--dry-run", "--", "true")
    found = shared.final(shared.ok("submit", *words, "--", "true").strip())
    (attempt,) = found["attempts"]
    assert (found["state"], found["coupon"]) == ("succeeded", "TestCoupon")
    assert (attempt["price_usd_per_hour"], attempt["full_price_usd_per_hour"]) == ("0.774", "0.86")
    charge = shared.sim.ledger()[attempt["instance_uuid"]]
    assert charge.price_micros_per_hour == 774_000
    said = shared.ok("receipt", found["id"])
    assert "$0.774/h (full price $0.86)" in said
    assert "\ncoupon        TestCoupon\n" in said
    assert json.loads(shared.ok("receipt", found["id"], "--json"))["coupon"] == "TestCoupon"
    shared.receipt_agrees(found)
    shared.nothing_left()


def test_one_that_is_of_no_use_is_refused(shared: Installation) -> None:
    before = len(shared.sim.requests("deployInstance"))
    assert _refused(shared, *GPU, "--coupon", "Nothing") == (
        "runner: There is no coupon 'Nothing' that is valid for anything.\n"
    )
    assert "The coupon 'OldCoupon' was valid until 2020-01-01 00:00 UTC." in _refused(
        shared, *GPU, "--coupon", "OldCoupon"
    )
    assert _refused(shared, "--gpu", "gpu_1x_l40s", "--coupon", "TestCoupon") == (
        "runner: The coupon 'TestCoupon' is not valid for gpu_1x_l40s; it is for gpu_1x_l40, gpu_1x_a6000.\n"
    )
    assert "without spaces" in _refused(shared, *GPU, "--coupon", "two words")
    assert len(shared.sim.requests("deployInstance")) == before


def test_a_product_that_it_is_not_valid_for_is_passed_over(shared: Installation) -> None:
    words = ("--gpu", "gpu_1x_l40s", "--gpu", "gpu_1x_a6000", "--coupon", "TestCoupon")
    found = shared.final(shared.ok("submit", *words, "--", "true").strip())
    assert [attempt["product"] for attempt in found["attempts"]] == ["gpu_1x_a6000"]
    found = shared.final(shared.ok("submit", "--cheapest", "--coupon", "TestCoupon", "--", "true").strip())
    assert [attempt["product"] for attempt in found["attempts"]] == ["gpu_1x_a6000"], "of those it is for"
    shared.nothing_left()


def test_one_that_takes_all_off_is_refused(make: Make) -> None:
    """A price of 0 could not be told from one that is not known."""
    served = make(SimConfig(coupons=(Coupon("Free", "1", (GPU[1],)),)))
    assert _refused(served, *GPU, "--coupon", "Free") == (
        "runner: The coupon 'Free' takes all off, and nothing is rented without a price.\n"
    )


def test_one_that_ends_while_its_job_waits(make: Make) -> None:
    """It is checked again before each deploy."""
    served = make(SimConfig(boot_seconds=0.2, coupons=(Coupon("Soon", "0.5", (GPU[1],)),)))
    job_id = served.ok("submit", *GPU, "--coupon", "Soon", "--", "true").strip()
    served.sim.config.coupons = (Coupon("Soon", "0.5", ("gpu_1x_a6000",)),)
    with served.quick() as client:
        limits.forget(client.database, "coupon:")
    served.up()
    found = served.final(job_id)
    assert (found["state"], found["reason"], found["attempts"]) == ("failed", "coupon", [])
    assert found["detail"] == f"the coupon 'Soon' is not valid for {GPU[1]}; it is for gpu_1x_a6000"
    assert not served.sim.requests("deployInstance")
    assert json.loads(served.ok("receipt", job_id, "--json"))["cost_usd"] == "0.00"


def test_one_that_the_service_forgets_between_check_and_deploy(make: Make) -> None:
    """It charges the full price without a word: then the machine is ended at once, and it is said why."""
    coupon = Coupon("Soon", "0.5", (GPU[1],))
    served = make(SimConfig(boot_seconds=0.2, coupons=(coupon,)))
    job_id = served.ok("submit", *GPU, "--coupon", "Soon", "--", "echo never").strip()
    served.sim.config.coupons = (replace(coupon, products=("gpu_1x_a6000",)),)
    served.up()  # the check of a moment ago holds
    found = served.final(job_id)
    assert (found["state"], found["reason"], found["started_at"]) == ("failed", "coupon", None)
    assert "was not applied: the machine is charged at the full price" in found["detail"]
    assert len(found["attempts"]) == 1
    served.receipt_agrees(found)
    served.nothing_left()
