"""Every fault of the simulated cloud, caused and seen from outside."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import paramiko
import pytest

from runner.sim import ALWAYS, Faults, SimConfig
from tests.conformance.sim_client import Account, channel, read_all, refused, run, simulated
from tests.waiting import wait_until

DEPLOY = {"imageId": 84, "productName": "gpu_1x_l40", "regionName": "any", "command": "true"}


@pytest.fixture(scope="module")
def shared() -> Iterator[Account]:
    with simulated(SimConfig(boot_seconds=0.02)) as account:
        account.add_key()
        yield account


@pytest.fixture
def account(shared: Account) -> Iterator[Account]:
    yield shared
    shared.sim.faults.clear()
    for machine in shared.sim.instances():
        shared.sim.vanish(machine.uuid)


@pytest.fixture
def faults(account: Account) -> Faults:
    return account.sim.faults


def until_cut(chan: paramiko.Channel, size: int) -> bytes:
    """Receive; a cut is an end of file, or an error where paramiko was just about to open its window."""
    try:
        return chan.recv(size)
    except (EOFError, OSError):
        return b""


# Whole answers


def test_forced_statuses_have_no_effect(account: Account, faults: Faults) -> None:
    faults.add(operation="deployInstance", status=429, retry_after="7", times=1)
    faults.add(operation="deployInstance", status=503, body={"err": "busy"}, times=1)
    faults.add(operation="deployInstance", status=500, body="plain words", times=1)
    answers = [account.http.post("/instance/launch", json=DEPLOY) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [429, 503, 500, 202]
    assert answers[0].headers["retry-after"] == "7"
    assert answers[1].json() == {"err": "busy"}
    assert answers[2].text == "plain words"
    assert len(account.listed()) == 1


def test_a_rate_of_errors(account: Account, faults: Faults) -> None:
    faults.add(operation="listImages", status=502, rate=0.5)
    statuses = {account.http.get("/images").status_code for _ in range(100)}
    assert statuses == {200, 502}
    assert account.http.get("/gpu-inventory").status_code == 200


@pytest.mark.parametrize(("kind", "effect"), [("lost", 1), ("refused", 0)])
def test_a_deploy_without_an_answer(account: Account, faults: Faults, kind: str, effect: int) -> None:
    faults.add(operation="deployInstance", kind=kind, times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        account.http.post("/instance/launch", json=DEPLOY)
    assert len(account.listed()) == effect
    assert account.sim.requests("deployInstance")[-1].status is None


def test_a_terminate_without_an_answer(account: Account, faults: Faults) -> None:
    uuid = account.deploy()
    faults.add(operation="terminateInstances", kind="lost", times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        account.terminate(uuid)
    assert account.listed() == {}


def test_an_answer_that_never_comes(account: Account, faults: Faults) -> None:
    faults.add(operation="deployInstance", kind="hang", times=1)
    with pytest.raises(httpx.ReadTimeout):
        account.http.post("/instance/launch", json=DEPLOY, timeout=0.3)
    assert len(account.listed()) == 1


def test_a_slow_answer(account: Account, faults: Faults) -> None:
    faults.add(operation="listImages", kind="slow", seconds=0.3, times=1)
    begun = time.monotonic()
    assert account.http.get("/images").status_code == 200
    assert time.monotonic() - begun >= 0.3


def test_an_effect_that_comes_after_the_client_gave_up(account: Account, faults: Faults) -> None:
    faults.add(operation="deployInstance", kind="slow", seconds=2, late_effect=True, times=1)
    with pytest.raises(httpx.ReadTimeout):
        account.http.post("/instance/launch", json=DEPLOY, timeout=0.1)
    assert account.listed() == {}
    wait_until(account.listed, what="the late effect")


def test_an_answer_that_is_no_json(account: Account, faults: Faults) -> None:
    faults.add(operation="listInstances", kind="garbage", times=1)
    answer = account.http.get("/instance")
    assert answer.status_code == 200
    with pytest.raises(ValueError, match="Expecting"):
        answer.json()


@pytest.mark.parametrize(
    ("style", "body"),
    [("text", "Instance not found"), ("nested", '{"errors":[{"detail":"Instance not found"}]}')],
)
def test_the_forms_of_errors(account: Account, faults: Faults, style: str, body: str) -> None:
    faults.change({"error_style": style})
    answer = account.http.get("/instance/none")
    assert (answer.status_code, answer.text) == (404, body)


def test_a_clock_that_is_wrong(account: Account, faults: Faults) -> None:
    faults.date_offset_seconds = -3600
    shown = parsedate_to_datetime(account.http.get("/images").headers["date"])
    assert timedelta(minutes=59) < datetime.now(UTC) - shown < timedelta(minutes=61)


# Deploying


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [
        ("out_of_stock", 400, "out of stock"),
        ("quota", 400, "limit exceeded"),
        ("payment_required", 402, "recharge"),
    ],
)
def test_deploys_refused_n_times(
    account: Account, faults: Faults, fault: str, status: int, text: str
) -> None:
    setattr(faults, fault, 2)
    assert text in account.deploy(status)
    assert text in account.deploy(status)
    account.deploy()


def test_an_image_that_a_product_does_not_support(account: Account, faults: Faults) -> None:
    faults.image_refused = ["gpu_1x_h100", "gpu_1x_l40/184"]
    assert account.deploy(400, productName="gpu_1x_h100") == "Product does not support the VM Image"
    assert account.deploy(400, imageId=184) == "Product does not support the VM Image"
    account.deploy(imageId=84)


@pytest.mark.parametrize("field", ["sshKey", "sshKeys"])
def test_a_spelling_that_is_refused_by_name(account: Account, faults: Faults, field: str) -> None:
    faults.refuse_fields = [field]
    other = "sshKeys" if field == "sshKey" else "sshKey"
    both: dict[str, Any] = {field: ["fleet key"], other: ["fleet key"]}
    assert account.deploy(400, **both) == f'Unknown field: "{field}"'
    del both[field]
    account.deploy(**both)


def test_keys_that_are_not_injected(account: Account, faults: Faults) -> None:
    faults.keys_not_injected = 1
    uuid = account.deploy(sshKeys=["fleet key"])
    account.ready(uuid)
    wait_until(lambda: not refused(account.listed()[uuid]["ssh_port"]), what="SSH")
    with pytest.raises(paramiko.AuthenticationException):
        account.connect(uuid)


def test_no_key_api(account: Account, faults: Faults) -> None:
    faults.no_key_api = True
    assert account.http.get("/ssh-keys").status_code == 404
    assert account.http.post("/ssh-keys", json={}).status_code == 404
    assert account.http.delete("/ssh-keys/x").status_code == 404


def test_too_many_requests() -> None:
    with simulated(SimConfig(faults=Faults(rate_limit=0.01))) as account:
        assert account.http.get("/images").status_code == 200
        limited = account.http.get("/images")
        assert limited.status_code == 429
        assert limited.headers["retry-after"] == "1"


# Booting


def test_a_boot_that_never_ends(account: Account, faults: Faults) -> None:
    faults.boot_never = 1
    stuck, fine = account.deploy(), account.deploy()
    account.ready(fine)
    item = account.listed()[stuck]
    assert (item["os_booted"], item["status"], item["ip"]) == (0, "booting", "127.0.0.1")
    assert refused(item["ssh_port"])


def test_a_boot_that_fails(account: Account, faults: Faults) -> None:
    faults.boot_fails = 1
    uuid = account.deploy()
    wait_until(lambda: account.listed()[uuid]["status"] == "failed", what="status failed")
    assert account.listed()[uuid]["os_booted"] == 0


def test_a_slow_boot(account: Account, faults: Faults) -> None:
    faults.boot_seconds = 0.5
    begun = time.monotonic()
    account.ready(account.deploy())
    assert time.monotonic() - begun >= 0.5


@pytest.mark.parametrize("word", ["running", "active", "RENTED"])
def test_either_ready_word(account: Account, faults: Faults, word: str) -> None:
    faults.ready_status = word
    assert account.ready(account.deploy())["status"] == word


def test_no_address_before_boot(account: Account, faults: Faults) -> None:
    faults.change({"address_before_boot": False, "boot_never": 1, "booting_status": "Initializing"})
    uuid = account.deploy()
    item = account.listed()[uuid]
    assert (item["ip"], item["status"]) == ("", "Initializing")


def test_startup_commands_that_do_not_run(account: Account, faults: Faults) -> None:
    faults.startup_skipped = 1
    with account.machine(command="touch ran", sshKeys=["fleet key"]) as (_, client):
        assert run(client, "ls").out == b""
    with account.machine(command="touch ran", sshKeys=["fleet key"]) as (_, client):
        wait_until(lambda: run(client, "ls").out == b"ran\n", what="the startup command")


@pytest.mark.parametrize(("again", "times"), [(False, 1), (True, 2)])
def test_startup_commands_that_run_again(account: Account, faults: Faults, again: bool, times: int) -> None:
    faults.startup_again = again
    with account.machine(command="echo x >> ran", sshKeys=["fleet key"]) as (uuid, client):
        wait_until(lambda: run(client, "wc -l < ran").out.strip() == b"1", what="the startup command")
        account.sim.restart(uuid)
        account.ready(uuid)
        wait_until(lambda: account._try(uuid), what="SSH").close()  # type: ignore[union-attr]
        with account.connect(uuid) as later:
            wait_until(lambda: run(later, "wc -l < ran").out.strip() == b"%d" % times, what="the count")


def test_a_startup_command_that_comes_after_ssh(account: Account, faults: Faults) -> None:
    faults.startup_delay_seconds = 2
    with account.machine(command="touch ran", sshKeys=["fleet key"]) as (_, client):
        assert run(client, "ls").out == b""
        wait_until(lambda: run(client, "ls").out == b"ran\n", what="the startup command")


@pytest.mark.parametrize("what", ["wrong", "missing"])
def test_host_keys_that_do_not_match(account: Account, faults: Faults, what: str) -> None:
    faults.change({"host_keys": what})
    with account.machine() as (_, client):
        shown = client.get_transport().get_remote_server_key().get_base64()  # type: ignore[union-attr]
        found = run(client, "cat $RN_HOST_KEYS/*.pub").out.decode().split()
        assert len(found) == (3 if what == "wrong" else 0)
        assert shown not in found


# SSH


def test_ssh_that_refuses_for_a_while_after_boot(account: Account, faults: Faults) -> None:
    faults.ssh_delay_seconds = 2
    uuid = account.deploy()
    port = account.ready(uuid)["ssh_port"]
    assert refused(port)
    wait_until(lambda: not refused(port), what="SSH")


def test_ssh_that_refuses_and_answers_again(account: Account, faults: Faults) -> None:
    with account.machine() as (uuid, client):
        port = account.listed()[uuid]["ssh_port"]
        faults.ssh = "refuse"
        wait_until(lambda: refused(port), what="a refusal")
        assert run(client, "echo still").out == b"still\n"
        faults.ssh = "ok"
        wait_until(lambda: not refused(port), what="SSH")


def test_ssh_that_closes_at_once(account: Account, faults: Faults) -> None:
    with account.machine() as (uuid, _):
        faults.ssh = "drop"
        with socket.create_connection(("127.0.0.1", account.listed()[uuid]["ssh_port"]), timeout=10) as raw:
            assert raw.recv(100) == b""


def test_ssh_that_says_nothing(account: Account, faults: Faults) -> None:
    with account.machine() as (uuid, _):
        faults.ssh = "hang"
        with socket.create_connection(("127.0.0.1", account.listed()[uuid]["ssh_port"]), timeout=0.3) as raw:
            with pytest.raises(TimeoutError):
                raw.recv(100)
            account.sim.vanish(uuid)
            raw.settimeout(20)
            assert raw.recv(100) == b""


def test_ssh_of_one_machine_that_lets_nobody_in(account: Account) -> None:
    with account.machine() as (uuid, _), account.machine() as (other, _):
        account.sim.set_ssh(uuid, "login")
        with pytest.raises(paramiko.AuthenticationException):
            account.connect(uuid)
        account.connect(other).close()
        account.sim.set_ssh(uuid, None)
        account.connect(uuid).close()


def test_ssh_cut_after_a_while(account: Account, faults: Faults) -> None:
    faults.change({"ssh_drop_after_seconds": 0.3, "ssh_drops": 1})
    with account.machine() as (uuid, client):
        chan = channel(client)
        chan.exec_command("sleep 1000")
        assert chan.recv(1) == b""
        with account.connect(uuid) as again:
            assert run(again, "sleep 0.5; echo fine").out == b"fine\n"


def test_ssh_cut_after_so_many_bytes(account: Account, faults: Faults) -> None:
    with account.machine() as (uuid, client):
        faults.change({"ssh_drop_after_bytes": 1_000_000, "ssh_drops": 1})
        chan = channel(client)
        chan.exec_command("head -c 5000000 /dev/zero")
        assert 0 < len(read_all(lambda size: until_cut(chan, size))) < 5_000_000
        with account.connect(uuid) as again:
            assert len(run(again, "head -c 5000000 /dev/zero").out) == 5_000_000


@pytest.mark.parametrize("allowed", [True, False])
def test_the_password_of_the_listing(allowed: bool) -> None:
    config = SimConfig(boot_seconds=0.02, password_login=allowed)
    with simulated(config) as account, account.machine() as (uuid, _):
        password = account.listed()[uuid]["password"]
        if allowed:
            with account.connect(uuid, password=password) as client:
                assert run(client, "echo in").out == b"in\n"
        else:
            with pytest.raises(paramiko.BadAuthenticationType):
                account.connect(uuid, password=password)
        with pytest.raises(paramiko.AuthenticationException):
            account.connect(uuid, password="wrong")


# Listings


def test_a_listing_that_lags(account: Account, faults: Faults) -> None:
    old = account.deploy()
    account.ready(old)
    faults.listing_lag_seconds = 2
    wait_until(lambda: account.listed().get(old, {}).get("os_booted"), what="the old one listed")
    new = account.deploy()
    account.terminate(old)
    listed = account.listed()
    assert old in listed
    assert new not in listed
    assert account.http.get(f"/instance/{new}").status_code == 200
    assert account.http.get(f"/instance/{old}").status_code == 404
    wait_until(lambda: new in account.listed(), what="the new one listed")
    wait_until(lambda: old not in account.listed(), what="the old one gone")


def test_a_listing_that_is_empty_once(account: Account, faults: Faults) -> None:
    uuid = account.deploy()
    faults.listing_empty = 1
    assert account.listed() == {}
    assert uuid in account.listed()


def test_a_listing_that_is_partial(account: Account, faults: Faults) -> None:
    uuids = {account.deploy() for _ in range(4)}
    faults.listing_partial = 1
    assert len(account.listed()) == 2
    assert set(account.listed()) == uuids


def test_instances_that_are_never_listed(account: Account, faults: Faults) -> None:
    hidden, shown = account.deploy(instanceName="hidden"), account.deploy()
    faults.listing_hidden = ["hidden"]
    assert set(account.listed()) == {shown}
    assert account.http.get(f"/instance/{hidden}").status_code == 200


def test_an_item_that_makes_no_sense(account: Account, faults: Faults) -> None:
    account.deploy()
    faults.listing_bad_items = 1
    items = account.get("/instance")["runningInstances"]
    assert [isinstance(item["uuid"], str) for item in items].count(False) == 1


def test_get_as_in_the_older_reference(account: Account, faults: Faults) -> None:
    uuid = account.deploy()
    faults.get_as_object = True
    assert account.get(f"/instance/{uuid}")["runningInstance"]["uuid"] == uuid


# Terminating


def test_a_terminate_that_leaves_one_out(account: Account, faults: Faults) -> None:
    one, two = account.deploy(), account.deploy()
    faults.terminate_omits = 1
    assert account.terminate(one, two) == [two]
    assert set(account.listed()) == {one}


def test_a_terminate_that_is_accepted_and_ignored(account: Account, faults: Faults) -> None:
    uuid = account.deploy()
    faults.terminate_ignored = 1
    assert account.terminate(uuid) == [uuid]
    assert uuid in account.listed()
    account.terminate(uuid)
    assert uuid not in account.listed()


def test_a_terminate_that_takes_its_time(account: Account, faults: Faults) -> None:
    uuid = account.deploy()
    account.ready(uuid)
    faults.change({"terminate_seconds": 2, "terminated_listed_seconds": 1})
    account.terminate(uuid)
    assert account.listed()[uuid]["status"] == "terminating"
    assert account.listed()[uuid]["os_booted"] == 0
    assert account.sim.ledger()[uuid].ended is not None
    wait_until(lambda: account.listed()[uuid]["status"] == "terminated", what="terminated")
    wait_until(lambda: uuid not in account.listed(), what="gone")


@pytest.mark.timeout(60)
def test_a_terminate_that_takes_for_ever_does_not_keep_the_simulator(
    account: Account, faults: Faults
) -> None:
    """The fixture stops it; an hour of it would be this test's timeout."""
    uuid = account.deploy()
    faults.change({"terminate_seconds": 3600, "terminated_listed_seconds": 3600})
    account.terminate(uuid)
    assert account.listed()[uuid]["status"] == "terminating"


