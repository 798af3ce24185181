"""The commands about the account: gpus, images, instances, terminate, reap. None of them needs a database."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from jobs import money
from jobs.errors import ApiError, InvalidJob, RunnerError
from jobs.ids import InstanceName, parse_instance_name
from jobs.settings import load_settings
from runner import present
from runner.cli import output
from runner.cli.api import SECONDS, open_cloud
from workers.cloud.client import Cloud
from workers.cloud.shapes import Image, Instance, Listing, Product

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]

_UUID = re.compile(r"[A-Za-z0-9_-]{1,100}")


class NotAllEnded(RunnerError):
    """Some machine could not be ended; the message names it."""


def gpus(json: Json = False) -> None:
    """List what can be rented, with prices and stock: what is there first, the cheapest first.

    Example: runner gpus
    """
    with open_cloud(load_settings()) as cloud:
        products = cloud.list_products(deadline_s=SECONDS)
    products = tuple(sorted(products, key=_by_stock_and_price))
    if json:
        output.print_json([_product_json(product) for product in products])
        return
    rows = [
        (
            product.name,
            _price(product.price_micros_per_hour),
            "unknown" if product.capacity is None else str(product.capacity),
            _or_dash(product.vcpus),
            _or_dash(product.memory_gib),
            _or_dash(product.storage_gb),
            product.description + (" (spot: may vanish)" if product.spot else ""),
        )
        for product in products
    ]
    if not rows:
        output.note("Massed Compute lists nothing to rent at the moment.")
        return
    headers = ("product", "$/hour", "in stock", "vcpus", "memory GiB", "disk GB", "description")
    output.table(headers, rows, right=headers[1:6])


def images(json: Json = False) -> None:
    """List the images that a machine can start from. A job takes one by name or by id.

    Example: runner images
    """
    with open_cloud(load_settings()) as cloud:
        found = sorted(cloud.list_images(deadline_s=SECONDS), key=lambda image: image.name.casefold())
    if json:
        output.print_json([_image_json(image) for image in found])
        return
    if not found:
        output.note("Massed Compute lists no images for this account.")
        return
    rows = [(str(image.id), image.name, image.description) for image in found]
    output.table(("id", "image", "description"), rows, right=("id",))


def instances(json: Json = False) -> None:
    """List every machine on the account, ours and others, and when ours must be gone.

    Example: runner instances
    """
    settings = load_settings()
    with open_cloud(settings) as cloud:
        listing = cloud.list_instances(deadline_s=SECONDS)
    _say_incomplete(listing)
    if json:
        output.print_json([_instance_json(instance) for instance in listing.instances])
        return
    if not listing.instances:
        output.note("There are no machines on this account.")
        return
    rows = [
        (
            instance.uuid,
            instance.name or "-",
            instance.product or "-",
            instance.status or "-",
            instance.ip or "-",
            _price(instance.price_micros_per_hour),
            present.time_text(instance.created) or "-",
            _expiry(instance, listing.date),
        )
        for instance in listing.instances
    ]
    headers = ("uuid", "name", "product", "status", "address", "$/hour", "created", "expires")
    output.table(headers, rows, right=("$/hour",))


def terminate(
    uuids: Annotated[list[str], typer.Argument(metavar="UUID…", help="As `runner instances` lists them.")],
) -> None:
    """End machines and all their data, at once and without asking; whoever they belong to.

    Example: runner terminate 8b52a46b-a892-4fde-925c-6d13226908f7
    """
    wanted = list(dict.fromkeys(uuids))
    for uuid in wanted:
        if not _UUID.fullmatch(uuid):
            raise InvalidJob(f"{uuid!r} is no UUID of a machine; `runner instances` lists them.")
    with open_cloud(load_settings()) as cloud:
        known, unknown = _look_up(cloud, wanted)
        ended = set(cloud.terminate(list(known), deadline_s=SECONDS)) if known else set()
    for uuid in known:
        if uuid in ended:
            output.line(f"terminated {known[uuid] or 'a machine without a name'} ({uuid})")
    problems = [f"there is no machine {uuid} on this account" for uuid in unknown]
    problems += [
        f"Massed Compute did not confirm the end of {uuid}; try again" for uuid in known if uuid not in ended
    ]
    if problems:
        raise NotAllEnded("; ".join(problems) + ".")


def reap(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be ended.")] = False,
    json: Json = False,
) -> None:
    """End the machines of this fleet that are past the expiry in their names.

    Needs the token and RUNNER_FLEET, and no database: run it from anywhere, as from a cron. Other fleets,
    and machines that the runner did not rent, are never touched. The time is the API's own.

    Example: runner reap --dry-run
    """
    settings = load_settings(anywhere=True)
    with open_cloud(settings) as cloud:
        listing = cloud.list_instances(deadline_s=SECONDS)
        overdue = _overdue(listing, settings.fleet)
        ended: set[str] = set()
        failure: ApiError | None = None
        if overdue and not dry_run:
            try:
                ended = set(cloud.terminate([instance.uuid for instance, _ in overdue], deadline_s=SECONDS))
            except ApiError as error:
                failure = error
    _say_incomplete(listing)
    if json:
        output.print_json(
            [
                _instance_json(instance)
                | {"overdue_seconds": _late(name, listing.date), "terminated": instance.uuid in ended}
                for instance, name in overdue
            ]
        )
    else:
        for instance, name in overdue:
            if dry_run or instance.uuid in ended:
                did = "would terminate" if dry_run else "terminated"
                late = present.span(_late(name, listing.date))
                output.line(f"{did} {instance.name} ({instance.uuid}), {late} past its expiry")
        if not overdue:
            output.note(f"nothing is overdue in the fleet {settings.fleet!r}")
    if failure is not None:
        raise failure
    left = [instance.uuid for instance, _ in overdue if instance.uuid not in ended]
    if left and not dry_run:
        raise NotAllEnded(
            f"Massed Compute did not confirm the end of {', '.join(left)}; run `runner reap` again."
        )


def _look_up(cloud: Cloud, uuids: list[str]) -> tuple[dict[str, str], list[str]]:
    """Names by uuid of those that are on the account, and those that are not.

    A listing may lag behind, so one that it leaves out is asked for by itself.
    """
    listed = {instance.uuid: instance.name for instance in cloud.list_instances(deadline_s=SECONDS).instances}
    known: dict[str, str] = {}
    unknown: list[str] = []
    for uuid in uuids:
        if uuid in listed:
            known[uuid] = listed[uuid]
        elif (found := cloud.get_instance(uuid, deadline_s=SECONDS)) is not None:
            known[uuid] = found.name
        else:
            unknown.append(uuid)
    return known, unknown


def _overdue(listing: Listing, fleet: str) -> list[tuple[Instance, InstanceName]]:
    """The machines of *fleet* whose names say that they should be gone by the API's own time."""
    now = listing.date.timestamp()
    found = []
    for instance in listing.instances:
        name = parse_instance_name(instance.name)
        if name is not None and name.fleet == fleet and name.expires_at < now and not instance.terminal:
            found.append((instance, name))
    return found


