"""What the API's answers look like to us: small, frozen, and read tolerantly.

The service is known to answer with numbers or strings for the same price, with fields missing or empty,
and with items that are no items. One bad item never hides the others; what cannot be read is None, and a
whole body that is of another kind is None too. The password and the startup command that a listing shows are
never kept: both let someone in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from ipaddress import ip_address
from typing import Any

from jobs.money import cents_to_micros, parse_price

READY = frozenset({"running", "rented", "active"})
OVER = frozenset({"terminated", "deleted"})
FAILED = frozenset({"failed", "error"})
STOPPED = frozenset({"stopped"})

LONGEST_TEXT = 4000

_COUNT = re.compile(r"gpu_([0-9]{1,4})x_", re.IGNORECASE)
_UUID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_HOST = re.compile(r"(?=.*[A-Za-z])([A-Za-z0-9-]{1,63}\.)+[A-Za-z0-9-]{2,63}")


@dataclass(frozen=True)
class Product:
    """What can be rented. ``price_micros_per_hour`` and ``capacity``: None where the service does not say."""

    name: str
    description: str
    price_micros_per_hour: int | None
    capacity: int | None
    regions: tuple[str, ...]
    vcpus: int | None
    memory_gib: int | None
    storage_gb: int | None

    @property
    def spot(self) -> bool:
        """Cheaper, and may vanish with little notice."""
        return self.name.endswith(("_spot", "_discount")) or "[spot]" in self.description.lower()

    @property
    def gpu_count(self) -> int:
        """The count that the name carries; 0 where it has none."""
        found = _COUNT.match(self.name)
        return int(found.group(1)) if found else 0


@dataclass(frozen=True)
class Image:
    """An image, with the id that this account has for it."""

    id: int
    name: str
    description: str


@dataclass(frozen=True)
class Instance:
    """One machine of the account. ``price_micros_per_hour`` is what is charged, after a coupon.

    Where the service does not say that (then ``price_is_final`` is false), it is the price before a coupon.
    """

    uuid: str
    name: str
    status: str
    os_booted: bool
    ip: str | None
    ssh_port: int | None
    username: str | None
    product: str | None
    price_micros_per_hour: int | None
    region: str | None
    image: str | None
    created: datetime | None
    full_price_micros_per_hour: int | None = None
    price_is_final: bool = False

    @property
    def _word(self) -> str:
        return self.status.strip().lower()

    @property
    def ready(self) -> bool:
        """Whether it has booted and can be reached."""
        return self._word in READY and self.os_booted and bool(self.ip)

    @property
    def terminal(self) -> bool:
        """Whether it is gone, and costs nothing any more."""
        return self._word in OVER

    @property
    def failed(self) -> bool:
        """Whether the service gave up on it; it may still be charged."""
        return self._word in FAILED

    @property
    def stopped(self) -> bool:
        """Stopped by the service, as after a failed recharge; nobody can start it again."""
        return self._word in STOPPED


@dataclass(frozen=True)
class Listing:
    """One answer to `GET /instance`. ``date``: the service's own time. ``complete``: all could be read."""

    instances: tuple[Instance, ...]
    date: datetime
    complete: bool


@dataclass(frozen=True)
class SshKey:
    """A key that the account knows."""

    id: str
    name: str
    public_key: str


@dataclass(frozen=True)
class Coupon:
    """A coupon; ``discount`` is a fraction as decimal text."""

    code: str
    discount: str | None
    deactivation: datetime | None

    @property
    def fraction(self) -> Decimal | None:
        """The discount as a number from 0 to 1; None for what is no fraction, such as a percentage."""
        try:
            found = Decimal(self.discount or "")
        except InvalidOperation:
            return None
        return found if found.is_finite() and 0 <= found <= 1 else None


@dataclass(frozen=True)
class CouponProduct:
    """A product that a coupon is valid for, at its list price: the discount is not taken off yet."""

    name: str
    description: str
    price_micros_per_hour: int | None
    available: bool | None


@dataclass(frozen=True)
class Billing:
    """Recharge settings, in cents; the service never tells a balance."""

    method: str | None
    threshold_cents: int | None
    amount_cents: int | None


