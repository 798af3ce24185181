"""What there is to rent, for those who submit: asked for shortly, and never a condition.

What the database keeps serves all. It is asked for anew where it is old, or lacks what is wanted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from jobs.errors import ApiError, InvalidToken
from jobs.settings import Settings
from jobs.spec import Spec
from jobs.store import catalog
from jobs.store.catalog import Coupon, Image, Offer
from jobs.store.database import Database

if TYPE_CHECKING:
    from workers.cloud.client import Cloud

log = logging.getLogger(__name__)

SECONDS = 5.0
"""How long submitting waits for the API at most; one that is away is found out when the job starts."""
OLD = timedelta(minutes=10)
JUST_NOW = timedelta(seconds=30)
"""What is missing in a list that was made so lately is not looked for again."""


@dataclass(frozen=True)
class Known:
    """What was listed last, or None for what never was; ``age``: of the older one of the two."""

    offers: dict[str, Offer] | None
    images: list[Image] | None
    age: timedelta

    def has(self, specs: Sequence[Spec]) -> bool:
        """Whether everything that these jobs want is there."""
        if self.offers is None or self.images is None:
            return False
        return all(product in self.offers for spec in specs for product in spec.products) and all(
            self.has_image(wanted) for wanted in {spec.image for spec in specs}
        )

    def has_image(self, wanted: str) -> bool:
        """Whether an image goes by this name or id, or none was ever listed."""
        return self.images is None or any(image.answers_to(wanted) for image in self.images)


def known(db: Database, settings: Settings, specs: Sequence[Spec]) -> Known:
    """What the API lists, as far as these jobs need it, or what it listed last where it does not answer.

    Raises InvalidToken.
    """
    found = _kept(db)
    if settings.api_token is None or found.age <= JUST_NOW or (found.age <= OLD and found.has(specs)):
        return found
    try:
        refresh(db, settings, SECONDS)
    except InvalidToken:
        raise
    except ApiError as error:
        log.info("the inventory is the one that was listed last: %s", error)
    return _kept(db)


def coupons(db: Database, settings: Settings, codes: Collection[str]) -> dict[str, Coupon]:
    """What these coupons give, as far as the API tells now. Raises InvalidToken."""
    if not codes or settings.api_token is None:
        return {}
    from workers.steps import inventory

    found: dict[str, Coupon] = {}
    try:
        with _cloud(db, settings) as cloud:
            for code in codes:
                found[code] = inventory.coupon(db, cloud, code, SECONDS)
    except InvalidToken:
        raise
    except ApiError as error:
        log.info("a coupon was not checked: %s", error)
    return found


def refresh(db: Database, settings: Settings, deadline_s: float) -> None:
    """Ask the API for products and images, each for *deadline_s* seconds at most. Raises ApiError."""
    from workers.steps import inventory

    with _cloud(db, settings) as cloud:
        inventory.list_offers(db, cloud, deadline_s)
        inventory.list_images(db, cloud, deadline_s)


def _cloud(db: Database, settings: Settings) -> Cloud:
    from workers.cloud.client import Cloud
    from workers.steps.gate import DatabaseGate

    gate = DatabaseGate(db, threading.Event(), settings.api_rate)
    return Cloud(settings.api_url, settings.required_token(), gate=gate)


def _kept(db: Database) -> Known:
    offers, images = catalog.offers(db), catalog.images(db)
    never = timedelta.max
    return Known(
        None if offers is None else offers[0],
        None if images is None else images[0],
        max(never if offers is None else offers[1], never if images is None else images[1]),
    )
