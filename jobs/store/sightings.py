"""What one machine of a listing, or its absence, means for our row of it.

Everything is written under the leader's fence, in the one transaction of ``jobs.store.observing``; each
function here takes a :class:`Look`, which is that transaction with what was listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs import meter, money
from jobs.ids import InstanceName, parse_instance_name
from jobs.models import Attempt, Installation, Instance, Job
from jobs.states import Event, State
from jobs.store import attempts, budgets, costs, deadlines, doom
from jobs.store.transitions import RELEASED, Change, Lead, move

GRACE = doom.LAG
"""How long a machine of ours that nobody claims is left alone: its deploy may not have been answered yet."""
RENTED = ("live", "warm", "doomed")
"""States of an instance that is on the account, as far as we know."""
SEEN_AGAIN = "seen again after it was gone"
GIVEN_UP = "a stray of a deploy that was given up"
"""Why a machine is doomed that was not to be there."""


@dataclass(frozen=True)
class Sighting:
    """One machine as the account's listing shows it. Prices in micro-dollars an hour; None is unknown.

    ``price`` is what is charged, ``full_price`` that before a coupon; ``final``: whether the listing said the
    first of them, or it is taken to be the second.
    """

    uuid: str
    name: str
    status: str
    ready: bool
    over: bool  # terminated or deleted: it costs nothing any more
    failed: bool
    stopped: bool
    host: str | None
    port: int | None
    username: str | None
    product: str | None
    price: int | None
    full_price: int | None = None
    final: bool = False
    created: datetime | None = None


@dataclass(frozen=True)
class Listed:
    """One answer to `GET /instance`. ``date``: the API's own time; ``began_at``: ours, before the request."""

    sightings: tuple[Sighting, ...]
    date: datetime
    began_at: datetime
    complete: bool


@dataclass
class Findings:
    """What the observer still has to look at after a listing."""

    doubted: list[tuple[int, str]] = field(default_factory=list)
    """Machines that were not listed, to be asked for by uuid: first who was seen longest ago."""
    doomed: int = 0
    strangers: int = 0


@dataclass
class Look:
    """The leader's transaction, and all that is needed to judge a row in it."""

    session: Session
    now: datetime
    lead: Lead
    attempts: dict[str, Attempt] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)

    def load_attempts(self, rows: Sequence[Instance]) -> None:
        """The attempts that these instances are bound to, asked for together."""
        wanted = [row.attempt_id for row in rows if row.attempt_id is not None]
        for start in range(0, len(wanted), 500):
            query = select(Attempt).where(Attempt.id.in_(wanted[start : start + 500]))
            self.attempts |= {attempt.id: attempt for attempt in self.session.execute(query).scalars()}

    def attempt_of(self, row: Instance) -> Attempt | None:
        """The attempt that an instance is bound to."""
        return self.attempts.get(row.attempt_id or "")

    def move(self, event: Event, attempt: Attempt, change: Change) -> None:
        """Move an attempt and its job, after all that was written of its machine."""
        self.session.flush()
        move(
            self.session,
            self.now,
            event,
            job_id=attempt.job_id,
            state=State(attempt.state),
            attempt_id=attempt.id,
            guard=self.lead,
            change=change,
        )
        self.session.refresh(attempt)

    def doom(self, row: Instance, why: str) -> None:
        """Mark a machine: from here on it is terminated until it is gone."""
        row.state, row.doomed_at, row.doomed_why, row.terminate_next_at = "doomed", self.now, why, self.now
        self.findings.doomed += 1