def is_uuid(text: str) -> bool:
    """Whether *text* can be the uuid of a machine or the id of a key: it has its place in an address."""
    return _UUID.fullmatch(text) is not None


def products(body: Any) -> tuple[Product, ...] | None:
    """The inventory; None where it is none. An item without a name is skipped."""
    listed = _get(body, "gpu_inventory")
    if isinstance(listed, Mapping):
        listed = list(listed.values())
    if not isinstance(listed, list):
        return None
    return tuple(product for item in listed if (product := _product(item)) is not None)


def images(body: Any) -> tuple[Image, ...] | None:
    """The account's images; None where it is no list of them."""
    listed = _get(body, "images")
    if not isinstance(listed, list):
        return None
    found = []
    for item in _items(listed):
        number, name = _integer(item.get("vm_image_id")), _text(item.get("vm_image_name"))
        if number is not None and name is not None:
            found.append(Image(number, name, _text(item.get("vm_image_description")) or ""))
    return tuple(found)


def instances(body: Any) -> tuple[tuple[Instance, ...], bool] | None:
    """The machines of a listing, and whether all of it could be read; None where it is no listing."""
    if not isinstance(body, Mapping) or "runningInstances" not in body:
        return None
    listed = body["runningInstances"]
    if listed is None:
        return (), False
    if not isinstance(listed, list):
        return None
    found: dict[str, Instance] = {}
    complete = True
    for item in listed:
        machine = instance(item)
        if machine is None:
            complete = False
        else:
            found.setdefault(machine.uuid, machine)
    return tuple(found.values()), complete


def one_instance(body: Any, uuid: str) -> Instance | None:
    """The machine *uuid* of `GET /instance/{uuid}`: a list of one, or one object. None without it."""
    listed = _get(body, "runningInstances")
    candidates = listed if isinstance(listed, list) else [_get(body, "runningInstance"), listed]
    for item in candidates:
        found = instance(item)
        if found is not None and found.uuid.lower() == uuid.lower():
            return found
    return None


def instance(item: Any) -> Instance | None:
    """One machine; None where it has no uuid that could be one."""
    if not isinstance(item, Mapping):
        return None
    uuid = _text(item.get("uuid"))
    if uuid is None or not is_uuid(uuid):
        return None
    product = _mapping(item.get("product"))
    # Zero means "not known", never "free": then the price before the coupon is what is charged.
    final, full = parse_price(product.get("final_price_hr")), parse_price(product.get("price_hr"))
    port = _integer(item.get("ssh_port"))
    return Instance(
        uuid=uuid,
        name=_text(item.get("name"), strip=False) or "",  # one with a space at its end is not ours
        status=_text(item.get("status")) or "",
        os_booted=_integer(item.get("os_booted")) == 1,
        ip=_address(item.get("ip")),
        ssh_port=port if port is not None and 0 < port < 65536 else None,
        username=_text(item.get("username")),
        product=_text(product.get("name")),
        price_micros_per_hour=final or full,
        region=_text(_mapping(item.get("region")).get("name")),
        image=_text(_mapping(item.get("image")).get("name")),
        created=_time(item.get("created")),
        full_price_micros_per_hour=full,
        price_is_final=final is not None,
    )


def acknowledged(body: Any) -> frozenset[str] | None:
    """The uuids in the answer to a terminate, in lower case; None where it names nobody at all."""
    found = _get(_get(_get(body, "response"), "data"), "terminated_instances")
    return _named(found) if isinstance(found, list) else None


def restarted(body: Any) -> frozenset[str] | None:
    """The same for the answer to a restart."""
    found = _get(body, "response")
    return _named(found) if isinstance(found, list) else None


def added_key(body: Any) -> str | None:
    """The id in the answer to a new key; None where it names none."""
    return _text(_mapping(_get(body, "sshKey")).get("id"))


def ssh_keys(body: Any) -> tuple[SshKey, ...] | None:
    """The account's keys; None where it is no list of them."""
    if not isinstance(body, Mapping) or not isinstance(body.get("sshKeys", 0), list | None):
        return None
    found = []
    for item in _items(body["sshKeys"]):
        number, name = _text(item.get("id")), _text(item.get("name"))
        if number is not None and name is not None:
            found.append(SshKey(number, name, _text(item.get("public_key")) or ""))
    return tuple(found)