def test_a_batch_that_is_refused_for_one(account: Account, faults: Faults) -> None:
    uuid = account.deploy()
    faults.batch_strict = True
    answer = account.http.post("/instance/terminate", json={"instanceUuids": [uuid, "gone"]})
    assert answer.status_code == 404
    assert uuid in account.listed()


# Shapes


def test_prices_as_numbers(account: Account, faults: Faults) -> None:
    faults.prices_as = "number"
    uuid = account.deploy()
    item = account.listed()[uuid]
    assert item["product"]["price_hr"] == 0.86
    assert isinstance(item["password"], int)
    assert account.get("/account/billing")["rechargeThreshold"] == 10
    assert account.post("/coupon/information", {"coupon": "TestCoupon"})["coupon"]["discountPercent"] == 0.1


@pytest.mark.parametrize(("how", "shown"), [("zero", "0.000000"), ("missing", None)])
def test_final_prices(account: Account, faults: Faults, how: str, shown: str | None) -> None:
    faults.change({"final_price": how})
    uuid = account.deploy()
    product = account.listed()[uuid]["product"]
    assert product.get("final_price_hr") == shown
    assert product["price_hr"] == "0.860000"


def test_nested_coupon_lists(account: Account, faults: Faults) -> None:
    faults.nested_coupon_lists = True
    found = account.post("/coupon/accepted-products", {"coupon": "TestCoupon"})["couponValidation"]
    assert found["productDetails"][1][0]["name"] == "gpu_1x_a6000"


