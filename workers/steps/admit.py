"""Admission: decide whether a queued job can be rented for now, and under which limits."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from jobs import forecast, money
from jobs.backoff import doubling
from jobs.errors import ApiError, InvalidToken, PaymentRequired
from jobs.secrets import Unreadable, cipher
from jobs.states import Event
from jobs.store import admission, budgets, catalog, leases, limits
from jobs.store.admission import Candidate, Full, Limits, Plan
from jobs.store.budgets import Lacks
from jobs.store.catalog import Offer, choices
from jobs.store.ending import DEAR, SLOT
from jobs.store.submissions import CANCELLED
from jobs.store.transitions import JobLease, Stale
from workers.steps import inventory
from workers.steps.context import Context
from workers.steps.deploy import deploy
from workers.supervisor import PROTOCOL

log = logging.getLogger(__name__)

NAMED = 5

LEAST_FREE_BYTES = 16 << 20
"""Nothing is rented where not even the log of a short job could be kept."""


class _Waits(Exception):
    """The job stays queued."""

    def __init__(
        self,
        reason: str | None,
        detail: str,
        pause: timedelta,
        product: str | None = None,
        need: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.pause = reason, detail, pause
        self.product, self.need = product, need


class _Refused(Exception):
    """The job ends without anything having been rented."""

    def __init__(self, event: Event, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.event, self.reason, self.detail = event, reason, detail


def admit(ctx: Context, job_id: str) -> None:
    """Take one queued job as far as its deploy; do nothing where somebody else has it."""
    if ctx.stopping.is_set():
        return
    lease = leases.take_job(ctx.db, job_id, ctx.owner)
    if lease is None:
        return
    try:
        _decide(ctx, job_id, lease)
    except Stale:
        log.info("job %s was cancelled, or has another holder", job_id)
    finally:
        leases.release_job(ctx.db, job_id, lease)  # changes nothing where the job has moved on


def _decide(ctx: Context, job_id: str, lease: JobLease) -> None:
    try:
        _admit(ctx, job_id, lease)
    except _Waits as wait:
        if admission.wait(
            ctx.db,
            job_id,
            lease,
            reason=wait.reason,
            detail=wait.detail,
            pause=wait.pause,
            product=wait.product,
            need=wait.need,
        ):
            log.info("job %s waits: %s", job_id, wait.detail)
    except _Refused as refused:
        log.info("job %s cannot start: %s", job_id, refused.detail)
        admission.refuse(ctx.db, job_id, lease, refused.event, refused.reason, refused.detail)


def _admit(ctx: Context, job_id: str, lease: JobLease) -> None:
    job = admission.candidate(ctx.db, job_id)
    if job is None:
        return
    if job.cancel_requested:
        raise _Refused(Event.CANCELLED, CANCELLED, "cancelled before anything was rented")
    if (free := ctx.db.free_bytes()) is not None and free < LEAST_FREE_BYTES:
        detail = f"the disk of the database is nearly full ({free >> 20} MiB free), and its log would be lost"
        raise _Waits(None, detail, pause(job.waits))
    with ctx.db.read() as session:
        now = ctx.db.now(session)
        silence = limits.blocked_until(session, now, limits.CALLS)
    if silence is not None:
        raise _Waits(None, "the API asked for a pause", silence - now)
    if job.secrets is not None:
        try:
            cipher(ctx.settings).open(job_id, job.secrets)
        except Unreadable as error:
            raise _Refused(Event.CANNOT_START, "secret_key", str(error)) from None
    try:
        plan = _plan(ctx, job)
    except (InvalidToken, PaymentRequired) as error:
        raise _Refused(Event.CANNOT_START, "deploy_failed", str(error)) from error
    except ApiError as error:
        raise _Waits(None, f"the API cannot be asked: {error}", pause(job.waits)) from error
    names = _key_names(ctx, job_id)
    bounds = Limits(ctx.settings.max_instances, ctx.settings.max_burn)
    admitted = admission.admit(ctx.db, job_id, lease, plan, bounds)
    if isinstance(admitted, Lacks):
        raise _Waits(budgets.WAITING, admitted.detail, _soon(), need=admitted.need)
    if isinstance(admitted, Full):
        raise _Waits(SLOT, admitted.detail, _soon())
    log.info("job %s: renting %s as %s", job_id, plan.product, admitted.instance_name)
    deploy(ctx, admitted.attempt_id, admitted.lease, names)


def _key_names(ctx: Context, job_id: str) -> tuple[str, ...]:
    try:
        return inventory.key_names(ctx.db, ctx.cloud, ctx.key.public_line)
    except ApiError as error:
        # Two of the three ways in need no key on the account; the third is the startup command.
        log.warning("job %s goes without the account's keys: %s", job_id, error)
        return ()


def _plan(ctx: Context, job: Candidate) -> Plan:
    """What to rent: the first of the job's products that can be had, in the order that it wants."""
    offers = inventory.offers(ctx.db, ctx.cloud)
    coupon = None if job.coupon is None else inventory.coupon(ctx.db, ctx.cloud, job.coupon)
    if coupon is not None:
        if (why := coupon.refused(ctx.db.clock())) is not None:
            raise _Refused(Event.CANNOT_START, "coupon", why)
        wide, offers = offers, coupon.of(offers)
    names = choices(job.products, offers, cheapest=job.cheapest)
    if not names:
        detail = "the inventory lists no product with a GPU and a price, so there is no cheapest one"
        raise _Refused(Event.CANNOT_START, "deploy_failed", detail)
    refused: _Refused | None = None
    waits: list[_Waits] = []
    for name in names:
        if name in job.passed_over:
            continue
        try:
            if (
                coupon is not None
                and (why := coupon.refused(ctx.db.clock(), [name])) is not None
                and name in wide
            ):
                raise _Refused(Event.CANNOT_START, "coupon", why)
            plan = _plan_of(ctx, job, name, offers)
            return replace(plan, instead=None if refused is None else refused.detail)
        except _Refused as error:
            refused = refused or error
        except _Waits as error:
            waits.append(error)
    if waits:
        first = min(waits, key=lambda wait: wait.pause)
        if len(waits) == 1:
            raise first
        other = [wait for wait in waits if wait.product is None]
        gone = [wait.product for wait in waits if wait.product is not None]
        named = " and ".join(gone[:NAMED])
        more = f" and {len(gone) - NAMED} more" if len(gone) > NAMED else ""
        verb = "is" if len(gone) == 1 else "are"
        said = [f"{named}{more} {verb} out of stock"] if gone else []
        reason = "no_capacity" if gone else other[0].reason
        raise _Waits(reason, "; ".join([*said, *(wait.detail for wait in other[:1])]), first.pause)
    if refused is not None:
        raise refused
    detail = "none of the products that it takes can be rented for it: the image fits none, or none booted"
    raise _Refused(Event.CANNOT_START, "deploy_failed", detail)


