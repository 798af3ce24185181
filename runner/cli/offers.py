"""The commands about what there is to rent: gpus, images, coupon. They always ask the API."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from jobs import money
from jobs.errors import BadRequest, InvalidJob
from jobs.money import Micros
from jobs.settings import load_settings
from jobs.spec import LONGEST_COUPON
from runner import present, products
from runner.cli import output
from runner.cli.api import SECONDS, open_cloud, time_left
from runner.cli.errors import NotDone
from runner.cli.options import Json
from runner.products import Choice, Sort, Wanted
from workers.cloud.shapes import Coupon, CouponProduct, Image, Product

NamePart = Annotated[
    str, typer.Argument(metavar="NAME", help="Only those with this in their names.", show_default=False)
]


def gpus(
    name: NamePart = "",
    sort: Annotated[
        Sort | None, typer.Option("--sort", help="The order; without it: in stock first, then by price.")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
    min_vram: Annotated[
        int | None, typer.Option("--min-vram", metavar="GB", min=1, help="At least so much for each GPU.")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--gpus", metavar="N", min=0, help="Exactly so many GPUs; 0: none.")
    ] = None,
    max_price: Annotated[
        str | None, typer.Option("--max-price", metavar="USD", help="At most so much an hour for all of it.")
    ] = None,
    spot: Annotated[
        bool | None,
        typer.Option("--spot/--no-spot", help="Only what is cheaper and may vanish; or only the rest."),
    ] = None,
    in_stock: Annotated[
        bool, typer.Option("--in-stock", help="Without what is out of stock; an unknown stock may be there.")
    ] = False,
    json: Json = False,
) -> None:
    """List what can be rented, with prices and stock: what is there first, the cheapest first.

    VRAM is that of one GPU, as known for its model or as the service says; what is not known fits no filter
    that asks for it.

    Example: runner gpus --min-vram 48 --in-stock --sort price-per-gpu
    """
    ceiling = None if max_price is None else money.parse_usd(max_price, "--max-price")
    wanted = Wanted(name, min_vram, count, ceiling, spot, in_stock)
    with open_cloud(load_settings()) as cloud:
        listed = cloud.list_products(deadline_s=SECONDS)
    fitting, unknown = products.select(map(products.choice, listed), wanted)
    fitting = products.ordered(fitting, sort, reverse)
    if unknown:
        output.note(f"{present.count(unknown, 'product')} left out: what was asked for is not known of them")
    if json:
        output.print_json([_choice_json(item) for item in fitting])
    elif fitting:
        headers = (
            *(
                "product",
                "$/hour",
                "$/GPU-hour",
                "in stock",
                "GPUs",
                "VRAM GB",
                "vcpus",
                "memory GiB",
                "disk GB",
            ),
            *("regions", "description"),
        )
        output.table(headers, [_choice_row(item) for item in fitting], right=headers[1:9])
    elif listed:
        output.note(f"None of the {len(listed)} products that Massed Compute lists fits.")
    else:
        output.note("Massed Compute lists nothing to rent at the moment.")


def images(name: NamePart = "", json: Json = False) -> None:
    """List the images that a machine can start from. A job takes one by name or by id.

    The default is the one that RUNNER_IMAGE names, for a job that names none.

    Example: runner images ubuntu
    """
    settings = load_settings()
    with open_cloud(settings) as cloud:
        listed = cloud.list_images(deadline_s=SECONDS)
    default = _default_image(listed, settings.image)
    if default is None and listed:
        output.note(f"none of the images is the default one, {settings.image!r} (RUNNER_IMAGE)")
    fitting = [image for image in listed if name.casefold() in image.name.casefold()]
    fitting.sort(key=lambda image: image.name.casefold())
    if json:
        output.print_json([_image_json(image, image is default) for image in fitting])
    elif fitting:
        rows = [
            (str(image.id), image.name, "yes" if image is default else "", image.description)
            for image in fitting
        ]
        output.table(("id", "image", "default", "description"), rows, right=("id",))
    elif listed:
        output.note(f"None of the {len(listed)} images that Massed Compute lists has {name!r} in its name.")
    else:
        output.note("Massed Compute lists no images for this account.")


def coupon(
    code: Annotated[str, typer.Argument(metavar="CODE", help="The coupon's code.")], json: Json = False
) -> None:
    """Show what a coupon gives: for which products, at which price before and after, and until when.

    The service takes a coupon for any product without a word, and charges the full price where it is not
    valid for it.

    Example: runner coupon TestCoupon
    """
    code = code.strip()
    if not 1 <= len(code) <= LONGEST_COUPON or not code.isprintable():
        raise InvalidJob(f"CODE must be the code of a coupon: 1 to {LONGEST_COUPON} printable characters.")
    left = time_left()
    with open_cloud(load_settings()) as cloud:
        try:
            found, named = cloud.coupon_products(code, deadline_s=left())
            if found is None:
                found = cloud.coupon(code, deadline_s=left())
        except BadRequest as error:
            raise NotDone(f"There is no valid coupon {code!r}: {error}") from None
        if found is None:
            raise NotDone(f"Massed Compute knows no coupon {code!r}.")
        listed = {product.name: product for product in cloud.list_products(deadline_s=left())}
    shown = _coupon_json(found, named, listed, datetime.now(UTC))
    if json:
        output.print_json(shown)
        return
    output.line(f"{found.code}: {_off(found)} off, {_until(found, shown['expired'])}")
    rows = [
        (
            item["name"],
            item["price_usd_per_hour"] or "unknown",
            item["coupon_price_usd_per_hour"] or "unknown",
            _stock(item["in_stock"]),
            item["description"],
        )
        for item in shown["products"]
    ]
    if rows:
        headers = ("product", "$/hour", "with coupon", "in stock", "description")
        output.table(headers, rows, right=headers[1:3])
    else:
        output.note("Massed Compute names no product that it is valid for.")


def _choice_row(item: Choice) -> tuple[str, ...]:
    product = item.product
    return (
        product.name,
        present.usd(item.price) or "unknown",
        present.usd(item.price_per_gpu) or "-",
        "unknown" if product.capacity is None else str(product.capacity),
        _or_dash(item.gpus),
        _or_dash(item.vram_gb),
        _or_dash(product.vcpus),
        _or_dash(product.memory_gib),
        _or_dash(product.storage_gb),
        ", ".join(product.regions) or "-",
        product.description + (" (spot: may vanish)" if product.spot else ""),
    )


def _choice_json(item: Choice) -> dict[str, Any]:
    product = item.product
    return {
        "name": product.name,
        "description": product.description,
        "price_usd_per_hour": present.usd(item.price),
        "price_usd_per_gpu_hour": present.usd(item.price_per_gpu),
        "capacity": product.capacity,
        "in_stock": item.in_stock,
        "regions": list(product.regions),
        "gpu_count": item.gpus,
        "vram_gb": item.vram_gb,
        "vcpus": product.vcpus,
        "memory_gib": product.memory_gib,
        "storage_gb": product.storage_gb,
        "spot": product.spot,
    }


def _default_image(listed: Sequence[Image], wanted: str) -> Image | None:
    """The one that a job gets: the first in the service's own order, where several have the name."""
    from jobs.store import catalog

    return next((image for image in listed if catalog.Image(image.id, image.name).answers_to(wanted)), None)


