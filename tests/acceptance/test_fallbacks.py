"""Several products for one job: in order, or the cheapest first, and all under one ceiling."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.conftest import Make
from tests.acceptance.harness import GPU, Installation
from tests.waiting import wait_until

ARRANGEMENTS = ("service", "workers")
IN_FULL = ("workers",)
TWO = ["gpu_1x_h100", "gpu_1x_l40"]


def _products(job: dict[str, object]) -> list[str]:
    return [attempt["product"] for attempt in job["attempts"]]  # type: ignore[attr-defined]


def test_out_of_stock_falls_back_at_once(shared: Installation) -> None:
    """Whether the inventory says so, or only the deploy does."""
    shared.sim.set_stock(TWO[0], 0)
    job = shared.final(shared.submit("true", gpu=TWO))
    assert (job["state"], _products(job), job["products"]) == ("succeeded", [TWO[1]], TWO)
    shared.sim.set_stock(TWO[0], 4)
    shared.sim.faults.add(operation="deployInstance", kind="status", status=400, body="out of stock", times=1)
    job = shared.final(shared.submit("true", gpu=["gpu_1x_l40s", "gpu_1x_a6000"]))
    assert (job["state"], _products(job)) == ("succeeded", ["gpu_1x_a6000"])
    shared.nothing_left()


@pytest.mark.full
def test_where_all_are_out_of_stock_it_waits_for_the_first_that_comes(make: Make) -> None:
    served = make()
    for product in TWO:
        served.sim.set_stock(product, 0)
    served.up()
    job_id = served.submit("true", gpu=TWO)
    with served.quick() as client:
        job = client.get(job_id)
        wait_until(lambda: job.refresh().reason == "no_capacity", what="that it waits")
        assert job.detail == "gpu_1x_h100 and gpu_1x_l40 are out of stock"
    served.sim.set_stock(TWO[1], 1)
    assert _products(served.final(job_id)) == [TWO[1]]
    served.nothing_left()


def test_an_image_that_does_not_fit(shared: Installation) -> None:
    shared.sim.faults.image_refused = [TWO[0]]
    job = shared.final(shared.submit("true", gpu=TWO))
    assert (job["state"], _products(job)) == ("succeeded", [TWO[1]])
    shared.sim.faults.image_refused = TWO
    job = shared.final(shared.submit("true", gpu=TWO))
    assert (job["state"], job["reason"]) == ("failed", "deploy_failed")
    assert _products(job) in ([TWO[0]], [TWO[1]]), "the last that was tried; one may be blocked for a while"
    assert "does not support the VM Image" in job["detail"]
    shared.sim.faults.image_refused = []
    shared.nothing_left()


def test_a_product_that_failed_to_boot_twice(make: Make) -> None:
    served = make(RUNNER_BOOT_TIMEOUT="3s")
    served.sim.faults.boot_never = 2
    served.up()
    job = served.final(served.submit("true", gpu=TWO), timeout=120)
    assert (job["state"], _products(job)) == ("succeeded", [TWO[0], TWO[0], TWO[1]])
    assert [attempt["outcome"] for attempt in job["attempts"]] == [
        "boot_timeout",
        "boot_timeout",
        "exit_code",
    ]
    served.receipt_agrees(job)
    served.nothing_left()


def test_the_cheapest_in_stock(shared: Installation) -> None:
    """Of those that are named, or of all with a GPU but for spot ones, as the inventory has them now."""
    assert _products(shared.final(shared.submit("true", gpu=TWO, cheapest=True))) == [TWO[1]]
    assert _products(shared.final(shared.submit("true", gpu=None, cheapest=True))) == ["gpu_1x_a6000"]
    shared.sim.set_stock("gpu_1x_a6000", 0)
    job = shared.final(shared.ok("submit", "--cheapest", "--max-cost", "5", "--", "true").strip())
    assert (_products(job), job["products"], job["cheapest"]) == ([TWO[1]], [], True)
    shared.sim.set_stock("gpu_1x_a6000", 8)
    shared.nothing_left()


def test_a_dry_run_names_all(shared: Installation) -> None:
    shared.sim.set_stock("gpu_1x_l40s", 0)
    words = ("--gpu", "gpu_1x_l40s", *GPU, "--max-cost", "2", "--dry-run")
    said = shared.ok("submit", *words, "--", "true").splitlines()
    costs = "least cost ${}, worst cost $2.0000, stopped after {} by the ceiling"
    first, second = costs.format("0.0165", "2h00m"), costs.format("0.0144", "2h18m")
    assert said[0] == f"would rent   gpu_1x_l40s (out of stock), $0.99/h, {first}"
    assert said[1] == f"else         gpu_1x_l40 (in stock), $0.86/h, {second}"
    found = json.loads(shared.ok("submit", *words, "--cheapest", "--json", "--", "true"))
    assert (found["product"], found["fallbacks"][0]["product"]) == ("gpu_1x_l40", "gpu_1x_l40s")
    shared.sim.set_stock("gpu_1x_l40s", 8)


def test_a_ceiling_that_only_one_fits_into(shared: Installation) -> None:
    job = shared.final(shared.submit("true", gpu=["gpu_8x_DGX_A100", "gpu_1x_l40"], max_cost="0.10"))
    assert (job["state"], _products(job)) == ("succeeded", ["gpu_1x_l40"])
    done = shared.run("submit", "--gpu", "gpu_8x_DGX_A100", *GPU, "--max-cost", "0.01", "--", "true")
    assert done.returncode == 2
    assert b"whole min of gpu_1x_l40" in done.stderr
    done = shared.run("submit", *GPU, "--gpu", "gpu_1x_l4000", "--", "true")
    assert (done.returncode, b"lists no product 'gpu_1x_l4000'" in done.stderr) == (2, True)