def seen(look: Look, row: Instance, sight: Sighting) -> None:
    """A machine of ours was listed."""
    attempt = look.attempt_of(row)
    if row.state == "gone":
        if not sight.over and row.gone_at is not None and look.now - row.gone_at > doom.LAG:
            row.gone_at, row.gone_proof, row.terminate_accepted_at = None, None, None
            _keep_facts(row, sight, look.now)
            look.doom(row, SEEN_AGAIN)
            _beside(look, row, attempt)
        return
    if row.uuid is None:
        _identify(look, row, attempt, sight)
    news = _keep_facts(row, sight, look.now) and not sight.over
    if news and attempt is not None and attempt.state != "ended" and _reprice(look, row, attempt):
        return
    if sight.over:
        gone(look, row, "status")
    elif row.state == "doomed":
        _beside(look, row, attempt)
    elif attempt is None or attempt.state in ("finishing", "ended"):
        until = None if attempt is None or attempt.state == "ended" else attempt.outputs_until
        if until is None or until < look.now or sight.stopped or sight.failed:
            look.doom(row, "its attempt has ended")
    elif attempt.state == State.BOOTING and (sight.failed or sight.stopped):
        detail = f"the machine did not boot: its status is {sight.status!r}"
        _end(look, Event.BOOT_FAILED, attempt, row, "deploy_failed", detail)
    elif attempt.state == State.BOOTING and sight.ready and attempt.ready_at is None:
        attempt.ready_at = look.now
    elif attempt.state == State.RUNNING and (sight.stopped or sight.failed):
        _end(look, Event.GONE, attempt, row, "lost", f"the machine is {sight.status}")


def never_seen(look: Look, row: Instance, listed: Listed, quarantine: timedelta, *, proves: bool) -> None:
    """A machine that may exist was not listed under its name. *proves*: the listing is to be believed."""
    attempt = look.attempt_of(row)
    if attempt is None or attempt.state != State.DEPLOYING:
        return
    if row.state == "intended":
        _orphaned_intent(look, row, attempt)
    # A listing that is never complete proves nothing; past its expiry a machine is ended on sight by all.
    elif (
        row.unknown_at is not None
        and listed.began_at >= row.unknown_at + quarantine
        and (proves or look.now > row.expires_at)
    ):
        _absent(look, row, attempt)


def unseen(look: Look, row: Instance, listed: Listed, *, proves: bool) -> bool:
    """A machine that was there is not listed; returns whether it is to be asked for by its uuid."""
    if row.state not in RENTED:
        return False
    if row.requested_at is not None and listed.began_at < row.requested_at:
        return False  # it was asked for after this listing began
    known_for_long = row.requested_at is None or listed.began_at - row.requested_at > doom.LAG
    if row.seen_at is None and row.terminate_accepted_at is None and not known_for_long:
        return False  # the listing may not have it yet
    last_sign = row.terminate_accepted_at or row.seen_at
    if proves and (last_sign is None or listed.began_at > last_sign):
        row.missing_since = row.missing_since or listed.began_at
        since = max(row.missing_since, last_sign or row.missing_since)  # an accepted end counts anew
        if listed.began_at - since >= doom.LAG:
            gone(look, row, "absent")
            return False
    return True


def gone(look: Look, row: Instance, proof: str) -> None:
    """A machine is gone; if its attempt was still at work, that is lost."""
    row.state, row.gone_at, row.gone_proof = "gone", look.now, proof
    attempt = look.attempt_of(row)
    if attempt is not None and attempt.state in (State.BOOTING, State.RUNNING):
        change = Change("lost", _how_it_went(look, row, attempt), attempt=_last_words(attempt))
        look.move(Event.GONE, attempt, change)
    _beside(look, row, attempt)


def _beside(look: Look, row: Instance, attempt: Attempt | None) -> None:
    """What a machine costs that is no present one of its job: its budget pays for it where the job is final.

    Else the present machine has so much less, and ends earlier.
    """
    if row.job_id is None or (attempt is not None and attempt.state != "ended"):
        return
    look.session.flush()
    costs.settle(look.session, look.now, row.job_id)
    present = look.session.execute(
        select(Job, Attempt, Instance)
        .join(Attempt, Attempt.id == Job.attempt_id)
        .join(Instance, Instance.attempt_id == Attempt.id)
        .where(Job.id == row.job_id)
    ).first()
    if present is not None:
        deadlines.shorten(look.session, look.now, *present)