def _image_json(image: Image, default: bool) -> dict[str, Any]:
    return {"id": image.id, "name": image.name, "description": image.description, "default": default}


def _coupon_json(
    found: Coupon, named: Sequence[CouponProduct], listed: dict[str, Product], now: datetime
) -> dict[str, Any]:
    expired = None if found.deactivation is None else found.deactivation <= now
    items = []
    for product in {item.name: item for item in named}.values():
        offer = listed.get(product.name)
        full = (offer and offer.price_micros_per_hour) or product.price_micros_per_hour
        stock = product.available
        if stock is None and offer is not None and offer.capacity is not None:
            stock = offer.capacity > 0
        items.append(
            {
                "name": product.name,
                "description": product.description,
                "price_usd_per_hour": present.usd(full),
                "coupon_price_usd_per_hour": present.usd(_after(found, full, expired)),
                "in_stock": stock,
            }
        )
    return {
        "code": found.code,
        "discount": None if found.fraction is None else format(found.fraction, "f"),
        "expires_at": present.time_text(found.deactivation),
        "expired": expired,
        "products": items,
    }


def _after(found: Coupon, full: Micros | None, expired: bool | None) -> Micros | None:
    """What is charged with the coupon: the full price where it is not valid any more."""
    if full is None or expired:
        return full
    return None if found.fraction is None else money.discounted(full, found.fraction)


def _off(found: Coupon) -> str:
    if found.fraction is None:
        return "an unknown discount"
    return f"{(found.fraction * 100).normalize():f}%"


def _until(found: Coupon, expired: bool | None) -> str:
    when = present.time_text(found.deactivation)
    if expired is None:
        return "its last day is not known"
    return f"not valid any more since {when}: the full price is charged" if expired else f"until {when}"


def _stock(in_stock: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[in_stock]


def _or_dash(number: int | None) -> str:
    return "-" if number is None else str(number)
