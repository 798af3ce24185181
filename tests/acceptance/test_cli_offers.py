"""What there is to rent, as a person or a script asks for it: gpus, images, coupon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.sim.config import Coupon, Image, Product, SimConfig
from runner.sim.faults import Rule
from runner.sim.simulator import Simulator
from tests.acceptance.account import FAILED, UNREACHABLE, USAGE, Account, says

NASTY = "\x1b[31mred\x1b[0m\nline\u202e"


@pytest.fixture
def odd_account(tmp_path: Path) -> Iterator[Account]:
    """An account whose products, images and coupons are named to annoy a terminal."""
    config = SimConfig(
        products=(
            Product(f"gpu_1x_l40 {NASTY}", f"1x L40 {NASTY}", 86, 3, region=(NASTY, "")),
            Product("gpu_2x_a100", "2x A100 (80GB)", 202, 0, gpu_count=2),
            Product("gpu_1x_l40_long", "d" * 200, 99, 1),
        ),
        images=(Image(1, f"Ubuntu {NASTY}", NASTY), Image(84, " UBUNTU SERVER 22.04 w/ drivers ")),
        coupons=(Coupon("Odd", "0.333", ("gpu_2x_a100", "gpu_9x_gone")), Coupon("Percent", "10", ())),
    )
    with Simulator(config) as sim:
        yield Account(sim, tmp_path / "a home")


def names(found: Any) -> list[str]:
    return [item["name"] for item in found]


# ---- gpus


def test_what_a_product_comes_to(account: Account) -> None:
    found = {item["name"]: item for item in account.json("gpus")}
    pair = found["gpu_2x_a6000_nvlink"]
    assert (pair["gpu_count"], pair["vram_gb"], pair["price_usd_per_gpu_hour"]) == (2, 48, "0.57")
    assert (pair["in_stock"], pair["regions"], pair["spot"]) == (True, ["us-central-3"], False)
    assert found["gpu_8x_DGX_A100"]["vram_gb"] == 80
    assert found["gpu_1x_a5000_spot"]["spot"] is True
    assert (found["gpu_1x_v100"]["in_stock"], found["gpu_1x_v100"]["capacity"]) == (False, 0)
    cpu = found["cpu_small_amd_epyc"]
    assert (cpu["gpu_count"], cpu["vram_gb"], cpu["price_usd_per_gpu_hour"]) == (0, None, None)


def test_the_keys_of_before_are_still_there(account: Account) -> None:
    before = "name description price_usd_per_hour capacity regions gpu_count vcpus memory_gib storage_gb spot"
    for item in account.json("gpus"):
        assert set(before.split()) <= set(item)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("A6000",), ["gpu_1x_a6000", "gpu_2x_a6000_nvlink"]),
        (("--min-vram", "80"), ["gpu_1x_h100", "gpu_8x_DGX_A100"]),
        (("--gpus", "2"), ["gpu_2x_a6000_nvlink"]),
        (("--gpus", "0"), ["cpu_small_amd_epyc"]),
        (("--max-price", "0.57", "--no-spot", "--in-stock"), ["cpu_small_amd_epyc", "gpu_1x_a6000"]),
        (("--spot",), ["gpu_1x_a5000_spot"]),
        (("a6000", "--sort", "gpus", "--reverse"), ["gpu_2x_a6000_nvlink", "gpu_1x_a6000"]),
        (("--min-vram", "80", "--sort", "price-per-gpu"), ["gpu_8x_DGX_A100", "gpu_1x_h100"]),
    ],
)
def test_filters_and_orders(account: Account, words: tuple[str, ...], wanted: list[str]) -> None:
    assert names(account.json("gpus", *words)) == wanted
    assert [line.split()[0] for line in account.ok("gpus", *words).splitlines()[1:]] == wanted


def test_unknown_is_not_zero(account: Account) -> None:
    account.sim.faults.odd_inventory = True
    bare = {item["name"]: item for item in account.json("gpus")}["gpu_1x_bare"]
    unknown = ("price_usd_per_hour", "price_usd_per_gpu_hour", "capacity", "in_stock", "vram_gb")
    assert {bare[key] for key in unknown} == {None}
    assert "gpu_1x_bare" in names(account.json("gpus", "--in-stock"))
    assert names(account.json("gpus", "--sort", "price", "--reverse"))[-1] == "gpu_1x_bare"
    done = account.run("gpus", "--max-price", "100", "--json")
    assert "gpu_1x_bare" not in names(json.loads(done.stdout))
    assert done.stderr == b"1 product left out: what was asked for is not known of them\n"


def test_nothing_fits(account: Account) -> None:
    assert account.json("gpus", "nothing like it") == []
    done = account.run("gpus", "nothing like it")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"None of the 9 products" in done.stderr


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--sort", "speed"), "--sort"),
        (("--min-vram", "0"), "--min-vram"),
        (("--min-vram", "lots"), "--min-vram"),
        (("--gpus", "-1"), "--gpus"),
        (("--max-price", "0"), "--max-price"),
        (("--max-price", "$1"), "--max-price"),
        (("--max-price", "1", "--max-price", "2"), "only once"),
        (("a100", "h100"), "h100"),
    ],
)
def test_gpus_used_wrongly(account: Account, words: tuple[str, ...], part: str) -> None:
    says(account.run("gpus", *words), USAGE, part)
    assert account.sim.requests() == ()


def test_names_that_would_move_a_cursor(odd_account: Account) -> None:
    for command in ("gpus", "images"):
        text = odd_account.ok(command)
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert len(odd_account.ok("gpus").splitlines()) == 4
    done = odd_account.run("gpus", environ={"COLUMNS": "20"})
    assert b"d" * 200 in done.stdout, "neither cut nor wrapped off a terminal"


# ---- images


def test_the_default_image_is_marked(account: Account) -> None:
    assert [item["id"] for item in account.json("images") if item["default"]] == [84]
    (line,) = [line for line in account.ok("images").splitlines() if line.split()[0] == "84"]
    assert " yes " in line
    account.environ["RUNNER_IMAGE"] = "184"
    assert [item["id"] for item in account.json("images") if item["default"]] == [184]


def test_images_by_a_part_of_their_names(account: Account) -> None:
    assert names(account.json("images", "DESKTOP")) == ["Ubuntu Desktop 22.04"]
    assert account.json("images", "windows") == []
    done = account.run("images", "windows")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"None of the 3 images" in done.stderr


def test_a_default_image_in_other_letters_and_one_that_is_not_there(odd_account: Account) -> None:
    assert [item["id"] for item in odd_account.json("images") if item["default"]] == [84]
    done = odd_account.run("images", "--json", environ={"RUNNER_IMAGE": "Plan 9"})
    assert not any(item["default"] for item in json.loads(done.stdout))
    assert b"'Plan 9' (RUNNER_IMAGE)" in done.stderr


# ---- coupon


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("prices", ["string", "number"])
def test_a_coupon(account: Account, nested: bool, prices: Any) -> None:
    account.sim.faults.change({"nested_coupon_lists": nested, "prices_as": prices})
    account.sim.set_stock("gpu_1x_a6000", 0)
    found = account.json("coupon", "TestCoupon")
    assert (found["code"], found["discount"], found["expired"]) == ("TestCoupon", "0.1", False)
    assert found["expires_at"] == "2099-01-01T00:00:00.000Z"
    assert [
        (item["name"], item["price_usd_per_hour"], item["coupon_price_usd_per_hour"], item["in_stock"])
        for item in found["products"]
    ] == [("gpu_1x_l40", "0.86", "0.774", True), ("gpu_1x_a6000", "0.57", "0.513", False)]
    first, _, *lines = account.ok("coupon", "TestCoupon").splitlines()
    assert first == "TestCoupon: 10% off, until 2099-01-01T00:00:00.000Z"
    assert [line.split()[:4] for line in lines] == [
        ["gpu_1x_l40", "0.86", "0.774", "yes"],
        ["gpu_1x_a6000", "0.57", "0.513", "no"],
    ]


def test_a_coupon_that_is_over(account: Account) -> None:
    found = account.json("coupon", "OldCoupon")
    assert found["expired"] is True
    (item,) = found["products"]
    assert item["price_usd_per_hour"] == item["coupon_price_usd_per_hour"] == "0.86"
    assert "not valid any more since 2020-01-01" in account.ok("coupon", "OldCoupon")


def test_odd_coupons(odd_account: Account) -> None:
    pair = {item["name"]: item for item in odd_account.json("coupon", "Odd")["products"]}["gpu_2x_a100"]
    assert (pair["price_usd_per_hour"], pair["coupon_price_usd_per_hour"]) == ("2.02", "1.34734")
    percent = odd_account.json("coupon", "Percent")
    assert (percent["discount"], percent["products"]) == (None, [])
    done = odd_account.run("coupon", "Percent")
    assert b"an unknown discount off" in done.stdout
    assert b"no product" in done.stderr


def test_an_unknown_coupon(account: Account) -> None:
    says(account.run("coupon", "nope"), FAILED, "knows no coupon 'nope'")
    says(account.run("coupon", "nope", "--json"), FAILED, "knows no coupon 'nope'")
    account.sim.faults.add(Rule(operation="getCouponProducts", status=400, body="Invalid coupon", times=1))
    says(account.run("coupon", "TestCoupon"), FAILED, "Invalid coupon")


@pytest.mark.parametrize("words", [(), ("",), (" ",), ("x" * 101,), ("a\x1b[31m",)])
def test_what_can_be_no_coupon(account: Account, words: tuple[str, ...]) -> None:
    done = account.run("coupon", *words)
    says(done, USAGE, "ODE" if not words else "code of a coupon")
    assert account.sim.requests() == ()


def test_a_read_only_token_is_enough(account: Account) -> None:
    account.environ["MASSED_COMPUTE_API_KEY"] = account.sim.read_only_token
    for words in (("gpus",), ("images",), ("coupon", "TestCoupon")):
        assert account.json(*words)


def test_a_wrong_token(account: Account) -> None:
    account.environ["MASSED_COMPUTE_API_KEY"] = "not-the-token"
    done = account.run("coupon", "TestCoupon")
    says(done, UNREACHABLE, "refused the API token")
    assert b"not-the-token" not in done.stderr
