"""Faults: counted, validated, changed from any thread; and the bill's arithmetic."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from pydantic import ValidationError

from runner.sim import ALWAYS, Charge, Faults, Ledger, Rule
from runner.sim.faults import Operation
from runner.sim.ledger import billed_minutes, dollars, stamp

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def test_a_count_strikes_so_often() -> None:
    faults = Faults(quota=2)
    assert [faults.take("quota") for _ in range(4)] == [True, True, False, False]
    faults.quota = ALWAYS
    assert all(faults.take("quota") for _ in range(5))
    faults.quota = 0
    assert not faults.take("quota")


def test_counts_are_exact_between_threads() -> None:
    faults = Faults(quota=200)
    struck: list[bool] = []
    threads = [
        threading.Thread(target=lambda: struck.extend(faults.take("quota") for _ in range(100)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert struck.count(True) == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quota", -2),
        ("quota", "x"),
        ("quota", True),
        ("quota", 10**12),
        ("ssh", "slow"),
        ("nonsense", 1),
        ("boot_seconds", float("inf")),
        ("date_offset_seconds", float("nan")),
        ("date_offset_seconds", 1e300),
        ("listing_lag_seconds", 1e300),
        ("ssh_drop_after_bytes", 2**80),
        ("rate_limit", 0),
        ("booting_status", "\ud800"),
        ("rules", [{"operation": "*", "retry_after": "1\r\nx: y"}]),
        ("rules", [{"operation": "*", "seconds": float("inf")}]),
        ("rules", [{"operation": "*", "body": [float("nan")]}]),
        ("rules", [{"operation": "*", "body": "\ud800"}]),
        ("rules", [{"operation": "*", "body": json.loads("[" * 200 + "]" * 200)}]),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, value: object) -> None:
    faults = Faults()
    with pytest.raises(ValueError, match=name):
        setattr(faults, name, value)
    with pytest.raises(ValidationError):
        faults.change({name: value, "payment_required": 1})
    assert faults.model_dump() == Faults().model_dump()


def test_rules_strike_in_order_at_their_rate() -> None:
    faults = Faults()
    faults.add(operation="deployInstance", status=429, times=1)
    faults.add(Rule(operation="*", status=500, times=1))
    faults.add(operation="*", status=501, rate=0)
    first, second = faults.rule_for("deployInstance"), faults.rule_for("deployInstance")
    assert first is not None
    assert second is not None
    assert (first.status, second.status) == (429, 500)
    assert faults.rule_for("deployInstance") is None


def test_clear_forgets_everything() -> None:
    faults = Faults(quota=3, ssh="drop", listing_hidden=["x"])
    faults.add(operation="*")
    faults.clear()
    assert faults.model_dump() == Faults().model_dump()


def test_a_watcher_hears_of_assignments() -> None:
    heard: list[str] = []
    faults = Faults()
    faults.watch(heard.append)
    faults.ssh = "refuse"
    faults.change({"quota": 1, "ssh": "ok"})
    assert heard == ["ssh", "quota", "ssh"]


def test_a_rule_names_an_operation_that_exists() -> None:
    with pytest.raises(ValidationError):
        Rule(operation="deploy")
    assert len(get_args(Operation)) == 15


@pytest.mark.parametrize(
    ("seconds", "minimum", "minutes"),
    [
        (0, 0, 1),
        (0.1, 0, 1),
        (60, 0, 1),
        (60.001, 0, 2),
        (3599, 0, 60),
        (3600, 0, 60),
        (61, 60, 60),
        (-5, 0, 1),
    ],
)
def test_each_started_minute_counts_whole(seconds: float, minimum: int, minutes: int) -> None:
    assert billed_minutes(START, START + timedelta(seconds=seconds), minimum) == minutes


def test_fractions_carry_over_in_the_total() -> None:
    charge = Charge("u", "n", "p", 1_000_000, START, None, 1)
    assert charge.cost_micros == 16_667
    ledger = Ledger((charge, charge, charge))
    assert ledger.total_micros == 50_000
    assert ledger.minutes == 3
    assert ledger["u"] == charge
    assert ledger.named("n") == (charge,) * 3
    with pytest.raises(KeyError):
        ledger["v"]
    assert ledger.as_json()["total_usd"] == "0.050000"


def test_how_money_and_times_are_written() -> None:
    assert dollars(990_000) == "0.990000"
    assert dollars(18_800_001) == "18.800001"
    assert stamp(START) == "2026-11-23T09:00:00.000Z"