def _how_it_went(look: Look, row: Instance, attempt: Attempt) -> str:
    at = None if attempt.guard is None else attempt.guard.get("at")
    if at is not None and datetime.fromisoformat(at) <= look.now:
        return (
            "the machine is gone, which was to end itself at its expiry; how the command ended is not known"
        )
    if row.expires_at <= look.now:
        return (
            "the machine was past its expiry and is gone, perhaps by `runner reap`; how the command ended is "
            "not known"
        )
    return "the machine vanished from the account"


def unclaimed(look: Look, sight: Sighting, listed: Listed, fleet: str, since: datetime) -> None:
    """A machine that no row of ours knows: ended if it is overdue, or ours and nobody's for long."""
    name = parse_instance_name(sight.name)
    if name is None or name.fleet != fleet:
        look.findings.strangers += 1
        return
    overdue = listed.date.timestamp() > name.expires_at
    if not (overdue or (look.now - since >= GRACE and _is_ours(look.session, name))):
        return
    since = min(since, sight.created or since)
    # Its name may still tell whose receipt it belongs on, and since when.
    bound = look.session.execute(select(Instance).where(Instance.attempt_id == name.attempt_id)).scalar()
    row = Instance(
        attempt_id=None,
        job_id=None if bound is None else bound.job_id,
        name=sight.name,
        uuid=sight.uuid,
        state="live",
        product=None if bound is None else bound.product,
        price=None if bound is None else bound.price,  # until the listing says another
        expires_at=_moment(name.expires_at),
        requested_at=since if bound is None else bound.requested_at or since,
        minimum_minutes=0 if bound is None else bound.minimum_minutes,
    )
    look.session.add(row)
    _keep_facts(row, sight, look.now)
    look.doom(row, "overdue" if overdue else "unclaimed")
    _beside(look, row, None)


def _identify(look: Look, row: Instance, attempt: Attempt | None, sight: Sighting) -> None:
    """A deploy whose answer is not known has happened: this is its machine."""
    row.uuid, row.seen_at = sight.uuid, look.now
    row.requested_at = row.requested_at or look.now
    if attempt is not None and attempt.state == State.DEPLOYING:
        row.state = "live"
        look.move(Event.DEPLOYED, attempt, Change(None, f"{row.product} is booting", attempt=RELEASED))
    else:
        look.doom(row, GIVEN_UP)


def _keep_facts(row: Instance, sight: Sighting, now: datetime) -> bool:
    """Keep what the listing shows; returns whether its price is news for the ceilings."""
    row.seen_at, row.missing_since = now, None
    row.status, row.ready = sight.status, sight.ready
    row.host, row.port = sight.host or row.host, sight.port or row.port
    row.username, row.product = sight.username or row.username, sight.product or row.product
    return keep_price(row, sight, now)


