"""The operations of the simulated API, one line each: name, method, path, what it does, what it takes.

The names are the operationIds of the API, by which faults and the log of requests call them too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runner.sim import render
from runner.sim.cloud import Cloud
from runner.sim.shapes import AddKey, Body, CouponCode, Deploy, Empty, Uuids


@dataclass(frozen=True)
class Operation:
    """One operation of the API: *work* gets the checked body and the path's parameter, and answers JSON."""

    name: str
    method: str
    path: str
    work: Callable[[Any, str], object]
    body: type[Body] | None = None
    status: int = 200
    write: bool = False


def operations(cloud: Cloud) -> list[Operation]:
    """Every operation of the API, as `api.yaml` names them."""

    def deploy(body: Deploy, _: str) -> object:
        return {"response": cloud.deploy(body).uuid}

    def get(_: None, uuid: str) -> object:
        return render.one_instance(cloud.get(uuid))

    def validate(_: Empty, __: str) -> object:
        return {"message": "Valid Token"}

    def coupon(body: CouponCode, _: str) -> object:
        return {"coupon": render.coupon(cloud.coupon(body.coupon), cloud.faults)}

    def coupon_products(body: CouponCode, _: str) -> object:
        return render.coupon_products(cloud, cloud.coupon(body.coupon))

    def restart(body: Uuids, _: str) -> object:
        return {
            "response": [render.summary(machine, "booting") for machine in cloud.restart(body.instanceUuids)]
        }

    def terminate(body: Uuids, _: str) -> object:
        ended = [render.summary(machine, "terminated") for machine in cloud.terminate(body.instanceUuids)]
        return {"response": {"data": {"terminated_instances": ended}}}

    def add_key(body: AddKey, _: str) -> object:
        key = cloud.add_key(body)
        return {"sshKey": {"id": key.id, "name": key.name}}

    def remove_key(_: None, key_id: str) -> object:
        cloud.remove_key(key_id)
        return {"result": {}}

    return [
        Operation("listInventory", "GET", "/gpu-inventory", lambda _, __: render.inventory(cloud)),
        Operation("listImages", "GET", "/images", lambda _, __: render.images(cloud)),
        Operation("listInstances", "GET", "/instance", lambda _, __: render.instances(cloud)),
        Operation("deployInstance", "POST", "/instance/launch", deploy, Deploy, 202, True),
        Operation("restartInstances", "POST", "/instance/restart", restart, Uuids, 202, True),
        Operation("terminateInstances", "POST", "/instance/terminate", terminate, Uuids, 202, True),
        Operation("getInstance", "GET", "/instance/{uuid}", get),
        Operation("getCoupon", "POST", "/coupon/information", coupon, CouponCode),
        Operation("getCouponProducts", "POST", "/coupon/accepted-products", coupon_products, CouponCode),
        Operation("validateToken", "POST", "/account/token/validation", validate, Empty),
        Operation("getBilling", "GET", "/account/billing", lambda _, __: render.billing(cloud.faults)),
        Operation("listSshKeys", "GET", "/ssh-keys", lambda _, __: render.keys(list(cloud.keys.values()))),
        Operation("addSshKey", "POST", "/ssh-keys", add_key, AddKey, 200, True),
        Operation("removeSshKey", "DELETE", "/ssh-keys/{id}", remove_key, None, 200, True),
    ]
