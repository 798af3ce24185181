"""The bodies that the simulated API answers with, in the service's field names, types and oddities."""

from __future__ import annotations

from runner.sim.cloud import Cloud, Key
from runner.sim.config import Coupon, Product
from runner.sim.faults import Faults
from runner.sim.ledger import dollars, stamp
from runner.sim.machine import Machine

Json = dict[str, object]


def inventory(cloud: Cloud) -> Json:
    """`GET /gpu-inventory`."""
    items: Json = {}
    for product in cloud.products.values():
        left = cloud.stock[product.name]
        items[product.name] = {
            "instance_type": _instance_type(product, "vcpu_count"),
            "regions_with_capacity_available": [_region(product)] if left > 0 else [],
            "capacity_available": left,
        }
    if cloud.faults.odd_inventory:
        items["gpu_1x_untyped"] = {"regions_with_capacity_available": [], "capacity_available": 1}
        items["gpu_1x_nameless"] = {"instance_type": {"description": "no name"}, "capacity_available": 1}
        items["gpu_1x_bare"] = {"instance_type": {"name": "gpu_1x_bare", "specs": {}}}
    return {"gpu_inventory": items}


def images(cloud: Cloud) -> Json:
    """`GET /images`."""
    return {
        "images": [
            {"vm_image_id": image.id, "vm_image_name": image.name, "vm_image_description": image.description}
            for image in cloud.config.images
        ]
    }


def instance(machine: Machine, phase: str) -> Json:
    """One instance as the listing shows it."""
    faults = machine.faults
    product = machine.order.product
    booted = phase == "ready"
    item: Json = {
        "uuid": machine.uuid,
        "name": machine.order.name,
        "ip": "127.0.0.1" if booted or phase == "stopped" or faults.address_before_boot else "",
        "ssh_port": machine.port,
        "username": machine.username,
        "password": int(machine.password) if faults.prices_as == "number" else machine.password,
        "status": _status(phase, faults),
        "os_booted": int(booted),
        "command_startup": machine.order.command,
        "created": stamp(machine.started),
        "active": int(phase not in ("terminating", "terminated", "failed")),
        "region": _region(product),
        "image": {
            "id": machine.order.image.id,
            "name": machine.order.image.name,
            "description": machine.order.image.description,
        },
        "product": _product(machine),
    }
    if faults.sparse_instances:
        del item["region"]
        item["image"] = {"id": machine.order.image.id, "name": ""}
    return item


def _product(machine: Machine) -> Json:
    faults = machine.faults
    product = machine.order.product
    shown: Json = {
        "name": product.name,
        "description": product.description,
        "gpu_count": product.gpu_count,
        "vcpu": product.vcpus,
        "ram": product.memory_gib,
        "storage": product.storage_gb,
        "price_hr": _price(machine.order.price_micros, faults),
    }
    if faults.final_price != "missing":
        final = 0 if faults.final_price == "zero" else machine.order.final_price_micros
        shown["final_price_hr"] = _price(final, faults)
    return shown


def instances(cloud: Cloud) -> Json:
    """`GET /instance`."""
    items: list[object] = [instance(machine, phase) for machine, phase in cloud.listing()]
    if cloud.faults.take("listing_bad_items"):
        items.insert(len(items) // 2, {"uuid": None, "name": 7, "product": "?"})
    return {"runningInstances": items}


def one_instance(machine: Machine) -> Json:
    """`GET /instance/{uuid}`: a list of one, or one object as in the older reference."""
    item = instance(machine, machine.phase)
    return {"runningInstance": item} if machine.faults.get_as_object else {"runningInstances": [item]}


def summary(machine: Machine, status: str) -> Json:
    """One instance in the answers to restart and terminate; their prices are 0, as on the service."""
    product = machine.order.product
    kind = _instance_type(product, "vcpus")
    return {
        "id": machine.uuid,
        "name": machine.order.name,
        "ip": "127.0.0.1",
        "status": status,
        "ssh_key_names": list(machine.order.key_names),
        "file_system_names": [],
        "region": _region(product),
        "instance_type": kind | {"price_cents_per_hour": 0},
        "jupyter_token": "",
        "jupyter_url": "",
    }


def coupon(found: Coupon, faults: Faults) -> Json:
    """A coupon: its discount is a fraction, despite the name."""
    discount: object = float(found.discount) if faults.prices_as == "number" else found.discount
    return {"code": found.code, "discountPercent": discount, "deactivationDate": stamp(found.deactivation)}


def coupon_products(cloud: Cloud, found: Coupon) -> Json:
    """`POST /coupon/accepted-products`: a flat list, or a list of lists."""
    shown: list[object] = [
        {
            "name": product.name,
            "description": product.description,
            "pricePerHour": _price(product.price_cents * 10_000, cloud.faults),
            "inventoryAvailable": cloud.stock[product.name] > 0,
        }
        for name in found.products
        if (product := cloud.products.get(name)) is not None
    ]
    details = [[item] for item in shown] if cloud.faults.nested_coupon_lists else shown
    return {"couponValidation": {"coupon": coupon(found, cloud.faults), "productDetails": details}}


def billing(faults: Faults) -> Json:
    """`GET /account/billing`: recharge settings, never a balance."""
    numbers = faults.prices_as == "number"
    if faults.no_recharge_settings:
        return dict.fromkeys(
            (
                "billingMethod",
                "rechargeThresholdCents",
                "rechargeThreshold",
                "rechargeAmountCents",
                "rechargeAmount",
            )
        )
    return {
        "billingMethod": "creditcard",
        "rechargeThresholdCents": 1000,
        "rechargeThreshold": 10 if numbers else "10",
        "rechargeAmountCents": 2000,
        "rechargeAmount": 20 if numbers else "20",
    }


def keys(found: list[Key]) -> Json:
    """`GET /ssh-keys`."""
    return {"sshKeys": [{"id": key.id, "name": key.name, "public_key": key.public_key} for key in found]}


def _status(phase: str, faults: Faults) -> str:
    words = {"booting": faults.booting_status, "ready": faults.ready_status, "stopped": "Stopped"}
    return words.get(phase, phase)


def _price(micros: int, faults: Faults) -> object:
    return micros / 1_000_000 if faults.prices_as == "number" else dollars(micros)


def _region(product: Product) -> Json:
    return {"name": product.region[0], "description": product.region[1]}


def _instance_type(product: Product, vcpus: str) -> Json:
    return {
        "name": product.name,
        "description": product.description,
        "price_cents_per_hour": product.price_cents,
        "specs": {vcpus: product.vcpus, "memory_gib": product.memory_gib, "storage_gb": product.storage_gb},
    }
