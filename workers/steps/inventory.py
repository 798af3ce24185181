"""What can be rented, as the API said lately: asked once for all workers, kept in the database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from jobs.errors import BadRequest, NoAnswer
from jobs.store import account_keys, catalog, limits
from jobs.store.catalog import Coupon, Image, Offer
from jobs.store.database import Database
from workers.cloud.client import DEADLINE_SECONDS, Cloud
from workers.cloud.keys import NAME_HINT, ensure_account_key

FRESH = timedelta(seconds=30)
IMAGES_FRESH = timedelta(minutes=10)
KEYS_FRESH = timedelta(hours=1)
KEYS_SECONDS = 5.0
ALL_KEY_FIELDS = ("sshKey", "sshKeys")

T = TypeVar("T")
_asking_for_offers, _asking_for_images, _asking_for_coupons = (threading.Lock() for _ in range(3))


def offers(db: Database, cloud: Cloud) -> dict[str, Offer]:
    """The products by name, listed anew where what is kept is no longer fresh. Raises ApiError."""

    def fresh() -> dict[str, Offer] | None:
        kept = catalog.offers(db)
        return kept[0] if kept is not None and kept[1] <= FRESH else None

    return fresh() or _ask_once(_asking_for_offers, lambda: list_offers(db, cloud), fresh)


def list_offers(db: Database, cloud: Cloud, deadline_s: float = DEADLINE_SECONDS) -> dict[str, Offer]:
    """Ask for the products now. Raises ApiError."""
    listed = [
        Offer(product.name, product.price_micros_per_hour, product.capacity, product.gpu_count, product.spot)
        for product in cloud.list_products(deadline_s=deadline_s)
    ]
    if not listed:  # an answer of nothing says nothing of a product
        raise NoAnswer("Massed Compute lists no products at present.")
    catalog.keep(db, listed)
    return {offer.name: offer for offer in listed}


def coupon(db: Database, cloud: Cloud, code: str, deadline_s: float = DEADLINE_SECONDS) -> Coupon:
    """What a coupon gives, asked anew where what is kept is no longer fresh. Raises ApiError.

    The service takes any coupon for any product, and charges the full price where it is not valid.
    """

    def fresh() -> Coupon | None:
        kept = catalog.coupon(db, code)
        return kept[0] if kept is not None and kept[1] <= FRESH else None

    def ask() -> Coupon:
        try:
            found, products = cloud.coupon_products(code, deadline_s=deadline_s)
        except BadRequest:
            found, products = None, ()
        terms = Coupon(code, None, (), None)
        if found is not None:
            off = None if found.fraction is None else format(found.fraction, "f")
            terms = Coupon(code, off, tuple(product.name for product in products), found.deactivation)
        catalog.keep_coupon(db, terms)
        return terms

    return fresh() or _ask_once(_asking_for_coupons, ask, fresh)


def image_id(db: Database, cloud: Cloud, wanted: str) -> int | None:
    """The id of an image by its name (trimmed, any case) or id; None where there is none. Raises ApiError."""

    def fresh() -> list[Image] | None:
        kept = catalog.images(db)
        return kept[0] if kept is not None and kept[1] <= IMAGES_FRESH else None

    found = _match(fresh() or [], wanted)
    if found is not None:
        return found
    return _match(_ask_once(_asking_for_images, lambda: list_images(db, cloud), fresh), wanted)


def list_images(db: Database, cloud: Cloud, deadline_s: float = DEADLINE_SECONDS) -> list[Image]:
    """Ask for the images now. Raises ApiError."""
    listed = [Image(image.id, image.name) for image in cloud.list_images(deadline_s=deadline_s)]
    if not listed:
        raise NoAnswer("Massed Compute lists no images at present.")
    catalog.keep_images(db, listed)
    return listed


def known_images(db: Database) -> list[str]:
    """The names of the images that the API listed last."""
    kept = catalog.images(db)
    return [] if kept is None else [image.name for image in kept[0]]


def key_names(db: Database, cloud: Cloud, public_line: str) -> tuple[str, ...]:
    """The names under which the account knows our key; empty where it has no key API. Raises ApiError."""
    kept = account_keys.known(db, public_line)
    if kept is not None and kept[1] < KEYS_FRESH:
        return kept[0]
    names = ensure_account_key(
        cloud,
        public_line,
        NAME_HINT,
        deadline_s=KEYS_SECONDS,
        adding=lambda name: account_keys.adding(db, name),
    )
    account_keys.remember(db, public_line, names)
    return names


def settle_keys(db: Database, cloud: Cloud) -> None:
    """Look for keys of ours of which it is not known whether they were added. Raises ApiError."""
    doubtful = account_keys.in_doubt(db)
    if not doubtful:
        return
    listed = {key.name for key in cloud.list_keys(deadline_s=KEYS_SECONDS) or ()}
    for outcome, there in (("added", True), ("absent", False)):
        account_keys.settled(db, [row_id for row_id, name in doubtful if (name in listed) is there], outcome)


def key_fields(db: Database) -> tuple[str, ...]:
    """The spellings of the key's field that the service takes, as far as we know."""
    kept = limits.recall(db, "key_fields")
    return ALL_KEY_FIELDS if kept is None else tuple(kept[0]["fields"])


def without_key_field(db: Database, refused: str) -> tuple[str, ...]:
    """Remember that the service refuses one spelling; returns those that are left."""
    left = tuple(field for field in key_fields(db) if field != refused)
    limits.remember(db, "key_fields", {"fields": list(left)})
    return left


def _ask_once(asking: threading.Lock, ask: Callable[[], T], fresh: Callable[[], T | None]) -> T:
    """Ask, unless another thread of this process is about to: then wait for what it is told.

    Many jobs are admitted at once, and each question is one of two requests a second. Raises ApiError.
    """
    if asking.acquire(blocking=False):
        try:
            return ask()
        finally:
            asking.release()
    told = None
    if asking.acquire(timeout=DEADLINE_SECONDS):
        asking.release()
        told = fresh()
    if told is None:
        raise NoAnswer("Massed Compute has not answered another job that asked for the same.")
    return told


def _match(images: list[Image], wanted: str) -> int | None:
    return next((image.id for image in images if image.answers_to(wanted)), None)
