"""What can be rented, as the API listed it last: shared by all workers, and by those who only submit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from jobs.money import discounted
from jobs.store import limits
from jobs.store.database import Database

PRICES_HOLD = timedelta(minutes=10)
"""For longer nobody is kept waiting because of a price, which may have fallen."""


@dataclass(frozen=True)
class Offer:
    """One product. ``price``: micro-dollars an hour; None, like a ``capacity`` of None, is not known.

    ``spot``: its machines may be taken away with little notice. ``full_price``: before a coupon, if any.
    """

    name: str
    price: int | None
    capacity: int | None
    gpus: int
    spot: bool = False
    full_price: int | None = None


@dataclass(frozen=True)
class Coupon:
    """What a coupon gives. ``products``: those that it is valid for, and none where nobody knows of it.

    ``fraction``: what is taken off, from 0 to 1, as decimal text. None is not known, of it and of ``until``.
    """

    code: str
    fraction: str | None
    products: tuple[str, ...]
    until: datetime | None

    def refused(self, now: datetime, products: Iterable[str] = ()) -> str | None:
        """Why it is of no use, for any of *products* where there are any, as a sentence; None where it is."""
        named = ", ".join(self.products)
        wanted = list(products)
        if not self.products:
            return f"there is no coupon {self.code!r} that is valid for anything"
        if self.until is not None and self.until <= now:
            return f"the coupon {self.code!r} was valid until {self.until:%Y-%m-%d %H:%M} UTC"
        if self.fraction is not None and Decimal(self.fraction) == 0:
            return f"the coupon {self.code!r} takes nothing off"
        if self.fraction is not None and Decimal(self.fraction) >= 1:
            return f"the coupon {self.code!r} takes all off, and nothing is rented without a price"
        if wanted and not set(wanted) & set(self.products):
            return f"the coupon {self.code!r} is not valid for {', '.join(wanted)}; it is for {named}"
        return None

    def of(self, offers: Mapping[str, Offer]) -> dict[str, Offer]:
        """The offers that it is valid for, at what is charged with it."""
        return {name: self._off(offers[name]) for name in self.products if name in offers}

    def _off(self, offer: Offer) -> Offer:
        if offer.price is None or self.fraction is None:
            return offer
        return replace(offer, price=discounted(offer.price, Decimal(self.fraction)), full_price=offer.price)


def keep_coupon(db: Database, coupon: Coupon) -> None:
    """Keep what the API has just said of a coupon."""
    until = None if coupon.until is None else coupon.until.isoformat()
    limits.remember(db, _coupon_key(coupon.code), {**asdict(coupon), "until": until})


def coupon(db: Database, code: str) -> tuple[Coupon, timedelta] | None:
    """A coupon, and how long ago the API told of it; None where nobody ever asked."""
    kept = limits.recall(db, _coupon_key(code))
    if kept is None:
        return None
    until = kept[0]["until"]
    value = {
        **kept[0],
        "products": tuple(kept[0]["products"]),
        "until": None if until is None else datetime.fromisoformat(until),
    }
    return Coupon(**value), kept[1]


def _coupon_key(code: str) -> str:
    return f"coupon:{code}"


def choices(products: Iterable[str], offers: Mapping[str, Offer], *, cheapest: bool) -> list[str]:
    """Which products a job takes, in the order in which they are tried.

    Where the *cheapest* is wanted and none are named, it takes all that have a GPU and a price, but for spot
    ones: they may vanish, which is for their user to choose.
    """
    named = list(products)
    if not cheapest:
        return named
    names = named or [
        offer.name for offer in offers.values() if offer.gpus > 0 and offer.price and not offer.spot
    ]

    def price(name: str) -> tuple[bool, int, str]:
        found = offers[name].price if name in offers else None
        return found is None, found or 0, name

    return sorted(names, key=price)


def prices_of(products: Iterable[str], offers: Mapping[str, Offer], *, coupon: bool) -> list[int | None]:
    """What each product that a job takes costs an hour; with a *coupon* it takes only what is offered."""
    return [
        offers[name].price if name in offers else None for name in products if not coupon or name in offers
    ]


@dataclass(frozen=True)
class Image:
    """One image that a machine can start from."""

    id: int
    name: str

    def answers_to(self, wanted: str) -> bool:
        """Whether a person who says *wanted* means this one: its id, or its name in any case."""
        text = wanted.strip()
        return self.name.strip().casefold() == text.casefold() or str(self.id) == text


def keep(db: Database, offers: Iterable[Offer]) -> None:
    """Keep the inventory that the API has just listed."""
    products = [asdict(offer) for offer in offers]
    # Beside them: workers of before read each product whole, and know no more than they did.
    spot = [product["name"] for product in products if product.pop("spot")]
    for product in products:
        del product["full_price"]  # the inventory knows no coupon
    limits.remember(db, "inventory", {"products": products, "spot": spot})


def offers(db: Database) -> tuple[dict[str, Offer], timedelta] | None:
    """The products by name, and how long ago they were listed; None where nobody ever asked."""
    kept = limits.recall(db, "inventory")
    if kept is None:
        return None
    spot = frozenset(kept[0].get("spot", ()))
    return {item["name"]: Offer(**item, spot=item["name"] in spot) for item in kept[0]["products"]}, kept[1]


def prices(db: Database) -> dict[str, int]:
    """What the products cost now, in micro-dollars an hour, as far as that was listed lately."""
    kept = offers(db)
    if kept is None or kept[1] > PRICES_HOLD:
        return {}
    return {offer.name: offer.price for offer in kept[0].values() if offer.price is not None}


def keep_images(db: Database, images: Iterable[Image]) -> None:
    """Keep the images that the API has just listed."""
    limits.remember(db, "images", {"images": [asdict(image) for image in images]})


def images(db: Database) -> tuple[list[Image], timedelta] | None:
    """The images, and how long ago they were listed; None where nobody ever asked."""
    kept = limits.recall(db, "images")
    return None if kept is None else ([Image(**item) for item in kept[0]["images"]], kept[1])