def test_sparse_instances_and_an_odd_inventory(account: Account, faults: Faults) -> None:
    faults.change({"sparse_instances": True, "odd_inventory": True})
    uuid = account.deploy()
    item = account.listed()[uuid]
    assert "region" not in item
    assert item["image"]["name"] == ""
    inventory = account.get("/gpu-inventory")["gpu_inventory"]
    assert "instance_type" not in inventory["gpu_1x_untyped"]
    assert "name" not in inventory["gpu_1x_nameless"]["instance_type"]
    assert "capacity_available" not in inventory["gpu_1x_bare"]


def test_stock_and_prices_change_while_it_runs(account: Account, faults: Faults) -> None:
    account.sim.set_stock("gpu_1x_l40s", 0)
    assert "out of stock" in account.deploy(400, productName="gpu_1x_l40s")
    account.sim.set_stock("gpu_1x_l40s", 1)
    account.sim.set_price("gpu_1x_l40s", 150)
    uuid = account.deploy(productName="gpu_1x_l40s")
    assert account.listed()[uuid]["product"]["price_hr"] == "1.500000"
    with pytest.raises(KeyError):
        account.sim.set_stock("nothing", 1)


def test_the_price_of_a_machine_that_is_there(account: Account, faults: Faults) -> None:
    """The minute that has begun was charged already."""
    uuid = account.deploy(productName="gpu_1x_l40s")
    before = account.sim.ledger()[uuid]
    account.sim.reprice(uuid, 6000)
    assert account.listed()[uuid]["product"]["final_price_hr"] == "60.000000"
    charge = account.sim.ledger()[uuid]
    assert (charge.earlier, charge.cost_micros) == (((1, before.price_micros_per_hour),), before.cost_micros)
    later = replace(charge, minutes=3)
    assert later.cost_micros == before.cost_micros + 2_000_000


def test_faults_can_be_set_at_start() -> None:
    faults = Faults(payment_required=ALWAYS)
    with simulated(SimConfig(faults=faults)) as account:
        account.deploy(402)
        account.deploy(402)
