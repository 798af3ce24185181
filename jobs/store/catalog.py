"""What can be rented, as the API listed it last: shared by all workers, and by those who only submit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import timedelta

from jobs.store import limits
from jobs.store.database import Database


@dataclass(frozen=True)
class Offer:
    """One product. ``price``: micro-dollars an hour; None, like a ``capacity`` of None, is not known."""

    name: str
    price: int | None
    capacity: int | None
    gpus: int


def keep(db: Database, offers: Iterable[Offer]) -> None:
    """Keep the inventory that the API has just listed."""
    limits.remember(db, "inventory", {"products": [asdict(offer) for offer in offers]})


def offers(db: Database) -> tuple[dict[str, Offer], timedelta] | None:
    """The products by name, and how long ago they were listed; None where nobody ever asked."""
    kept = limits.recall(db, "inventory")
    if kept is None:
        return None
    return {item["name"]: Offer(**item) for item in kept[0]["products"]}, kept[1]