def _late(name: InstanceName, now: datetime) -> int:
    return max(0, int(now.timestamp()) - name.expires_at)


def _expiry(instance: Instance, now: datetime) -> str:
    name = parse_instance_name(instance.name)
    if name is None:
        return "-"
    text = present.time_text(_time(name)) or "-"
    return f"{text} (overdue)" if name.expires_at < now.timestamp() and not instance.terminal else text


def _time(name: InstanceName) -> datetime | None:
    try:
        return datetime.fromtimestamp(name.expires_at, UTC)
    except (OverflowError, ValueError, OSError):
        return None  # a year that nobody can write down


def _say_incomplete(listing: Listing) -> None:
    if not listing.complete:
        output.note("Massed Compute's list holds a machine that could not be read; there are more than these")


def _by_stock_and_price(product: Product) -> tuple[bool, float, str]:
    price = product.price_micros_per_hour
    return product.capacity == 0, float("inf") if price is None else price, product.name


def _price(micros: int | None) -> str:
    return "unknown" if micros is None else money.format_usd(micros)


def _price_json(micros: int | None) -> str | None:
    return None if micros is None else money.format_usd(micros)


def _or_dash(number: int | None) -> str:
    return "-" if number is None else str(number)


def _product_json(product: Product) -> dict[str, Any]:
    return {
        "name": product.name,
        "description": product.description,
        "price_usd_per_hour": _price_json(product.price_micros_per_hour),
        "capacity": product.capacity,
        "regions": list(product.regions),
        "gpu_count": product.gpu_count,
        "vcpus": product.vcpus,
        "memory_gib": product.memory_gib,
        "storage_gb": product.storage_gb,
        "spot": product.spot,
    }


def _image_json(image: Image) -> dict[str, Any]:
    return {"id": image.id, "name": image.name, "description": image.description}


def _instance_json(instance: Instance) -> dict[str, Any]:
    name = parse_instance_name(instance.name)
    return {
        "uuid": instance.uuid,
        "name": instance.name,
        "status": instance.status,
        "ready": instance.ready,
        "product": instance.product,
        "price_usd_per_hour": _price_json(instance.price_micros_per_hour),
        "image": instance.image,
        "region": instance.region,
        "ip": instance.ip,
        "ssh_port": instance.ssh_port,
        "username": instance.username,
        "created_at": present.time_text(instance.created),
        "fleet": name.fleet if name is not None else None,
        "expires_at": present.time_text(_time(name)) if name is not None else None,
    }
