"""What can be rented, as the API listed it last: shared by all workers, and by those who only submit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta

from jobs.store import limits
from jobs.store.database import Database

PRICES_HOLD = timedelta(minutes=10)
"""For longer nobody is kept waiting because of a price, which may have fallen."""


@dataclass(frozen=True)
class Offer:
    """One product. ``price``: micro-dollars an hour; None, like a ``capacity`` of None, is not known.

    ``spot``: its machines may be taken away with little notice.
    """

    name: str
    price: int | None
    capacity: int | None
    gpus: int
    spot: bool = False


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
