"""The simulated API: the service's shapes and codes, and no more forgiving than the service."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from uuid import UUID

import httpx
import pytest

from runner.sim import SimConfig
from tests.conformance.sim_client import Account, new_key, simulated
from tests.waiting import wait_until

DEPLOY: dict[str, object] = {"imageId": 84, "productName": "gpu_1x_l40", "regionName": "any"}


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with simulated(SimConfig(boot_seconds=0.05)) as account:
        yield account


def test_the_inventory(account: Account) -> None:
    item = account.get("/gpu-inventory")["gpu_inventory"]["gpu_1x_a6000"]
    assert item == {
        "instance_type": {
            "name": "gpu_1x_a6000",
            "description": "1x RTX A6000 (48GB)",
            "price_cents_per_hour": 57,
            "specs": {"vcpu_count": 6, "memory_gib": 48, "storage_gb": 256},
        },
        "regions_with_capacity_available": [{"name": "us-central-3", "description": "Des Moines, IA"}],
        "capacity_available": 8,
    }


def test_what_is_out_of_stock_has_no_regions(account: Account) -> None:
    item = account.get("/gpu-inventory")["gpu_inventory"]["gpu_1x_v100"]
    assert item["capacity_available"] == 0
    assert item["regions_with_capacity_available"] == []


def test_the_images(account: Account) -> None:
    images = account.get("/images")["images"]
    assert {"vm_image_id": 84, "vm_image_name": "Ubuntu Server 22.04 w/ drivers"}.items() <= images[0].items()


def test_an_instance_from_deploy_to_terminate(account: Account) -> None:
    before = account.get("/gpu-inventory")["gpu_inventory"]["gpu_1x_l40"]["capacity_available"]
    uuid = account.deploy(instanceName="rn-default-abc-1")
    assert str(UUID(uuid)) == uuid
    item = account.listed()[uuid]
    assert item["name"] == "rn-default-abc-1"
    assert item["status"] in ("booting", "rented")
    assert item["ip"] == "127.0.0.1"
    assert account.get("/gpu-inventory")["gpu_inventory"]["gpu_1x_l40"]["capacity_available"] == before - 1
    item = account.ready(uuid)
    assert (item["status"], item["os_booted"], item["active"], item["username"]) == ("rented", 1, 1, "Ubuntu")
    assert isinstance(item["password"], str)
    assert item["region"] == {"name": "us-central-3", "description": "Des Moines, IA"}
    assert item["image"]["id"] == 84
    assert item["product"]["price_hr"] == item["product"]["final_price_hr"] == "0.860000"
    assert abs((datetime.now(UTC) - datetime.fromisoformat(item["created"])).total_seconds()) < 60
    assert account.get(f"/instance/{uuid}") == {"runningInstances": [account.listed()[uuid]]}
    answer = account.post("/instance/terminate", {"instanceUuids": [uuid]}, 202)
    (summary,) = answer["response"]["data"]["terminated_instances"]
    assert summary["id"] == uuid
    assert summary["name"] == "rn-default-abc-1"
    assert summary["instance_type"]["price_cents_per_hour"] == 0
    assert uuid not in account.listed()
    assert account.http.get(f"/instance/{uuid}").status_code == 404
    assert account.http.post("/instance/terminate", json={"instanceUuids": [uuid]}).status_code == 404
    assert account.get("/gpu-inventory")["gpu_inventory"]["gpu_1x_l40"]["capacity_available"] == before


def test_terminate_takes_a_list_and_leaves_out_what_is_gone(account: Account) -> None:
    one, two = account.deploy(), account.deploy()
    assert account.terminate(one) == [one]
    assert account.terminate(two, one, "no-such-uuid") == [two]


def test_restart_answers_with_booting_instances(account: Account) -> None:
    uuid = account.deploy()
    account.ready(uuid)
    answer = account.post("/instance/restart", {"instanceUuids": [uuid]}, 202)
    assert [(item["id"], item["status"]) for item in answer["response"]] == [(uuid, "booting")]
    account.ready(uuid)
    account.terminate(uuid)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"imageId": "84"}, "imageId"),
        ({"imageId": True}, "imageId"),
        ({"imageId": 84.0}, "imageId"),
        ({"imageId": 5}, "VM Image not found"),
        ({"imageId": None}, "imageId"),
        ({"productName": "gpu_9x_nothing"}, "Product not found"),
        ({"productName": 5}, "productName"),
        ({"regionName": "us-central-3"}, "regionName"),
        ({"instanceName": "with space"}, "instanceName"),
        ({"instanceName": "x" * 64}, "instanceName"),
        ({"instanceName": None}, "instanceName"),
        ({"sshKeys": ["no such key"]}, "SSH key not found: no such key"),
        ({"sshKey": "fleet"}, "sshKey"),
        ({"sshKeys": [1]}, "sshKeys"),
        ({"command": ["true"]}, "command"),
        ({"command": "x" * 70_000}, "command"),
        ({"coupon": "Nonsense"}, "Coupon not found"),
        ({"imageName": "x"}, 'Unknown field: "imageName"'),
        ({"env_vars": {}}, 'Unknown field: "env_vars"'),
    ],
)
def test_a_deploy_that_is_wrong_is_refused(account: Account, change: dict[str, object], text: str) -> None:
    answer = account.http.post("/instance/launch", json=DEPLOY | change)
    assert answer.status_code == 400
    assert text in answer.json()["message"]


@pytest.mark.parametrize("field", ["imageId", "productName", "regionName"])
def test_a_deploy_that_lacks_a_field_is_refused(account: Account, field: str) -> None:
    body = {name: value for name, value in DEPLOY.items() if name != field}
    answer = account.http.post("/instance/launch", json=body)
    assert (answer.status_code, answer.json()) == (400, {"message": f'Missing field: "{field}"'})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/instance/terminate", {}),
        ("/instance/terminate", {"instanceUuids": "x"}),
        ("/instance/terminate", {"instanceUuids": []}),
        ("/instance/terminate", {"instanceUuids": [None]}),
        ("/instance/terminate", {"instanceUuids": ["x"], "force": True}),
        ("/instance/terminate", {"instanceUuids": ["x"] * 101}),
        ("/instance/restart", {"uuids": ["x"]}),
        ("/coupon/information", {"code": "TestCoupon"}),
        ("/account/token/validation", {"token": "x"}),
        ("/instance/launch", []),
        ("/instance/launch", "text"),
        ("/ssh-keys", {"name": "n"}),
        ("/ssh-keys", {"name": "n", "publicKey": "nonsense"}),
        ("/ssh-keys", {"name": "a-b", "publicKey": new_key().line}),
        ("/ssh-keys", {"name": "n", "public_key": new_key().line}),
    ],
)
def test_other_bodies_that_are_wrong_are_refused(account: Account, path: str, body: object) -> None:
    assert account.http.post(path, json=body).status_code == 400


def test_a_body_has_to_be_json_and_say_so(account: Account) -> None:
    headers = {"content-type": "application/json"}
    assert account.http.post("/instance/launch", content=b"{", headers=headers).status_code == 400
    assert account.http.post("/instance/launch", data={"imageId": "84"}).status_code == 415
    assert account.http.post("/instance/launch", content=b"x" * 2_000_000, headers=headers).status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        b'{"imageId": 84, "productName": "\\ud800", "regionName": "any"}',
        b'{"\\ud800": 1}',
        b'{"productName": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"imageId": NaN, "productName": "x", "regionName": "any"}',
    ],
    ids=["half a character", "in a name", "deep", "not a number"],
)
@pytest.mark.parametrize("path", ["/api/v1/instance/launch", "/sim/faults", "/sim/stock", "/sim/prices"])
def test_json_that_cannot_be_sent_back_is_refused(account: Account, path: str, body: bytes) -> None:
    url = account.sim.url.replace("/api/v1", path)
    answer = account.http.post(url, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400


def test_unknown_paths_and_methods(account: Account) -> None:
    assert account.http.get("/instances").status_code == 404
    assert account.http.get("/instance/launch").status_code == 404  # read as the uuid "launch"
    assert account.http.delete("/images").status_code == 405
    assert account.http.post("/instance/terminate", json={"instanceUuids": ["launch"]}).status_code == 404


OPERATIONS = [
    ("GET", "/gpu-inventory"),
    ("GET", "/images"),
    ("GET", "/instance"),
    ("GET", "/instance/x"),
    ("POST", "/instance/launch"),
    ("POST", "/instance/restart"),
    ("POST", "/instance/terminate"),
    ("POST", "/coupon/information"),
    ("POST", "/coupon/accepted-products"),
    ("POST", "/account/token/validation"),
    ("GET", "/account/billing"),
    ("GET", "/ssh-keys"),
    ("POST", "/ssh-keys"),
    ("DELETE", "/ssh-keys/x"),
]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic {token}", "{token}"])
def test_no_operation_without_the_token(account: Account, method: str, path: str, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header.format(token=account.sim.token)}
    answer = httpx.request(method, account.sim.url + path, headers=headers, trust_env=False)
    assert answer.status_code == 401


def test_each_cloud_has_tokens_of_its_own() -> None:
    one, other = SimConfig(), SimConfig()
    assert len({one.token, one.read_only_token, other.token, other.read_only_token}) == 4
    assert len(one.token) > 30
    assert SimConfig(token="chosen").token == "chosen"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.1.2.3:80", 200),
        ("[::1]:80", 200),
        ("rebound.example.com", 421),
        ("127.0.0.1.example.com:80", 421),
        ("192.168.0.7", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_only_those_who_call_it_by_a_loopback_address_are_answered(
    account: Account, host: str, status: int
) -> None:
    assert account.http.get("/images", headers={"host": host}).status_code == status
    control = account.sim.url.replace("/api/v1", "/sim/faults")
    assert account.http.get(control, headers={"host": host}).status_code == status


def test_the_read_only_token_reads_only(account: Account) -> None:
    headers = {"authorization": f"Bearer {account.sim.read_only_token}"}
    with httpx.Client(base_url=account.sim.url, headers=headers, trust_env=False) as reader:
        for path in ("/gpu-inventory", "/images", "/instance", "/account/billing", "/ssh-keys"):
            assert reader.get(path).status_code == 200
        assert reader.post("/account/token/validation").json() == {"message": "Valid Token"}
        assert reader.post("/coupon/information", json={"coupon": "TestCoupon"}).status_code == 200
        uuid = account.deploy()
        for path, body in (
            ("/instance/launch", DEPLOY),
            ("/instance/restart", {"instanceUuids": [uuid]}),
            ("/instance/terminate", {"instanceUuids": [uuid]}),
            ("/ssh-keys", {"name": "n", "publicKey": new_key().line}),
        ):
            assert reader.post(path, json=body).status_code == 403
        assert reader.delete("/ssh-keys/x").status_code == 403
    assert uuid in account.listed()
    account.terminate(uuid)


def test_the_token_is_valid(account: Account) -> None:
    assert account.http.post("/account/token/validation").json() == {"message": "Valid Token"}
    assert account.post("/account/token/validation", {}) == {"message": "Valid Token"}


def test_the_recharge_settings(account: Account) -> None:
    assert account.get("/account/billing") == {
        "billingMethod": "creditcard",
        "rechargeThresholdCents": 1000,
        "rechargeThreshold": "10",
        "rechargeAmountCents": 2000,
        "rechargeAmount": "20",
    }


def test_coupons(account: Account) -> None:
    coupon = account.post("/coupon/information", {"coupon": "TestCoupon"})["coupon"]
    assert coupon == {
        "code": "TestCoupon",
        "discountPercent": "0.1",
        "deactivationDate": "2099-01-01T00:00:00.000Z",
    }
    found = account.post("/coupon/accepted-products", {"coupon": "TestCoupon"})["couponValidation"]
    assert found["coupon"] == coupon
    assert found["productDetails"][0] == {
        "name": "gpu_1x_l40",
        "description": "1x L40 (48GB)",
        "pricePerHour": "0.860000",
        "inventoryAvailable": True,
    }
    account.post("/coupon/information", {"coupon": "Nonsense"}, 404)


@pytest.mark.parametrize(
    ("product", "coupon", "final"),
    [
        ("gpu_1x_l40", "TestCoupon", "0.774000"),
        ("gpu_1x_h100", "TestCoupon", "2.350000"),  # not in the coupon: ignored without a word
        ("gpu_1x_l40", "OldCoupon", "0.860000"),  # its date is past
    ],
)
def test_a_coupon_is_applied_or_ignored(account: Account, product: str, coupon: str, final: str) -> None:
    uuid = account.deploy(productName=product, coupon=coupon)
    shown = account.listed()[uuid]["product"]
    assert shown["final_price_hr"] == final
    assert account.sim.ledger()[uuid].price_micros_per_hour == round(float(final) * 1_000_000)
    account.terminate(uuid)


def test_keys(account: Account) -> None:
    key = new_key()
    added = account.post("/ssh-keys", {"name": "second key 2", "publicKey": key.line})["sshKey"]
    assert added["name"] == "second key 2"
    assert {"id": added["id"], "name": "second key 2", "public_key": key.line} in account.get("/ssh-keys")[
        "sshKeys"
    ]
    refusal = account.post("/ssh-keys", {"name": "second key 2", "publicKey": key.line}, 400)
    assert "already exists" in refusal["message"]
    assert account.http.delete(f"/ssh-keys/{added['id']}").json() == {"result": {}}
    assert account.http.delete(f"/ssh-keys/{added['id']}").status_code == 404
    assert all(shown["id"] != added["id"] for shown in account.get("/ssh-keys")["sshKeys"])


@pytest.mark.parametrize("field", ["sshKey", "sshKeys"])
def test_both_spellings_of_the_keys_let_in(account: Account, field: str) -> None:
    account.deploy()  # makes sure that the account has its key
    with account.machine(**{field: ["fleet key"]}) as (_, client):
        assert client.get_transport() is not None


def test_an_account_without_keys_and_a_command_gives_a_machine_that_nobody_enters(account: Account) -> None:
    uuid = account.deploy(sshKeys=[])
    account.ready(uuid)
    assert account._try(uuid) is None
    account.terminate(uuid)


def test_stock_runs_out_and_comes_back(account: Account) -> None:
    one = account.deploy(productName="gpu_8x_DGX_A100")
    assert "out of stock" in account.deploy(400, productName="gpu_8x_DGX_A100")
    account.terminate(one)
    account.terminate(account.deploy(productName="gpu_8x_DGX_A100"))


def test_every_answer_has_a_date(account: Account) -> None:
    for answer in (account.http.get("/images"), account.http.get("/instance/none")):
        shown = parsedate_to_datetime(answer.headers["date"])
        assert abs((datetime.now(UTC) - shown).total_seconds()) < 30


def test_the_requests_are_logged(account: Account) -> None:
    account.http.get("/images")
    account.http.post("/instance/launch", json=DEPLOY | {"imageId": 5})
    images, deploy = account.sim.requests()[-2:]
    assert (images.operation, images.method, images.status, images.body) == ("listImages", "GET", 200, None)
    assert (deploy.operation, deploy.status) == ("deployInstance", 400)
    assert deploy.body == DEPLOY | {"imageId": 5}
    assert account.sim.requests("listImages")[-1] == images


def test_the_control_routes(account: Account) -> None:
    base = account.sim.url.removesuffix("/api/v1")
    headers = {"authorization": f"Bearer {account.sim.token}"}
    uuid = account.deploy(instanceName="by-hand")
    account.ready(uuid)
    with httpx.Client(base_url=base, headers=headers, trust_env=False) as control:
        (charge,) = [c for c in control.get("/sim/ledger").json()["charges"] if c["uuid"] == uuid]
        assert (charge["name"], charge["product"], charge["minutes"]) == ("by-hand", "gpu_1x_l40", 1)
        assert (charge["price_usd_per_hour"], charge["cost_usd"]) == ("0.860000", "0.014334")
        assert charge["ended"] is None
        assert control.get("/sim/requests").json()["requests"][-1]["operation"] == "listInstances"
        shown = control.post(
            "/sim/faults", json={"quota": 1, "rules": [{"operation": "*", "times": 1}]}
        ).json()
        assert (shown["quota"], shown["rules"][0]["status"]) == (1, 503)
        assert account.http.get("/images").status_code == 503
        assert control.post("/sim/faults", json={"quota": "x"}).status_code == 400
        assert control.post("/sim/faults", json={"nonsense": 1}).status_code == 400
        assert control.delete("/sim/faults").json()["quota"] == 0
        assert control.post("/sim/stock", json={"gpu_1x_v100": 2}).json()["gpu_1x_v100"] == 2
        for wrong in ({"nothing": 2}, {"gpu_1x_l40": True}, {"gpu_1x_l40": -1}, {"gpu_1x_l40": 10**9}):
            assert control.post("/sim/stock", json={"gpu_1x_v100": 7} | wrong).status_code == 400
        assert control.get("/sim/stock").json()["gpu_1x_v100"] == 2, "all of it or nothing"
        assert control.post("/sim/prices", json={"gpu_1x_v100": 30, "gpu_1x_l40": None}).status_code == 400
        assert control.get("/sim/prices").json()["gpu_1x_v100"] == 22
        assert control.post("/sim/prices", json={"gpu_1x_v100": 30}).json()["gpu_1x_v100"] == 30
        item = account.get("/gpu-inventory")["gpu_inventory"]["gpu_1x_v100"]
        assert item["instance_type"]["price_cents_per_hour"] == 30
        assert control.post("/sim/faults", json={"rate_limit": 1}).status_code == 200
        assert [account.http.get("/images").status_code for _ in range(2)] == [200, 429]
        assert control.post("/sim/faults", json={"rate_limit": None}).status_code == 200
        assert control.post(f"/sim/instances/{uuid}/explode").status_code == 404
        assert control.post("/sim/instances/nobody/vanish").status_code == 404
        assert control.post(f"/sim/instances/{uuid}/stop").json()["phase"] == "stopped"
        assert account.listed()[uuid]["status"] == "Stopped"
        assert control.post(f"/sim/instances/{uuid}/vanish").status_code == 200
        wait_until(lambda: uuid not in account.listed(), what="the instance vanished")
    assert httpx.get(f"{base}/sim/ledger", trust_env=False).status_code == 401
    reader = {"authorization": f"Bearer {account.sim.read_only_token}"}
    assert httpx.get(f"{base}/sim/ledger", headers=reader, trust_env=False).status_code == 401
