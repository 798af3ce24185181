"""`--dry-run`: what would be rented, and what it may cost at worst."""

from __future__ import annotations

from collections.abc import Iterable

from jobs import forecast, money
from jobs.errors import InvalidJob
from jobs.files import workdir
from jobs.files.store import Artifacts
from jobs.money import Micros
from jobs.spec import Spec
from jobs.store import budgets, catalog
from jobs.store.catalog import Offer
from runner import folders, present
from runner.cli import output
from runner.cli.files import say_workdir
from runner.client import Client

MOST_SHOWN = 10
"""How many products a person is shown; ``--json`` has all."""


def say(client: Client, spec: Spec, json: bool) -> None:
    """Say what would be rented, by what the API says now, or said last where it cannot be asked."""
    from runner.cli import api  # HTTP, which submitting needs only where the inventory is old

    fresh = api.refresh_inventory(client)
    kept = catalog.offers(client.database)
    offers = kept[0] if kept is not None else {}
    coupon = None if spec.coupon is None else catalog.coupon(client.database, spec.coupon)
    if coupon is not None:  # it was checked with everything else
        offers = coupon[0].of(offers)
    names = catalog.choices(spec.products, offers, cheapest=spec.cheapest)
    if not names:
        raise InvalidJob(
            "The inventory is not known, so nobody can say which product is the cheapest; try again."
        )
    choices = [_choice(client, spec, name, offers.get(name)) for name in names]
    # What would be taken now stands first.
    choices.sort(
        key=lambda choice: (
            choice["passed_over"] is not None,
            spec.cheapest and choice["in_stock"] is False,
        )
    )
    standing = next((one for one in budgets.standings(client.database) if one.name == spec.budget), None)
    found: dict[str, object] = {
        **choices[0],
        "fallbacks": choices[1:],
        "image": spec.image,
        "max_cost_usd": money.format_usd(spec.max_cost),
        "max_cost_source": spec.max_cost_source,
        "max_runtime_seconds": spec.max_runtime,
        "budget": spec.budget,
        "budget_left_usd": None if standing is None else money.format_usd(standing.left),
        "grace_seconds": spec.grace,
        "idle_timeout_seconds": spec.idle_timeout,
        "retries": spec.retries,
        "coupon": spec.coupon,
        "max_price_usd_per_hour": present.usd(spec.max_price),
        "max_runtime_source": spec.max_runtime_source,
        "inventory": "asked now" if fresh else "as it was seen last" if kept is not None else "not known",
    }
    folder = folders.scan(spec, client.settings, "--workdir")
    if folder is not None:
        workdir.check_readable(folder, "--workdir")
    if spec.folder is not None or spec.outputs:
        folders.check_store(client.settings, client.database)
        Artifacts(client.settings.artifacts).has("trees")
    if json:
        if folder is not None:
            files = [{"path": name, "bytes": facts.st_size} for name, facts in folder.files]
            found["workdir"] = {"bytes": folder.size, "files": files}
        output.print_json(found)
        return
    verb = "would rent" if choices[0]["passed_over"] is None else "would wait"
    print(f"{verb}   {_choice_text(spec, choices[0])}")
    for choice in choices[1:MOST_SHOWN]:
        print(f"else         {_choice_text(spec, choice)}")
    if len(choices) > MOST_SHOWN:
        print(f"else         {len(choices) - MOST_SHOWN} more")
    print(f"image        {output.clean(spec.image)}")
    print(f"ceiling      ${found['max_cost_usd']} ({spec.max_cost_source})")
    if spec.max_price is not None:
        print(f"max price    ${money.format_usd(spec.max_price)} an hour")
    if spec.coupon is not None:
        print(f"coupon       {output.clean(spec.coupon)}")
    if standing is not None:
        need = _most(client, spec, catalog.prices_of(spec.products, offers, coupon=coupon is not None))
        waits = (
            f"; the job may cost {present.dollars(need)}, so it would wait" if need > standing.left else ""
        )
        left, whole = present.dollars(standing.left), present.dollars(standing.micros)
        print(f"budget       {spec.budget}, {left} left of {whole}{waits}")
    print(f"max runtime  {present.span(spec.max_runtime)} ({spec.max_runtime_source})")
    if spec.grace != money.GRACE_SECONDS:
        print(f"grace        {present.span(spec.grace)}")
    if spec.idle_timeout is not None:
        print(f"idle timeout {present.span(spec.idle_timeout)}")
    if spec.retries:
        print(f"retries      {spec.retries} ({', '.join(spec.retry_on)})")
    print(f"inventory    {found['inventory']}")
    if spec.setup is not None:
        print(f"set-up       {output.clean(spec.setup)}")
    if spec.outputs:
        every = f", every {present.span(spec.sync_every)}" if spec.sync_every is not None else ""
        print(f"output       {output.clean(' '.join(spec.outputs))}{every}")
    if folder is not None:
        say_workdir(folder)