def _plan_of(ctx: Context, job: Candidate, product: str, offers: Mapping[str, Offer]) -> Plan:
    offer = offers.get(product)
    if offer is None:
        detail = (
            f"Massed Compute does not list the product {product!r}; `runner gpus` shows those that it does"
        )
        raise _Refused(Event.CANNOT_START, "deploy_failed", detail)
    if offer.price is None:
        detail = (
            f"the inventory gives no price for {product}, and nothing is rented under a ceiling without one"
        )
        raise _Refused(Event.CANNOT_START, "deploy_failed", detail)
    if money.too_dear(offer.price, job.max_price):
        detail = money.dearer(product, offer.price, job.max_price)
        raise _Waits(DEAR, detail, pause(job.waits))
    if money.too_dear(offer.price, ctx.settings.max_burn):
        price, most = money.format_usd(offer.price), money.format_usd(ctx.settings.max_burn or 0)
        detail = f"{product} alone costs ${price} an hour, and RUNNER_MAX_BURN allows ${most}"
        raise _Waits(SLOT, detail, pause(job.waits))
    left, minimum = job.left, ctx.settings.billing_minimum_minutes
    if money.too_little(left, offer.price, minimum, grace_seconds=job.grace, outputs=job.with_outputs):
        shown, price = money.format_usd(max(0, left)), money.format_usd(offer.price)
        detail = f"${shown} is left of the ceiling, too little for {product} at ${price} an hour"
        detail += f", of which {minimum} min are billed at least" if minimum else ""
        raise _Refused(Event.CEILING_TOO_SMALL, "max_cost", detail)
    if offer.capacity == 0:
        raise _Waits("no_capacity", f"{product} is out of stock", pause(job.waits), product)
    with ctx.db.read() as session:
        now = ctx.db.now(session)
        until = limits.blocked_until(session, now, limits.stock(product))
    if until is not None:
        raise _Waits("no_capacity", f"{product} is out of stock", until - now, product)
    image = inventory.image_id(ctx.db, ctx.cloud, job.image)
    if image is None:
        names = ", ".join(inventory.known_images(ctx.db)[:5])
        detail = f"there is no image {job.image!r}; `runner images` shows those that there are ({names}, …)"
        raise _Refused(Event.CANNOT_START, "deploy_failed", detail)
    outputs = 0
    if job.with_outputs:
        outputs = money.outputs_seconds(left, offer.price, ctx.settings.boot_timeout + job.max_runtime)
    expires_at = money.expiry_within(
        now,
        boot_timeout_s=ctx.settings.boot_timeout,
        max_runtime_s=job.max_runtime,
        ending_s=money.ending_seconds(job.grace) + outputs,
        remaining_micros=left,
        price=offer.price,
        minimum_minutes=minimum,
    )
    return Plan(
        product=product,
        price=offer.price,
        full_price=offer.full_price or offer.price,
        image_id=image,
        key_fields=",".join(inventory.key_fields(ctx.db)),
        fleet=ctx.settings.fleet,
        expires_at=expires_at,
        boot_deadline_at=now + timedelta(seconds=ctx.settings.boot_timeout),
        protocol=PROTOCOL,
        minimum_minutes=minimum,
        most=_most(ctx, job, offers),
        outputs_seconds=outputs,
    )


def _most(ctx: Context, job: Candidate, offers: Mapping[str, Offer]) -> int:
    """What the job can cost at most, whichever of its products its attempts get, and what it has cost."""
    prices = catalog.prices_of(job.products, offers, coupon=job.coupon is not None)
    most = forecast.most(job, prices, ctx.settings.boot_timeout, ctx.settings.billing_minimum_minutes)
    return min(job.max_cost, job.spent + most)


def _soon() -> timedelta:
    return timedelta(seconds=random.uniform(1.0, 2.0))


def pause(waits: int) -> timedelta:
    """How long a job waits before it is tried again: 2 s doubling to 60 s."""
    return timedelta(seconds=doubling(2.0, 60.0, waits))