def keep_price(row: Instance, sight: Sighting, now: datetime) -> bool:
    """Keep what the machine costs, and since when; returns whether that is news, or more than before.

    ``prices`` has ``since``: each price with the first minute that it is counted for; and whether they are
    ``final``. The first price that is listed is that of all minutes. So is the first final one: what was
    listed before may not have had the coupon in it. A later one holds from the minute in which it is seen; a
    lower one from the next, for that minute has been charged.
    """
    full, row.full_price = row.full_price, sight.full_price or row.full_price
    known = row.prices
    if sight.price is None:
        return False
    final = known is not None and known["final"]
    if final and not sight.final and (full is None or sight.price <= full):
        return False  # "not known" is no news, but where even the full price has risen
    before, row.price = row.price, sight.price
    if known is None:
        row.prices = {"final": sight.final, "since": [[0, sight.price]]}
        return True
    if sight.final and not final:
        row.prices = {"final": True, "since": [*known["since"][:-1], [known["since"][-1][0], sight.price]]}
        return True
    last = known["since"][-1][1]
    if last != sight.price:
        minute = max(0, (now - (row.requested_at or now)) // timedelta(minutes=1))
        row.prices = {**known, "since": meter.repriced(known["since"], minute, sight.price)}
    return sight.price > (before or 0)


def _reprice(look: Look, row: Instance, attempt: Attempt) -> bool:
    """A machine that is dearer than was known must end earlier than its name says: the ceiling holds.

    Returns whether it is so dear that its attempt has ended.
    """
    look.session.flush()
    job = look.session.execute(select(Job).where(Job.id == attempt.job_id)).scalar_one()
    final = row.prices is not None and row.prices["final"]
    if job.coupon is not None and not final and attempt.state == State.BOOTING:
        return False  # the full price: what is charged may be listed before the command starts
    if money.too_dear(row.price, job.max_price):
        detail = money.dearer("the machine", row.price, job.max_price)
        if _not_as_agreed(look, row, attempt, job, "deploy_failed", detail):
            return True
    elif (
        job.coupon is not None and final and row.full_price is not None and (row.price or 0) >= row.full_price
    ):
        detail = f"the coupon {job.coupon!r} was not applied: the machine is charged at the full price"
        if _not_as_agreed(look, row, attempt, job, "coupon", detail):
            return True
    deadlines.shorten(look.session, look.now, job, attempt, row)
    return False


def _not_as_agreed(look: Look, row: Instance, attempt: Attempt, job: Job, cause: str, detail: str) -> bool:
    """A machine that costs what its job does not pay is ended at once; a command that runs is stopped first.

    Returns whether its attempt has ended.
    """
    if attempt.state == State.RUNNING:
        if attempt.deadline_at is None or attempt.deadline_at > look.now:
            attempt.deadline_at, attempt.deadline_cause = look.now, "max_cost"
        return False
    if attempt.state != State.BOOTING:
        return False
    passed: dict[str, object] = {"passed_over": [*(job.passed_over or ()), attempt.product]}
    others = cause == "deploy_failed" and attempts.fallbacks(job, attempt.product) != ()
    _end(look, Event.BOOT_FAILED, attempt, row, cause, detail, retryable=others, job=passed)
    return True


def _orphaned_intent(look: Look, row: Instance, attempt: Attempt) -> None:
    """A deploy whose holder is dead: if it was never ordered nothing happened, else the listing will tell."""
    if attempt.lease_owner is not None and (attempt.lease_until or look.now) >= look.now:
        return
    if attempt.deploy_ordered_at is not None:
        row.state, row.unknown_at = "unknown", look.now
        return
    row.state = "refused"
    detail = "the worker ended before it rented anything"
    job = {"not_before": look.now, **budgets.given_back(attempt.number)}
    look.move(Event.THROTTLED, attempt, Change(None, detail, job=job))


def _absent(look: Look, row: Instance, attempt: Attempt) -> None:
    """A deploy without an answer had no effect."""
    row.state = "absent"
    query = select(Job.cancel_requested_at).where(Job.id == attempt.job_id)
    if look.session.execute(query).scalar() is not None:
        look.move(Event.STOPPED, attempt, Change("cancelled_by_user", "cancelled; nothing was rented"))
        return
    detail = "the deploy had no answer, and no machine appeared"
    look.move(Event.ABSENT, attempt, Change("deploy_failed", detail, attempt={"retryable": True}))


def _end(
    look: Look,
    event: Event,
    attempt: Attempt,
    row: Instance,
    cause: str,
    detail: str,
    *,
    retryable: bool = True,
    job: dict[str, object] | None = None,
) -> None:
    words = _last_words(attempt)
    look.doom(row, cause)
    words["retryable"] = words["retryable"] and retryable
    look.move(event, attempt, Change(cause, detail, attempt=words, job=job))


def _last_words(attempt: Attempt) -> dict[str, object]:
    """What an attempt that lost its machine says: whether it may be tried again, and what its log lacks."""
    if attempt.go_ordered_at is None:
        return {"retryable": True}
    return {"retryable": False, "log_end": "incomplete: the machine is gone"}


def _is_ours(session: Session, name: InstanceName) -> bool:
    return name.installation == session.execute(select(Installation.installation_id)).scalar_one()


def _moment(epoch: int) -> datetime:
    """A time out of a name, which may be any number."""
    try:
        return datetime.fromtimestamp(epoch, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.max.replace(tzinfo=UTC)
