"""What a dry run says of a product."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from jobs.store.catalog import Offer
from runner.cli import plan
from tests.conformance.store_kit import spec

SETTINGS = SimpleNamespace(billing_minimum_minutes=0, max_burn=None, boot_timeout=900)


def test_a_product_of_which_the_inventory_tells_no_price_is_passed_over() -> None:
    client = cast(Any, SimpleNamespace(settings=SETTINGS))
    told = plan._choice(client, spec(), "gpu_1x_l40", Offer("gpu_1x_l40", None, 3, 1))
    assert told["passed_over"] == "the inventory tells no price for it"
    unknown = plan._choice(client, spec(), "gpu_1x_l40", None)
    assert unknown["passed_over"] is None
