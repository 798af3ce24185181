"""The deploy: sent once per attempt, by nobody ever again, whatever comes of it."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from jobs.errors import (
    ApiError,
    BadRequest,
    DatabaseError,
    FieldRefused,
    ImageRefused,
    InvalidToken,
    NoCapacity,
    NotFound,
    PaymentRequired,
    QuotaExceeded,
    RateLimited,
    Unsettled,
)
from jobs.states import Event
from jobs.store import account_keys, attempts, limits
from jobs.store.attempts import Work
from jobs.store.ending import SLOT
from jobs.store.transitions import AttemptLease, Stale
from jobs.subject import about
from workers.cloud.client import DeployRequest
from workers.steps import inventory
from workers.steps.context import Context
from workers.supervisor import startup_command

log = logging.getLogger(__name__)

DEADLINE_SECONDS = 12.0
"""The longest that a deploy may take, its turn included: less than a lease, so nobody doubts it before."""


def deploy(ctx: Context, attempt_id: str, lease: AttemptLease, key_names: tuple[str, ...]) -> None:
    """Send the one deploy of an attempt and write what came of it.

    All that has to be asked before was asked before: the attempt's lease is hardly longer than a deploy.
    """
    work = attempts.load(ctx.db, attempt_id)
    if work is None:
        return
    try:
        with about(attempt=attempt_id):
            _deploy(ctx, work, lease, key_names)
    except Stale:
        # The listing was quicker than the answer, or the job was cancelled before anything was sent.
        _stop_unsent(ctx, work, lease)
    finally:
        ctx.bells.observe()


def _deploy(ctx: Context, work: Work, lease: AttemptLease, key_names: tuple[str, ...]) -> None:
    request = DeployRequest(
        image_id=work.image_id,
        product=work.product,
        name=work.instance_name,
        command=startup_command(work.attempt_id, ctx.key.public_line, work.attestation_key),
        key_names=key_names,
        key_fields=work.key_fields,
        coupon=work.coupon,
    )
    before = time.monotonic()
    try:
        attempts.order_deploy(ctx.db, work, lease)
    except attempts.Outdated as error:
        attempts.deploy_void(
            ctx.db, work, lease, Event.THROTTLED, reason=None, detail=str(error), pause=_pause(0)
        )
        return
    left = DEADLINE_SECONDS - (time.monotonic() - before)
    if left < 2:
        # The lease was renewed at `before`: a slow disk has eaten what the request would need of it.
        attempts.deploy_void(
            ctx.db, work, lease, Event.THROTTLED, reason=None, detail="the database was slow", pause=_pause(1)
        )
        return
    try:
        uuid = ctx.cloud.deploy(request, deadline_s=left)
    except ApiError as error:
        _failed(ctx, work, lease, error)
        return
    except DatabaseError:
        # Its turn at the API could not be had, so it was not sent: nothing need be looked for.
        attempts.deploy_void(
            ctx.db, work, lease, Event.THROTTLED, reason=None, detail="the database was away", pause=_pause(1)
        )
        raise
    attempts.deployed(ctx.db, work, lease, uuid)
    log.info("attempt %s: machine %s is booting", work.attempt_id, uuid)


def _failed(ctx: Context, work: Work, lease: AttemptLease, error: ApiError) -> None:
    log.warning("attempt %s: deploy: %s", work.attempt_id, error)

    def void(event: Event, reason: str | None, detail: str, seconds: float) -> None:
        attempts.deploy_void(ctx.db, work, lease, event, reason=reason, detail=detail, pause=_pause(seconds))

    match error:
        case Unsettled():
            attempts.deploy_unknown(ctx.db, work, lease)
        case NoCapacity():
            void(Event.NO_CAPACITY, "no_capacity", f"{work.product} is out of stock", 10)
        case QuotaExceeded():
            void(Event.NO_CAPACITY, SLOT, str(error), 60)
        case RateLimited():
            seconds = min(error.retry_after or 2, limits.LONGEST_SILENCE.total_seconds())
            ours = error.status is None  # it was never sent
            void(Event.THROTTLED, None, str(error) if ours else "the API asked for a pause", seconds)
        case ImageRefused() if work.fallbacks != ():
            void(Event.IMAGE_REFUSED, None, f"the image does not fit {work.product}: {error}", 0)
        case InvalidToken() | PaymentRequired() | ImageRefused():
            attempts.deploy_refused(ctx.db, work, lease, str(error), retryable=False)
        case FieldRefused() if error.field in work.key_fields and len(work.key_fields) > 1:
            inventory.without_key_field(ctx.db, error.field)
            void(Event.CORRECTED, None, f"corrected: without {error.field}", 0)
        case BadRequest() | NotFound() if "key" in str(error).lower() and work.key_fields:
            account_keys.forget(ctx.db)
            attempts.deploy_refused(ctx.db, work, lease, str(error), retryable=True)
        case _:
            attempts.deploy_refused(ctx.db, work, lease, str(error), retryable=True)


def _stop_unsent(ctx: Context, work: Work, lease: AttemptLease) -> None:
    again = attempts.load(ctx.db, work.attempt_id)
    if again is None or again.deploy_ordered_at is not None or not again.cancel_requested:
        return
    try:
        attempts.stop_unsent(
            ctx.db, again, lease, "cancelled_by_user", "cancelled before anything was rented"
        )
    except Stale:
        log.debug("attempt %s has another holder", work.attempt_id)


def _pause(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)