def _choice(client: Client, spec: Spec, name: str, offer: Offer | None) -> dict[str, object]:
    price = offer.price if offer is not None else None
    settings = client.settings
    minimum = settings.billing_minimum_minutes
    most = _most(client, spec, [price])
    return {
        "product": name,
        "price_usd_per_hour": None if price is None else money.format_usd(price),
        "above_max_price": money.too_dear(price, spec.max_price),
        "passed_over": _passed_over(client, spec, price, listed=offer is not None),
        "in_stock": None if offer is None or offer.capacity is None else offer.capacity > 0,
        "least_cost_usd": None if price is None else money.format_cost(forecast.least(price, minimum)),
        "worst_cost_usd": None if price is None else money.format_cost(most),
        "longest_seconds": None if price is None else forecast.longest(spec, price, settings.boot_timeout),
    }


def _most(client: Client, spec: Spec, prices: Iterable[Micros | None]) -> Micros:
    settings = client.settings
    return forecast.most(spec, prices, settings.boot_timeout, settings.billing_minimum_minutes)


def _passed_over(client: Client, spec: Spec, price: Micros | None, *, listed: bool) -> str | None:
    """Why a product is not rented for this job, as a clause; None where it may be."""
    settings = client.settings
    if price is None and spec.coupon is not None:
        return "the coupon is not valid for it"
    if price is None:
        return "the inventory tells no price for it" if listed else None
    if money.too_little(
        spec.max_cost,
        price,
        settings.billing_minimum_minutes,
        grace_seconds=spec.grace,
        outputs=spec.with_outputs,
    ):
        return "the ceiling does not pay for it"
    if money.too_dear(price, settings.max_burn):
        return f"RUNNER_MAX_BURN allows {present.dollars(settings.max_burn or 0)} an hour"
    return None


def _choice_text(spec: Spec, choice: dict[str, object]) -> str:
    stock = {True: "in stock", False: "out of stock"}.get(choice["in_stock"] is True, "")
    stock = "stock not known" if choice["in_stock"] is None else stock
    if choice["passed_over"] is not None:
        known = choice["price_usd_per_hour"]
        dear = "" if known is None else f", ${known}/h"
        return f"{choice['product']} (passed over: {choice['passed_over']}){dear}"
    if choice["price_usd_per_hour"] is None:
        return f"{choice['product']} ({stock}), price not known, worst cost not known"
    rate, least, worst = (choice[name] for name in ("price_usd_per_hour", "least_cost_usd", "worst_cost_usd"))
    longest = choice["longest_seconds"]
    assert isinstance(longest, int)
    until = f", stopped after {present.span(longest)} by the ceiling" if longest < spec.max_runtime else ""
    waits = ", waits until it costs less" if choice["above_max_price"] else ""
    return f"{choice['product']} ({stock}), ${rate}/h, least cost ${least}, worst cost ${worst}{until}{waits}"
