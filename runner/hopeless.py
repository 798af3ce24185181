"""What is refused at the submit, because the inventory and the prices show that it can never run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from jobs import forecast, money
from jobs.errors import InvalidJob
from jobs.settings import Settings
from jobs.spec import Spec
from jobs.store import budgets, catalog
from jobs.store.catalog import Offer
from jobs.store.database import Database
from runner import inventory


def refuse(db: Database, settings: Settings, specs: Sequence[Spec]) -> None:
    """Raise InvalidJob for a product or an image that is not there, or a ceiling that pays for no minute.

    One look at the inventory serves all; where it is not known, nothing is refused.
    """
    known = inventory.known(db, settings, specs)
    sums = budgets.sums(db, {spec.budget for spec in specs if spec.budget is not None})
    coupons = inventory.coupons(db, settings, {spec.coupon for spec in specs if spec.coupon is not None})
    for spec in specs:
        offers = known.offers
        if offers is not None:
            _check_products(spec, offers)
        coupon = None if spec.coupon is None else coupons.get(spec.coupon)
        if coupon is not None:
            if (why := coupon.refused(db.clock(), spec.products)) is not None:
                raise InvalidJob(f"{why[0].upper()}{why[1:]}.")
            offers = None if offers is None else coupon.of(offers)
        if offers is not None:
            if spec.budget is not None:
                _check_budget(settings, spec, sums[spec.budget], offers)
            _check_price(settings, spec, offers)
        if not known.has_image(spec.image):
            names = [image.name for image in known.images or ()]
            hint = _near(spec.image, names, "`runner images` shows those that there are.")
            raise InvalidJob(f"Massed Compute lists no image {spec.image!r}; {hint}")


def _check_budget(settings: Settings, spec: Spec, whole: int, offers: Mapping[str, Offer]) -> None:
    """Refuse what the whole budget could not pay for at worst: without a price that is the ceiling."""
    prices = catalog.prices_of(spec.products, offers, coupon=spec.coupon is not None)
    most = forecast.most(spec, prices, settings.boot_timeout, settings.billing_minimum_minutes)
    if most > whole:
        raise InvalidJob(
            f"The job may cost up to ${money.format_usd(most)}, and the whole budget {spec.budget!r} is "
            f"${money.format_usd(whole)}: lower the ceiling ({spec.max_cost_source}, now "
            f"${money.format_usd(spec.max_cost)}), or set a larger budget."
        )


def _check_products(spec: Spec, offers: Mapping[str, Offer]) -> None:
    for product in spec.products:
        if spec.idle_timeout is not None and product in offers and not offers[product].gpus:
            raise InvalidJob(
                f"{product} has no GPU that could be idle: leave the idle timeout out, or name another."
            )
        if product not in offers:
            hint = _near(product, offers, "`runner gpus` shows those that there are.")
            raise InvalidJob(f"Massed Compute lists no product {product!r}; {hint}")


def _check_price(settings: Settings, spec: Spec, offers: Mapping[str, Offer]) -> None:
    names = [
        name for name in catalog.choices(spec.products, offers, cheapest=spec.cheapest) if name in offers
    ]
    priced = [(offer.price, name) for name in names if (offer := offers[name]).price is not None]
    if priced and len(priced) == len(names):  # it is enough that one of them can be paid for
        price, product = min(priced)
        _check_ceiling(settings, spec, product, price)


def _check_ceiling(settings: Settings, spec: Spec, product: str, price: int) -> None:
    """Refuse a ceiling that would stop the command before it has had a minute, with the arithmetic."""
    minimum, outputs = settings.billing_minimum_minutes, bool(spec.outputs)
    least = money.least_minutes(minimum, grace_seconds=spec.grace, outputs=outputs)
    minutes = money.affordable_minutes(spec.max_cost, price)
    if minutes < least:
        meter = money.Meter()
        meter.add(least, price)
        ending = money.ending_of(least, grace_seconds=spec.grace, outputs=outputs)
        raise InvalidJob(
            f"A ceiling of ${money.format_usd(spec.max_cost)} ({spec.max_cost_source}) pays for "
            f"{minutes} whole min of {product} at ${money.format_usd(price)} an hour. A job needs {least}: "
            f"{money.LEAST_SECONDS} s for its command, {ending} s for its end, and a second or two for the "
            f"rounding{f'; {minimum} min are billed at least' if minimum else ''}. "
            f"Make it ${money.format_usd(meter.micros, 2)} or more."
        )


def _near(wanted: str, known: Iterable[str], otherwise: str) -> str:
    """A hint: what was meant, perhaps."""
    from difflib import get_close_matches

    near = ", ".join(get_close_matches(wanted, list(known), n=3))
    return f"did you mean {near}?" if near else otherwise
