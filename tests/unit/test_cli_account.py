"""What the commands about the account make of answers that no simulated service gives."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from jobs.errors import InvalidJob, NoAnswer
from jobs.store.spend import Spend
from runner.cli import account, api, keys, offers
from workers.cloud.shapes import Coupon, CouponProduct, Product, SshKey

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
TWINS = (SshKey("1", "twin", ""), SshKey("2", "twin", "not a key"))


def test_time_is_for_all_calls_together(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(api.time, "monotonic", lambda: now)
    left = api.time_left(20)
    assert left() == 20
    now = 119.0
    assert left() == 1
    now = 120.0
    with pytest.raises(NoAnswer, match="within 20 s"):
        left()


def test_two_keys_of_one_name_are_told_apart_by_their_ids() -> None:
    with pytest.raises(InvalidJob, match=r"by its id: 1, 2"):
        keys._find(TWINS, "twin")
    assert keys._find(TWINS, "2").id == "2"


def test_a_list_that_does_not_show_the_keys() -> None:
    for key in TWINS:
        assert keys._key_json(key, None)["fingerprint"] is None
    line = "ssh-ed25519 AAAA"
    named = SshKey("3", keys.account_key_name(line), "")
    assert [keys._is_ours(key, line) for key in (*TWINS, named)] == [False, False, True]
    assert not keys._is_ours(named, None)


@pytest.mark.parametrize(("day", "expired"), [(NOW, True), (NOW.replace(year=2027), False), (None, None)])
def test_when_a_coupon_ends(day: datetime | None, expired: bool | None) -> None:
    assert offers._coupon_json(Coupon("C", "0.1", day), (), {}, NOW)["expired"] is expired


@pytest.mark.parametrize(
    ("listed", "said", "full", "after", "in_stock"),
    [
        (None, 500_000, "0.50", "0.45", None),  # the inventory does not hold it any more
        (1_000_000, 500_000, "1.00", "0.90", True),
        (None, None, None, None, None),
    ],
)
def test_prices_of_a_coupon(
    listed: int | None, said: int | None, full: str | None, after: str | None, in_stock: bool | None
) -> None:
    offer = Product("p", "", listed, 3, (), None, None, None)
    inventory = {} if listed is None else {"p": offer}
    named = (CouponProduct("p", "", said, None), CouponProduct("p", "", said, None))
    (item,) = offers._coupon_json(Coupon("C", "0.1", None), named, inventory, NOW)["products"]
    assert (item["price_usd_per_hour"], item["coupon_price_usd_per_hour"]) == (full, after)
    assert item["in_stock"] is in_stock


def test_a_spend_without_any_price_is_not_known() -> None:
    assert account._sum(Spend(0, 0, 0, False)) == "0.00"
    assert account._sum(Spend(0, 2, 2, False)) is None
    assert account._sum(Spend(5, 3, 2, True)) == "0.000005"
    text = account._spend_text(
        {
            "database": "db",
            "total_usd": "0.0001",
            "month_usd": None,
            "month_start": "2026-11-01T00:00:00.000Z",
            "machines": 3,
            "unpriced_machines": 2,
            "estimated": True,
        },
        usable=True,
    )
    assert text == (
        "$0.0001 in all; since 2026-11-01: not known; 3 machines of db; in part estimated; "
        "not in it: 2 machines at an unknown price"
    )