def coupon(item: Any) -> Coupon | None:
    """A coupon; None where there is none."""
    found = _mapping(item)
    code = _text(found.get("code"))
    if code is None:
        return None
    return Coupon(code, _text(found.get("discountPercent")), _time(found.get("deactivationDate")))


def coupon_validation(body: Any) -> tuple[Coupon | None, tuple[CouponProduct, ...]] | None:
    """A coupon and its products; None where the answer is about no coupon."""
    found = _get(body, "couponValidation")
    if not isinstance(found, Mapping):
        return None
    return coupon(found.get("coupon")), coupon_products(found.get("productDetails"))


def coupon_products(item: Any) -> tuple[CouponProduct, ...]:
    """The products of a coupon: a flat list, or a list of lists."""
    found = []
    for product in _flat(item):
        name = _text(product.get("name"))
        if name is not None:
            found.append(
                CouponProduct(
                    name,
                    _text(product.get("description")) or "",
                    parse_price(product.get("pricePerHour")),
                    _truth(product.get("inventoryAvailable")),
                )
            )
    return tuple(found)


def billing(body: Any) -> Billing | None:
    """The recharge settings; None where it is no object."""
    if not isinstance(body, Mapping):
        return None
    return Billing(
        _text(body.get("billingMethod")), _cents(body, "rechargeThreshold"), _cents(body, "rechargeAmount")
    )


def _cents(body: Mapping[str, Any], name: str) -> int | None:
    """A figure that the service gives in cents, in dollars, or both."""
    cents = _integer(body.get(f"{name}Cents"))
    micros = parse_price(body.get(name))
    if cents is None and micros is not None:
        cents = -(-micros // 10_000)
    return cents


def _named(items: list[Any]) -> frozenset[str]:
    """The uuids of summaries, in lower case."""
    names = [_text(item.get(key)) for item in _items(items) for key in ("id", "uuid")]
    return frozenset(name.lower() for name in names if name is not None)


def _product(item: Any) -> Product | None:
    outer = _mapping(item)
    kind = _mapping(outer.get("instance_type"))
    name = _text(kind.get("name"))
    if name is None:
        return None
    specs = _mapping(kind.get("specs"))
    regions = [_text(region.get("name")) for region in _items(outer.get("regions_with_capacity_available"))]
    capacity = _integer(outer.get("capacity_available"))
    return Product(
        name=name,
        description=_text(kind.get("description")) or "",
        price_micros_per_hour=cents_to_micros(kind.get("price_cents_per_hour")),
        capacity=capacity if capacity is None or capacity >= 0 else None,
        regions=tuple(region for region in regions if region is not None),
        vcpus=_integer(specs.get("vcpu_count")),
        memory_gib=_integer(specs.get("memory_gib")),
        storage_gb=_integer(specs.get("storage_gb")),
    )


def _get(body: Any, name: str) -> Any:
    return body.get(name) if isinstance(body, Mapping) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, Mapping))


def _flat(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, Mapping):
                yield item
            elif isinstance(item, list):
                yield from _items(item)


def _text(value: Any, *, strip: bool = True) -> str | None:
    """Text, or a number as text; None for what is empty or something else. Safe to print and to store."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return None  # Python refuses to write out the largest
    text = (str(value).strip() if strip else str(value))[:LONGEST_TEXT]
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text) or None


def _address(value: Any) -> str | None:
    """An address that one can connect to; None for a placeholder."""
    text = _text(value)
    if text is None:
        return None
    try:
        return None if ip_address(text).is_unspecified else text
    except ValueError:
        return text if _HOST.fullmatch(text) else None


def _integer(value: Any) -> int | None:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else None
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1 << 53 else None
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,18}\s*", value):
        return int(value)
    return None


def _truth(value: Any) -> bool | None:
    """Yes or no, also as a number or as text."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return {0: False, 1: True}.get(value) if isinstance(value, int) else None


def _time(value: Any) -> datetime | None:
    text = _text(value)
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
