"""What the service says is read tolerantly: whatever stands in an answer, what makes sense in it is found."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties import examples as all_examples
from workers.cloud import shapes

examples = settings(all_examples, max_examples=150)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(
        ["", " ", "0", "-1", "1e999", "NaN", "\x1b[31m", "\ud800", "9" * 5000, "gpu_1x_l40", "active"]
    )
)
NAMES = st.sampled_from(sorted({*re.findall(r'"([a-z]\w+)"', inspect.getsource(shapes)), "gpu_1x_l40"}))
BODIES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=8),
    max_leaves=30,
)
READERS: list[Callable[[Any], object]] = [
    shapes.products,
    shapes.images,
    shapes.instances,
    shapes.instance,
    lambda body: shapes.one_instance(body, "x"),
    shapes.acknowledged,
    shapes.restarted,
    shapes.added_key,
    shapes.ssh_keys,
    shapes.coupon,
    shapes.coupon_validation,
    shapes.coupon_products,
    shapes.billing,
]
MACHINE = {
    "uuid": "8b52a46b-a892-4fde-925c-6d13226908f7",
    "name": "rn-x",
    "ip": "10.1.2.3",
    "ssh_port": 22,
    "username": "Ubuntu",
    "password": "hunter2",
    "status": "rented",
    "os_booted": 1,
    "command_startup": "printf secret",
    "created": "2024-08-07T16:41:43.000Z",
    "product": {"name": "gpu_1x_l40", "price_hr": "0.990000", "final_price_hr": "0.891000"},
}


def machine(**changes: object) -> shapes.Instance:
    """The machine with some fields changed."""
    found = shapes.instance(MACHINE | changes)
    assert found is not None
    return found


@examples
@given(BODIES)
def test_no_body_makes_a_reader_stumble(body: Any) -> None:
    for read in READERS:
        repr(read(body)).encode()  # no lone surrogate either: what was read can be stored and printed
        read({"runningInstances": body, "gpu_inventory": body, "images": body, "sshKeys": body})
        read({"couponValidation": {"coupon": body, "productDetails": body}})


def test_no_number_is_too_large() -> None:
    huge = 10**5000  # more digits than Python writes out
    assert machine(ssh_port=huge, name=huge, ip=huge, product={"price_hr": huge, "name": huge}).name == ""


@examples
@given(st.lists(BODIES, max_size=6), st.integers(0, 6))
def test_one_bad_item_never_hides_the_others(items: list[Any], place: int) -> None:
    items.insert(place, MACHINE)
    read = shapes.instances({"runningInstances": items})
    assert read is not None
    found, complete = read
    assert MACHINE["uuid"] in {instance.uuid for instance in found}
    assert complete == all(shapes.instance(item) is not None for item in items)


@examples
@given(st.dictionaries(st.sampled_from([key for key in MACHINE if key != "uuid"]), BODIES))
def test_a_machine_with_a_uuid_is_always_seen(changes: dict[str, Any]) -> None:
    """Whatever else is wrong with it, it can be terminated: it is charged all the same."""
    found = machine(**changes)
    assert found.uuid == MACHINE["uuid"]
    assert found.price_micros_per_hour is None or found.price_micros_per_hour > 0
    assert found.ssh_port is None or 0 < found.ssh_port < 65536


def test_what_lets_someone_in_is_not_kept() -> None:
    assert "hunter2" not in repr(machine())
    assert not [value for value in vars(machine()).values() if value in ("hunter2", "printf secret")]
    assert machine(password=12345) == machine()


@pytest.mark.parametrize(
    ("status", "ready", "terminal", "failed", "stopped"),
    [
        *(
            (word, True, False, False, False)
            for word in ("running", "rented", "active", "Rented", " ACTIVE ")
        ),
        *((word, False, True, False, False) for word in ("terminated", "deleted", "Terminated")),
        *((word, False, False, True, False) for word in ("failed", "error", "Error")),
        ("Stopped", False, False, False, True),
        *(
            (word, False, False, False, False)
            for word in ("Initializing", "booting", "stopping", "deleting", "", "😀")
        ),
        (None, False, False, False, False),
    ],
)
def test_words_of_status(
    status: str | None, ready: bool, terminal: bool, failed: bool, stopped: bool
) -> None:
    found = machine(status=status)
    assert (found.ready, found.terminal, found.failed, found.stopped) == (ready, terminal, failed, stopped)


@pytest.mark.parametrize(
    "changes", [{"os_booted": 0}, {"os_booted": None}, {"ip": ""}, {"ip": None}, {"ip": "pending"}]
)
def test_ready_takes_all_three_signs(changes: dict[str, object]) -> None:
    assert not machine(**changes).ready


@pytest.mark.parametrize("booted", [1, True, "1", 1.0])
def test_booted_in_any_spelling(booted: object) -> None:
    assert machine(os_booted=booted).ready


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("10.1.2.3", "10.1.2.3"),
        (" 10.1.2.3 ", "10.1.2.3"),
        ("2001:db8::1", "2001:db8::1"),
        ("vm-7.example.com", "vm-7.example.com"),
        ("0.0.0.0", None),
        ("null", None),
        ("10.1.2", None),
        ("-oProxyCommand=x", None),
        ("a b.c", None),
        (7, None),
    ],
)
def test_an_address_is_one_or_none(address: object, wanted: str | None) -> None:
    assert machine(ip=address).ip == wanted


@pytest.mark.parametrize(
    ("final", "full", "wanted"),
    [
        ("0.891000", "0.990000", 891_000),
        (0.891, 0.99, 891_000),
        (0, "0.99", 990_000),
        ("0.000000", 0.99, 990_000),
        (None, "0.99", 990_000),
        (math.nan, "0.99", 990_000),
        ("free", "0.99", 990_000),
        (0, 0, None),
        ({}, [], None),
    ],
)
def test_a_price_of_zero_is_not_known(final: object, full: object, wanted: int | None) -> None:
    assert machine(product={"final_price_hr": final, "price_hr": full}).price_micros_per_hour == wanted


@pytest.mark.parametrize(
    "uuid", [None, "", "..", ".", "a/b", "a b", "é", 7.5e300, "x" * 101, "a\nb", "\ud800"]
)
def test_what_is_no_uuid_makes_the_listing_incomplete(uuid: object) -> None:
    read = shapes.instances({"runningInstances": [MACHINE, MACHINE | {"uuid": uuid}]})
    assert read is not None
    assert [found.uuid for found in read[0]] == [MACHINE["uuid"]]
    assert not read[1]


def test_a_machine_is_listed_once() -> None:
    read = shapes.instances({"runningInstances": [MACHINE, MACHINE]})
    assert read is not None
    assert len(read[0]) == 1
    assert read[1]


def test_what_is_no_listing() -> None:
    assert shapes.instances({}) is None
    assert shapes.instances([]) is None
    assert shapes.instances({"runningInstances": "many"}) is None
    assert shapes.instances({"runningInstances": None}) == ((), False)
    assert shapes.instances({"runningInstances": []}) == ((), True)


def test_one_machine_is_a_list_of_one_or_an_object_and_the_one_that_was_asked_for() -> None:
    uuid = str(MACHINE["uuid"])
    wanted = machine()
    other = MACHINE | {"uuid": "other"}
    for body in (
        {"runningInstances": [MACHINE]},
        {"runningInstance": MACHINE},
        {"runningInstances": MACHINE},
        {"runningInstances": [other, MACHINE]},
    ):
        assert shapes.one_instance(body, uuid.upper()) == wanted
    for empty in (
        {"runningInstances": []},
        {"runningInstances": [other]},
        {"runningInstance": None},
        {},
        None,
    ):
        assert shapes.one_instance(empty, uuid) is None


def test_created_is_aware() -> None:
    assert machine().created == datetime(2024, 8, 7, 16, 41, 43, tzinfo=UTC)
    assert machine(created="2024-08-07T16:41:43").created == machine().created
    assert machine(created="0001-01-01T00:00:00+14:00").created is None
    assert machine(created="yesterday").created is None


def test_the_inventory_and_its_gaps() -> None:
    body = {
        "gpu_inventory": {
            "full": {
                "instance_type": {
                    "name": "gpu_2x_a6000_nvlink",
                    "description": "2x A6000",
                    "price_cents_per_hour": "114",
                    "specs": {"vcpu_count": 12, "memory_gib": "96", "storage_gb": 256.0},
                },
                "regions_with_capacity_available": [{"name": "us-1"}, {}, None],
                "capacity_available": 3,
            },
            "bare": {"instance_type": {"name": "cpu_small", "specs": {}}},
            "free": {
                "instance_type": {"name": "gpu_1x_b", "price_cents_per_hour": 0},
                "capacity_available": "0",
            },
            "odd": {"instance_type": {"name": "gpu_8x_DGX_spot"}, "capacity_available": -1},
            "nameless": {"instance_type": {"description": "?"}},
            "typeless": {"capacity_available": 1},
            "none": None,
        }
    }
    found = shapes.products(body)
    assert found is not None
    full, bare, free, odd = found
    assert (full.price_micros_per_hour, full.capacity, full.gpu_count) == (1_140_000, 3, 2)
    assert (full.regions, full.vcpus, full.memory_gib, full.storage_gb) == (("us-1",), 12, 96, 256)
    assert (bare.price_micros_per_hour, bare.capacity, bare.gpu_count) == (None, None, 0)
    assert (free.price_micros_per_hour, free.capacity) == (None, 0)
    assert (odd.capacity, odd.gpu_count, odd.spot) == (None, 8, True)
    assert shapes.products({"gpu_inventory": list(body["gpu_inventory"].values())}) == found
    assert shapes.products({}) is None
    assert shapes.products({"gpu_inventory": None}) is None


@pytest.mark.parametrize(
    ("name", "description", "spot"),
    [
        ("gpu_1x_a_spot", "", True),
        ("a_discount", "x [Spot]", True),
        ("a", "x", False),
        ("a_spotty", "spot", False),
    ],
)
def test_spot(name: str, description: str, spot: bool) -> None:
    item = {"instance_type": {"name": name, "description": description}}
    found = shapes.products({"gpu_inventory": {name: item}})
    assert found is not None
    assert found[0].spot is spot


def test_coupons_in_both_shapes() -> None:
    item = {"name": "gpu_1x_a6000", "pricePerHour": "0.625000", "inventoryAvailable": True}
    flat, nested = [item, 7, {"name": ""}], [[item], [7, {}], None]
    coupon = {"code": "C", "discountPercent": 0.1, "deactivationDate": "2099-01-01T00:00:00Z"}
    for details in (flat, nested, item):
        read = shapes.coupon_validation({"couponValidation": {"coupon": coupon, "productDetails": details}})
        assert read is not None
        assert read[0] == shapes.Coupon("C", "0.1", datetime(2099, 1, 1, tzinfo=UTC))
        assert read[1] == (shapes.CouponProduct("gpu_1x_a6000", "", 625_000, True),)


def test_images_keys_and_billing() -> None:
    images = [
        {"vm_image_id": "84", "vm_image_name": " Ubuntu "},
        {"vm_image_id": None, "vm_image_name": "x"},
        {},
    ]
    assert shapes.images({"images": images}) == (shapes.Image(84, "Ubuntu", ""),)
    assert shapes.images({"images": {}}) is None
    keys = [{"id": 7, "name": "k", "public_key": "ssh-ed25519 A"}, {"id": "x"}, 3]
    assert shapes.ssh_keys({"sshKeys": keys}) == (shapes.SshKey("7", "k", "ssh-ed25519 A"),)
    assert shapes.ssh_keys({"sshKeys": None}) == ()
    assert shapes.ssh_keys({}) is None
    assert shapes.billing({"rechargeThresholdCents": "1000", "rechargeAmountCents": 2e3}) == shapes.Billing(
        None, 1000, 2000
    )
    assert shapes.billing([]) is None


@pytest.mark.parametrize(
    ("cents", "dollars", "wanted"),
    [("1000", "7", 1000), (None, "10", 1000), (None, 10.505, 1051), (0, "10", 0), (None, "?", None)],
)
def test_recharge_settings_in_cents_or_in_dollars(cents: object, dollars: object, wanted: int | None) -> None:
    found = shapes.billing({"rechargeThresholdCents": cents, "rechargeThreshold": dollars})
    assert found is not None
    assert (found.threshold_cents, found.amount_cents) == (wanted, None)


@pytest.mark.parametrize(
    ("discount", "wanted"),
    [("0.1", "0.1"), ("1e-1", "0.1"), ("1", "1"), ("10", None), ("-0.1", None), ("NaN", None), (None, None)],
)
def test_a_discount_is_a_fraction(discount: str | None, wanted: str | None) -> None:
    assert shapes.Coupon("C", discount, None).fraction == (wanted and Decimal(wanted))


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (True, True),
        (0, False),
        (1, True),
        ("TRUE", True),
        ("false", False),
        (2, None),
        (None, None),
        ([], None),
    ],
)
def test_yes_and_no_in_any_spelling(said: object, wanted: bool | None) -> None:
    (found,) = shapes.coupon_products({"name": "gpu_1x_l40", "inventoryAvailable": said})
    assert found.available is wanted


def test_who_was_restarted_and_which_key_was_added() -> None:
    assert shapes.restarted({"response": [{"id": "A"}, 7, {}]}) == {"a"}
    assert shapes.restarted({"response": []}) == frozenset()
    for nobody in (None, [], {"response": {"data": {}}}):
        assert shapes.restarted(nobody) is None
    assert shapes.added_key({"sshKey": {"id": 7, "name": "k"}}) == "7"
    for unnamed in (None, {}, {"sshKey": None}, {"sshKey": {"id": ""}}):
        assert shapes.added_key(unnamed) is None


def test_who_was_acknowledged() -> None:
    def body(found: object) -> object:
        return json.loads(json.dumps({"response": {"data": {"terminated_instances": found}}}))

    assert shapes.acknowledged(body([{"id": "A"}, {"uuid": "b"}, {}, None])) == {"a", "b"}
    assert shapes.acknowledged(body([])) == frozenset()
    for nobody in (None, [], "ok", {"response": []}, body({}), body(None)):
        assert shapes.acknowledged(nobody) is None


@pytest.mark.parametrize("name", [" rn-a", "rn-a ", "rn-a\n", "\trn-a", "rn-a\x1f", "rn-a\xa0"])
def test_a_machine_with_a_space_at_the_end_of_its_name_is_not_taken_for_ours(name: str) -> None:
    machine = shapes.instance({"uuid": "8b52a46b-a892-4fde-925c-6d13226908f7", "name": name})
    assert machine is not None
    assert machine.name != "rn-a"
