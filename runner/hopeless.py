"""What is refused at the submit, because the inventory and the prices show that it can never run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from jobs import money
from jobs.errors import InvalidJob
from jobs.settings import Settings
from jobs.spec import Spec
from jobs.store import catalog
from jobs.store.catalog import Offer
from jobs.store.database import Database
from runner import inventory


def refuse(db: Database, settings: Settings, specs: Sequence[Spec]) -> None:
    """Raise InvalidJob for a product or an image that is not there, or a ceiling that pays for no minute.

    One look at the inventory serves all; where it is not known, nothing is refused.
    """
    known = inventory.known(db, settings, specs)
    for spec in specs:
        if known.offers is not None:
            _check_offers(settings, spec, known.offers)
        if not known.has_image(spec.image):
            names = [image.name for image in known.images or ()]
            hint = _near(spec.image, names, "`runner images` shows those that there are.")
            raise InvalidJob(f"Massed Compute lists no image {spec.image!r}; {hint}")


def _check_offers(settings: Settings, spec: Spec, offers: Mapping[str, Offer]) -> None:
    for product in spec.products:
        if product not in offers:
            hint = _near(product, offers, "`runner gpus` shows those that there are.")
            raise InvalidJob(f"Massed Compute lists no product {product!r}; {hint}")
    names = catalog.choices(spec.products, offers, cheapest=spec.cheapest)
    priced = [(offer.price, name) for name in names if (offer := offers[name]).price is not None]
    if priced and len(priced) == len(names):  # it is enough that one of them can be paid for
        price, product = min(priced)
        _check_ceiling(settings, spec, product, price)


def _check_ceiling(settings: Settings, spec: Spec, product: str, price: int) -> None:
    """Refuse a ceiling that would stop the command before it has had a minute, with the arithmetic."""
    least = money.least_minutes(settings.billing_minimum_minutes, outputs=bool(spec.outputs))
    minutes = money.affordable_minutes(spec.max_cost, price)
    if minutes < least:
        meter = money.Meter()
        meter.add(least, price)
        ending = money.ENDING_SECONDS + (money.LEAST_OUTPUTS_SECONDS if spec.outputs else 0)
        raise InvalidJob(
            f"A ceiling of ${money.format_usd(spec.max_cost)} ({spec.max_cost_source}) pays for "
            f"{minutes} whole min of {product} at ${money.format_usd(price)} an hour. A job needs "
            f"{least}: {money.LEAST_SECONDS} s for its command and {ending} s for its end. "
            f"Make it ${money.format_usd(meter.micros, 2)} or more."
        )


def _near(wanted: str, known: Iterable[str], otherwise: str) -> str:
    """A hint: what was meant, perhaps."""
    from difflib import get_close_matches

    near = ", ".join(get_close_matches(wanted, list(known), n=3))
    return f"did you mean {near}?" if near else otherwise
