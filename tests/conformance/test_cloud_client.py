"""The client against the simulated cloud: every operation, and every oddity that the service is known for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.errors import (
    ApiError,
    BadRequest,
    FieldRefused,
    ImageRefused,
    InvalidToken,
    NoAnswer,
    NoCapacity,
    NotFound,
    PaymentRequired,
    QuotaExceeded,
    RateLimited,
    ReadOnlyToken,
    ServerTrouble,
    Unsettled,
)
from jobs.values import Secret
from runner.sim import ALWAYS, Faults, Product, SimConfig, Simulator
from tests.conformance.sim_client import new_key
from tests.waiting import wait_until
from workers.cloud import client
from workers.cloud.client import Cloud, DeployRequest, LocalGate, NoGate, Priority
from workers.cloud.keys import ensure_account_key
from workers.cloud.shapes import Instance

MANY = Product("cpu_tiny", "CPU only", 1, 500, gpu_count=0)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    products = (*SimConfig().products, MANY)
    with Simulator(SimConfig(boot_seconds=0.05, products=products)) as running:
        yield running


@pytest.fixture
def cloud(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.01)
    with Cloud(sim.url, Secret(sim.token)) as made:
        yield made


def request(**changes: Any) -> DeployRequest:
    """A request for a machine that needs no key."""
    fields = {"image_id": 84, "product": "gpu_1x_l40", "name": "rn-test", "command": "true"} | changes
    return DeployRequest(**fields)


def ready(cloud: Cloud, uuid: str) -> Instance:
    """The machine, once it has booted."""

    def look() -> Instance | None:
        found = cloud.get_instance(uuid)
        return found if found is not None and found.ready else None

    found = wait_until(look, what="a machine that is ready")
    assert found is not None
    return found


# Every operation


def test_what_can_be_rented(sim: Simulator, cloud: Cloud) -> None:
    found = {product.name: product for product in cloud.list_products()}
    assert set(found) == {product.name for product in sim.config.products}
    for product in sim.config.products:
        said = found[product.name]
        assert said.price_micros_per_hour == product.price_cents * 10_000
        assert (said.capacity, said.gpu_count) == (product.capacity, product.gpu_count)
        assert (said.vcpus, said.memory_gib, said.storage_gb) == (
            product.vcpus,
            product.memory_gib,
            product.storage_gb,
        )
    assert [name for name in found if found[name].spot] == ["gpu_1x_a5000_spot"]
    sim.faults.odd_inventory = True
    odd = {product.name: product for product in cloud.list_products()}
    assert set(odd) == {*found, "gpu_1x_bare"}
    assert odd["gpu_1x_bare"].price_micros_per_hour is None
    assert odd["gpu_1x_bare"].capacity is None
    assert [(image.id, image.name) for image in cloud.list_images()] == [
        (image.id, image.name) for image in sim.config.images
    ]


def test_a_machine_from_its_deploy_to_its_end(sim: Simulator, cloud: Cloud) -> None:
    uuid = cloud.deploy(request())
    found = ready(cloud, uuid)
    assert (found.uuid, found.name, found.product) == (uuid, "rn-test", "gpu_1x_l40")
    assert (found.ip, found.price_micros_per_hour) == ("127.0.0.1", 860_000)
    assert found.username == "Ubuntu"
    assert found.ssh_port
    listing = cloud.list_instances()
    assert listing.instances == (found,)
    assert listing.complete
    assert abs(listing.date - datetime.now(UTC)) < timedelta(minutes=1)
    assert cloud.restart([uuid]) == (uuid,)
    ready(cloud, uuid)
    assert cloud.terminate([uuid]) == (uuid,)
    assert cloud.get_instance(uuid) is None
    assert cloud.terminate([uuid]) == (uuid,)  # it is gone already
    assert cloud.list_instances().instances == ()


def test_the_account(sim: Simulator, cloud: Cloud) -> None:
    cloud.validate_token()
    for odd in ("string", "number"):
        sim.faults.prices_as = odd
        billing = cloud.billing()
        assert (billing.method, billing.threshold_cents, billing.amount_cents) == ("creditcard", 1000, 2000)
    sim.faults.no_recharge_settings = True
    billing = cloud.billing()
    assert (billing.method, billing.threshold_cents, billing.amount_cents) == (None, None, None)
    with pytest.raises(PaymentRequired):
        cloud.deploy(request())


def test_a_restart_that_leaves_one_out(sim: Simulator, cloud: Cloud) -> None:
    one, other = cloud.deploy(request(name="one")), cloud.deploy(request(name="other"))
    sim.faults.restart_omits = 1
    assert cloud.restart([one, other]) == (other,)
    with pytest.raises(NotFound):
        cloud.restart([one, "8b52a46b-a892-4fde-925c-6d13226908f7"])


@pytest.mark.parametrize("prices", ["string", "number"])
@pytest.mark.parametrize("nested", [False, True])
def test_coupons(sim: Simulator, cloud: Cloud, prices: Any, nested: bool) -> None:
    sim.faults.change({"prices_as": prices, "nested_coupon_lists": nested})
    coupon = cloud.coupon("TestCoupon")
    assert coupon is not None
    assert (coupon.code, coupon.discount) == ("TestCoupon", "0.1")
    same, products = cloud.coupon_products("TestCoupon")
    assert same == coupon
    assert [(product.name, product.price_micros_per_hour) for product in products] == [
        ("gpu_1x_l40", 860_000),
        ("gpu_1x_a6000", 570_000),
    ]
    assert cloud.coupon("NoSuchCoupon") is None
    assert cloud.coupon_products("NoSuchCoupon") == (None, ())
    found = ready(cloud, cloud.deploy(request(coupon="TestCoupon")))
    assert found.price_micros_per_hour == 774_000


def test_keys(sim: Simulator, cloud: Cloud) -> None:
    line = new_key().line
    names = ensure_account_key(cloud, f"{line} me@laptop", "gpu job runner")
    assert ensure_account_key(cloud, line, "gpu job runner") == names
    other = ensure_account_key(cloud, new_key().line, "gpu job runner")
    assert other != names
    key_id = cloud.add_key("another one", new_key().line)
    assert key_id is not None
    assert cloud.list_keys()[-1].id == key_id  # type: ignore[index]
    cloud.remove_key(key_id)
    listed = cloud.list_keys()
    assert listed is not None
    assert [key.name for key in listed] == [*names, *other]
    cloud.deploy(request(key_names=names))
    assert sim.instances()[0].order.key_names == names
    for key in listed:
        cloud.remove_key(key.id)
        cloud.remove_key(key.id)
    assert cloud.list_keys() == ()
    with pytest.raises(BadRequest, match="SSH key not found"):
        cloud.deploy(request(key_names=names))
    sim.faults.no_key_api = True
    assert cloud.list_keys() is None
    assert ensure_account_key(cloud, line, "x") == ()


def test_a_key_is_added_once_by_two_at_the_same_time(sim: Simulator, cloud: Cloud) -> None:
    line, found = new_key().line, []
    threads = [
        threading.Thread(target=lambda: found.append(ensure_account_key(cloud, line, "x"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(cloud.list_keys() or ()) == 1


# Refusals


@pytest.mark.parametrize("style", ["json", "text", "nested"])
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"out_of_stock": ALWAYS}, NoCapacity),
        ({"out_of_stock": 1, "out_of_stock_text": "insufficient capacity"}, NoCapacity),
        ({"quota": 1}, QuotaExceeded),
        ({"payment_required": 1}, PaymentRequired),
        ({"image_refused": ["gpu_1x_l40"]}, ImageRefused),
        ({"refuse_fields": ["command"]}, FieldRefused),
    ],
)
def test_a_refused_deploy(sim: Simulator, cloud: Cloud, style: str, fault: Any, kind: type[ApiError]) -> None:
    sim.faults.change({"error_style": style} | fault)
    with pytest.raises(ApiError) as failed:
        cloud.deploy(request())
    assert type(failed.value) is kind
    assert len(sim.requests("deployInstance")) == 1
    assert not sim.instances()


@pytest.mark.parametrize(("refused", "other"), [("sshKey", "sshKeys"), ("sshKeys", "sshKey")])
def test_a_spelling_that_is_refused_is_named(sim: Simulator, cloud: Cloud, refused: str, other: str) -> None:
    names = ensure_account_key(cloud, new_key().line, "x")
    sim.faults.refuse_fields = [refused]
    with pytest.raises(FieldRefused) as failed:
        cloud.deploy(request(key_names=names))
    assert failed.value.field == refused
    uuid = cloud.deploy(request(key_names=names, key_fields=(other,)))
    assert sim.machine(uuid).order.key_names == names
    sim.faults.refuse_fields = ["sshKey", "sshKeys"]
    cloud.deploy(request())  # without names no such field is sent


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"product": "gpu_9x_none"}, "Product not found"), ({"image_id": 7}, "Image not found")],
)
def test_what_is_not_there(cloud: Cloud, changes: Any, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        cloud.deploy(request(**changes))


def test_tokens(sim: Simulator, cloud: Cloud) -> None:
    uuid = cloud.deploy(request())
    with Cloud(sim.url, Secret("wrong")) as wrong:
        for call in (wrong.validate_token, wrong.list_instances, lambda: wrong.terminate([uuid])):
            with pytest.raises(InvalidToken) as failed:
                call()
            assert not isinstance(failed.value, ReadOnlyToken)
    with Cloud(sim.url, Secret(sim.read_only_token)) as reader:
        reader.validate_token()
        assert reader.list_instances().instances
        for call in (
            lambda: reader.deploy(request()),
            lambda: reader.restart([uuid]),
            lambda: reader.terminate([uuid]),
            lambda: reader.add_key("k", new_key().line),
            lambda: reader.remove_key("k"),
        ):
            with pytest.raises(ReadOnlyToken):
                call()
    assert len(sim.instances()) == 1


# Trouble

REPEATED = (
    "listInventory",
    "listImages",
    "listInstances",
    "getInstance",
    "terminateInstances",
    "getCoupon",
    "getCouponProducts",
    "validateToken",
    "getBilling",
    "listSshKeys",
    "removeSshKey",
)


@pytest.mark.parametrize("rule", ["lost", "hang", "slow"])
def test_a_deploy_without_an_answer_has_happened_once(sim: Simulator, cloud: Cloud, rule: Any) -> None:
    sim.faults.add(operation="deployInstance", kind=rule, seconds=60)
    with pytest.raises(NoAnswer):
        cloud.deploy(request(), deadline_s=20 if rule == "lost" else 2)
    assert [found.name for found in cloud.list_instances().instances] == ["rn-test"]
    assert len(sim.ledger().charges) == 1


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ({"kind": "refused"}, NoAnswer),
        ({"kind": "garbage"}, NoAnswer),
        ({"kind": "status", "status": 500}, ServerTrouble),
        ({"kind": "status", "status": 503, "retry_after": "0"}, ServerTrouble),
        ({"kind": "status", "status": 429, "retry_after": "5"}, RateLimited),
    ],
)
def test_a_deploy_is_never_repeated(sim: Simulator, cloud: Cloud, rule: Any, kind: type[ApiError]) -> None:
    sim.faults.add(operation="deployInstance", times=1, **rule)
    with pytest.raises(kind) as failed:
        cloud.deploy(request())
    assert isinstance(failed.value, Unsettled) is (kind is not RateLimited)
    assert not sim.ledger().charges
    if rule["kind"] != "refused":
        assert len(sim.requests("deployInstance")) == 1


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "lost"},
        {"kind": "refused"},
        {"kind": "garbage"},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503, "retry_after": "0"},
        {"kind": "status", "status": 429, "retry_after": "Mon, 23 Nov 2020 20:00:00 GMT"},
    ],
)
def test_everything_else_survives_a_bad_moment(sim: Simulator, cloud: Cloud, rule: Any) -> None:
    uuid = cloud.deploy(request())
    cloud.add_key("k", new_key().line)
    (key,) = cloud.list_keys() or ()
    for operation in REPEATED:
        sim.faults.add(operation=operation, times=1, **rule)
    cloud.list_products()
    cloud.list_images()
    assert cloud.list_instances().instances
    assert cloud.get_instance(uuid) is not None
    cloud.coupon("TestCoupon")
    cloud.coupon_products("TestCoupon")
    cloud.validate_token()
    cloud.billing()
    cloud.list_keys()
    cloud.remove_key(key.id)
    assert cloud.terminate([uuid]) == (uuid,)
    assert not [rule for rule in sim.faults.rules if rule.times]


def test_two_requests_a_second_are_never_refused() -> None:
    with Simulator(SimConfig(faults=Faults(rate_limit=2))) as limited:
        with Cloud(limited.url, Secret(limited.token), gate=LocalGate()) as cloud:
            for _ in range(6):
                cloud.validate_token()
        assert {entry.status for entry in limited.requests()} == {200}


def test_each_try_takes_a_turn(sim: Simulator, cloud: Cloud) -> None:
    taken: list[Priority] = []

    class Turns(NoGate):
        def enter(self, priority: Priority, deadline_s: float) -> None:
            assert deadline_s > 0
            taken.append(priority)

    sim.faults.add(operation="listInstances", times=2)
    with Cloud(sim.url, Secret(sim.token), gate=Turns()) as careful:
        careful.list_instances()
        uuid = careful.deploy(request())
        careful.terminate([uuid])
        careful.billing()
    assert taken == [
        *[Priority.LIST] * 3,
        Priority.DEPLOY,
        Priority.TERMINATE,
        Priority.REST,
    ]


# Oddities of listings


@pytest.mark.parametrize("word", ["running", "rented", "active", "Rented", "ACTIVE"])
@pytest.mark.parametrize("as_object", [False, True])
def test_every_way_to_be_ready(sim: Simulator, cloud: Cloud, word: str, as_object: bool) -> None:
    sim.faults.change({"ready_status": word, "get_as_object": as_object, "sparse_instances": True})
    found = ready(cloud, cloud.deploy(request()))
    assert found.status == word
    assert found.region is None
    assert found.image is None


@pytest.mark.parametrize("early", [False, True])
def test_an_address_before_boot_is_not_readiness(sim: Simulator, cloud: Cloud, early: bool) -> None:
    sim.faults.change({"boot_never": 1, "address_before_boot": early, "booting_status": "rented"})
    found = cloud.get_instance(cloud.deploy(request()))
    assert found is not None
    assert bool(found.ip) is early
    assert not found.ready


@pytest.mark.parametrize("prices", ["string", "number"])
@pytest.mark.parametrize("final", ["true", "zero", "missing"])
def test_the_price_is_never_zero(sim: Simulator, cloud: Cloud, prices: Any, final: Any) -> None:
    sim.faults.change({"prices_as": prices, "final_price": final})
    found = cloud.get_instance(cloud.deploy(request(coupon="TestCoupon")))
    assert found is not None
    assert found.price_micros_per_hour == (774_000 if final == "true" else 860_000)


def test_a_bad_item_makes_a_listing_incomplete_and_hides_nothing(sim: Simulator, cloud: Cloud) -> None:
    uuids = {cloud.deploy(request(name=f"rn-{number}")) for number in range(3)}
    sim.faults.listing_bad_items = 1
    listing = cloud.list_instances()
    assert {found.uuid for found in listing.instances} == uuids
    assert not listing.complete
    assert cloud.list_instances().complete


def test_words_for_the_end(sim: Simulator, cloud: Cloud) -> None:
    sim.faults.change({"terminated_listed_seconds": 5, "boot_fails": 1})
    failed = cloud.deploy(request())
    wait_until(lambda: getattr(cloud.get_instance(failed), "failed", False), what="a boot that failed")
    uuid = cloud.deploy(request())
    ready(cloud, uuid)
    sim.stop_instance(uuid)
    stopped = cloud.get_instance(uuid)
    assert stopped is not None
    assert stopped.stopped
    assert not stopped.ready
    cloud.terminate([uuid])
    ended = cloud.get_instance(uuid)
    assert ended is not None
    assert ended.terminal


def test_the_date_is_the_services_own(sim: Simulator, cloud: Cloud) -> None:
    sim.faults.date_offset_seconds = -86_400
    assert datetime.now(UTC) - cloud.list_instances().date > timedelta(hours=23)


# Terminating


def test_more_than_a_batch(sim: Simulator, cloud: Cloud) -> None:
    sim.faults.boot_never = ALWAYS
    uuids = [cloud.deploy(request(product=MANY.name)) for _ in range(103)]
    assert cloud.terminate(uuids, deadline_s=60) == tuple(uuids)
    assert len(sim.requests("terminateInstances")) == 2
    assert not sim.instances()


def test_one_that_is_gone_keeps_no_other(sim: Simulator, cloud: Cloud) -> None:
    sim.faults.change({"boot_never": ALWAYS, "batch_strict": True})
    uuids = [cloud.deploy(request(product=MANY.name)) for _ in range(9)]
    sim.vanish(uuids[4])
    assert cloud.terminate(uuids) == tuple(uuids)
    assert not sim.instances()


def test_who_is_left_out_is_told(sim: Simulator, cloud: Cloud) -> None:
    uuids = [cloud.deploy(request(product=MANY.name)) for _ in range(3)]
    sim.faults.terminate_omits = 1
    assert cloud.terminate(uuids) == tuple(uuids[1:])
    assert [machine.uuid for machine in sim.instances()] == uuids[:1]
    assert cloud.terminate(uuids[:1]) == (uuids[0],)


def test_a_wrong_address(sim: Simulator) -> None:
    with Cloud(sim.url + "/v2", Secret(sim.token)) as cloud, pytest.raises(NotFound):
        cloud.list_instances()
