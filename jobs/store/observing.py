"""What the observer that leads writes: the difference between the account's listing and our rows.

Everything is written under the leader's fence. The listing was asked for before our rows are read here,
so a row that is younger than the listing is never taken for a missing machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from jobs import meter, money
from jobs.ids import InstanceName, parse_instance_name
from jobs.models import Attempt, Installation, Instance, Job
from jobs.states import Event, State
from jobs.store import doom
from jobs.store.admission import charged
from jobs.store.database import Database
from jobs.store.transitions import RELEASED, Change, Lead, confirm_lead, move

GRACE = doom.LAG
"""How long a machine of ours that nobody claims is left alone: its deploy may not have been answered yet."""

RENTED = ("live", "warm", "doomed")
"""States of an instance that is on the account, as far as we know."""

Attempts = dict[str, Attempt]


@dataclass(frozen=True)
class Sighting:
    """One machine as the account's listing shows it. ``price``: micro-dollars an hour, None is unknown."""

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


def apply(
    db: Database,
    lead: Lead,
    listed: Listed,
    *,
    fleet: str,
    quarantine: timedelta,
    first_seen: Mapping[str, datetime],
) -> Findings:
    """Write what a listing says. ``first_seen``: since when the leader knows each uuid.

    Raises Stale where the caller does not lead any more.
    """
    findings = Findings()
    with db.write() as session:
        confirm_lead(session, lead)
        now = db.now(session)
        by_uuid = {sighting.uuid: sighting for sighting in listed.sightings}
        by_name: dict[str, Sighting] = {}
        for sighting in sorted(listed.sightings, key=lambda sighting: sighting.over):
            by_name.setdefault(sighting.name, sighting)
        rows = _watched(session, by_uuid, by_name)
        attempts = _attempts(session, rows)
        proves = listed.complete and not _suspicious(rows, by_uuid)
        claimed: set[str] = set()
        doubted: list[tuple[datetime, int, str]] = []
        for row in rows:
            seen = by_uuid.get(row.uuid) if row.uuid is not None else by_name.get(row.name)
            if seen is not None and seen.uuid not in claimed:
                claimed.add(seen.uuid)
                _seen(session, now, lead, row, attempts, seen, findings)
            elif row.uuid is None:
                _never_seen(session, now, lead, row, attempts, listed, quarantine)
            elif _unseen(session, now, lead, row, attempts, listed, proves):
                doubted.append((row.seen_at or row.requested_at or now, row.id, row.uuid))
        findings.doubted = [(id_, uuid) for _, id_, uuid in sorted(doubted)]
        for sighting in listed.sightings:
            if sighting.uuid not in claimed and not sighting.over:
                since = first_seen.get(sighting.uuid, now)
                _unclaimed(session, now, sighting, listed, fleet, since, findings)
        session.flush()
    return findings


def proved_gone(db: Database, lead: Lead, instance_id: int, proof: str) -> None:
    """A question by uuid has shown that this machine is gone."""
    with db.write() as session:
        confirm_lead(session, lead)
        row = session.get(Instance, instance_id)
        if row is not None and row.state in RENTED:
            _gone(session, db.now(session), lead, row, _attempts(session, [row]), proof)
            session.flush()


def proved_alive(db: Database, lead: Lead, instance_id: int) -> None:
    """A question by uuid has shown that this machine lives, whatever the listing said."""
    with db.write() as session:
        confirm_lead(session, lead)
        row = session.get(Instance, instance_id)
        if row is not None:
            row.missing_since, row.seen_at = None, db.now(session)
            session.flush()


def _watched(
    session: Session, by_uuid: Mapping[str, Sighting], by_name: Mapping[str, Sighting]
) -> Sequence[Instance]:
    held = Instance.state.in_(("intended", "unknown", *RENTED))
    turned_up = (Instance.state == "absent") & Instance.name.in_(list(by_name))
    gone_but_listed = (Instance.state == "gone") & Instance.uuid.in_(list(by_uuid))
    # Rows that know their uuid first, so that they claim it before one that knows only the name.
    query = (
        select(Instance)
        .where(or_(held, turned_up, gone_but_listed))
        .order_by(Instance.uuid.is_(None), Instance.id)
    )
    return session.execute(query).scalars().all()


def _attempts(session: Session, rows: Sequence[Instance]) -> Attempts:
    """The attempts that these instances are bound to, asked for together."""
    wanted = [row.attempt_id for row in rows if row.attempt_id is not None]
    found: Attempts = {}
    for start in range(0, len(wanted), 500):
        query = select(Attempt).where(Attempt.id.in_(wanted[start : start + 500]))
        found |= {attempt.id: attempt for attempt in session.execute(query).scalars()}
    return found


def _suspicious(rows: Sequence[Instance], by_uuid: Mapping[str, Sighting]) -> bool:
    """Whether a listing lacks more than half of the machines that should be there: then it proves nothing."""
    expected = [
        row.uuid
        for row in rows
        if row.state in RENTED and row.seen_at is not None and row.terminate_accepted_at is None
    ]
    return 2 * sum(uuid not in by_uuid for uuid in expected) > len(expected)


def _seen(
    session: Session,
    now: datetime,
    lead: Lead,
    row: Instance,
    attempts: Attempts,
    seen: Sighting,
    findings: Findings,
) -> None:
    attempt = attempts.get(row.attempt_id or "")
    if row.state == "gone":
        if not seen.over and row.gone_at is not None and now - row.gone_at > doom.LAG:
            row.gone_at, row.gone_proof, row.terminate_accepted_at = None, None, None
            _facts(row, seen, now)
            _doom(row, now, "seen again after it was gone", findings)
        return
    if row.uuid is None:
        row.uuid, row.seen_at = seen.uuid, now
        if row.requested_at is None:
            row.requested_at = now
        if attempt is not None and attempt.state == State.DEPLOYING and row.state != "absent":
            row.state = "live"
            session.flush()
            change = Change(None, f"{row.product} is booting", attempt=RELEASED)
            _move(session, now, lead, Event.DEPLOYED, attempt, change)
        else:
            _doom(row, now, "a stray of a deploy that was given up", findings)
    if _facts(row, seen, now) and attempt is not None:
        _reprice(session, now, row, attempt)
    if seen.over:
        _gone(session, now, lead, row, attempts, "status")
    elif row.state == "doomed":
        return
    elif attempt is None or attempt.state in ("finishing", "ended"):
        _doom(row, now, "its attempt has ended", findings)
    elif attempt.state == State.BOOTING:
        if seen.failed or seen.stopped:
            detail = f"the machine did not boot: its status is {seen.status!r}"
            before_go = attempt.go_ordered_at is None
            _end(session, now, lead, Event.BOOT_FAILED, attempt, row, "deploy_failed", detail, before_go)
        elif seen.ready and attempt.ready_at is None:
            attempt.ready_at = now
    elif attempt.state == State.RUNNING and (seen.stopped or seen.failed):
        _end(session, now, lead, Event.GONE, attempt, row, "lost", f"the machine is {seen.status}", False)


def _facts(row: Instance, seen: Sighting, now: datetime) -> bool:
    """Keep what the listing shows; returns whether the machine has become dearer."""
    row.seen_at, row.missing_since = now, None
    row.status, row.ready = seen.status, seen.ready
    row.host, row.port = seen.host or row.host, seen.port or row.port
    row.username, row.product = seen.username or row.username, seen.product or row.product
    before, row.price = row.price, row.price if seen.price is None else seen.price
    return row.price is not None and row.price > (before or 0)


def _reprice(session: Session, now: datetime, row: Instance, attempt: Attempt) -> None:
    """A dearer machine must end earlier than its name says, so that the ceiling holds."""
    if row.requested_at is None or not row.price:
        return
    max_cost = session.execute(select(Job.max_cost).where(Job.id == attempt.job_id)).scalar_one()
    others = [other for other in charged(session, attempt.job_id) if other.id != row.id]
    left = max_cost - meter.total(meter.charge(other, now) for other in others)
    minutes = money.affordable_minutes(left, row.price)
    row.expires_at = min(row.expires_at, row.requested_at + timedelta(seconds=60 * minutes - 1))
    deadline = row.expires_at - timedelta(seconds=money.ENDING_SECONDS)
    if attempt.deadline_at is not None and deadline < attempt.deadline_at:
        attempt.deadline_at, attempt.deadline_cause = deadline, "max_cost"


def _never_seen(
    session: Session,
    now: datetime,
    lead: Lead,
    row: Instance,
    attempts: Attempts,
    listed: Listed,
    quarantine: timedelta,
) -> None:
    """A machine that may exist, under a name that was not listed."""
    attempt = attempts.get(row.attempt_id or "")
    if attempt is None or attempt.state != State.DEPLOYING:
        return
    if row.state == "intended":
        _orphaned_intent(session, now, lead, row, attempt)
    elif row.state == "unknown" and listed.complete:
        if row.unknown_at is not None and listed.began_at >= row.unknown_at + quarantine:
            _absent(session, now, lead, row, attempt)


def _unseen(
    session: Session,
    now: datetime,
    lead: Lead,
    row: Instance,
    attempts: Attempts,
    listed: Listed,
    proves: bool,
) -> bool:
    """A machine that was there and is not listed; returns whether it is to be asked for by its uuid."""
    if row.state not in RENTED or not listed.complete:
        return False
    if row.requested_at is not None and listed.began_at < row.requested_at:
        return False  # it was asked for after this listing began
    known_for_long = row.requested_at is None or listed.began_at - row.requested_at > doom.LAG
    if row.seen_at is None and row.terminate_accepted_at is None and not known_for_long:
        return False  # the listing may not have it yet
    last_sign = row.terminate_accepted_at or row.seen_at
    if proves and (last_sign is None or listed.began_at > last_sign):
        if row.missing_since is None:
            row.missing_since = listed.began_at
        elif listed.began_at - row.missing_since >= doom.LAG:
            _gone(session, now, lead, row, attempts, "absent")
            return False
    return True


def _orphaned_intent(session: Session, now: datetime, lead: Lead, row: Instance, attempt: Attempt) -> None:
    """A deploy whose holder is dead: if it was never ordered nothing happened, else the listing will tell."""
    if attempt.lease_owner is not None and attempt.lease_until is not None and attempt.lease_until >= now:
        return
    if attempt.deploy_ordered_at is not None:
        row.state, row.unknown_at = "unknown", now
        return
    row.state = "refused"
    session.flush()
    change = Change(None, "the worker ended before it rented anything", job={"not_before": now})
    _move(session, now, lead, Event.THROTTLED, attempt, change)


def _absent(session: Session, now: datetime, lead: Lead, row: Instance, attempt: Attempt) -> None:
    row.state = "absent"
    session.flush()
    cancelled = session.execute(select(Job.cancel_requested_at).where(Job.id == attempt.job_id)).scalar()
    if cancelled is not None:
        change = Change("cancelled_by_user", "cancelled; nothing was rented")
        _move(session, now, lead, Event.STOPPED, attempt, change)
        return
    detail = "the deploy had no answer, and no machine appeared"
    change = Change("deploy_failed", detail, attempt={"retryable": True})
    _move(session, now, lead, Event.ABSENT, attempt, change)


def _gone(session: Session, now: datetime, lead: Lead, row: Instance, attempts: Attempts, proof: str) -> None:
    row.state, row.gone_at, row.gone_proof = "gone", now, proof
    session.flush()
    attempt = attempts.get(row.attempt_id or "")
    if attempt is not None and attempt.state in (State.BOOTING, State.RUNNING):
        detail = "the machine vanished from the account"
        before_go = attempt.go_ordered_at is None
        change = Change("lost", detail, attempt={"retryable": before_go, "log_end": _log_end(attempt)})
        _move(session, now, lead, Event.GONE, attempt, change)


def _log_end(attempt: Attempt) -> str | None:
    return None if attempt.go_ordered_at is None else "incomplete: the machine is gone"


def _unclaimed(
    session: Session,
    now: datetime,
    seen: Sighting,
    listed: Listed,
    fleet: str,
    since: datetime,
    findings: Findings,
) -> None:
    name = parse_instance_name(seen.name)
    if name is None or name.fleet != fleet:
        findings.strangers += 1
        return
    overdue = listed.date.timestamp() > name.expires_at
    if not (overdue or (now - since >= GRACE and _is_ours(session, name))):
        return
    # The rest of the name may still tell whose receipt it belongs on.
    bound = session.execute(select(Instance).where(Instance.attempt_id == name.attempt_id)).scalar()
    row = Instance(
        attempt_id=None,
        job_id=bound.job_id if bound is not None else None,
        name=seen.name,
        uuid=seen.uuid,
        state="live",
        expires_at=_moment(name.expires_at),
        requested_at=bound.requested_at or since if bound is not None else since,
        minimum_minutes=bound.minimum_minutes if bound is not None else 0,
    )
    session.add(row)
    _facts(row, seen, now)
    _doom(row, now, "overdue" if overdue else "unclaimed", findings)


def _is_ours(session: Session, name: InstanceName) -> bool:
    return name.installation == session.execute(select(Installation.installation_id)).scalar_one()


def _moment(epoch: int) -> datetime:
    """A time out of a name, which may be any number."""
    try:
        return datetime.fromtimestamp(epoch, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.max.replace(tzinfo=UTC)


def _doom(row: Instance, now: datetime, why: str, findings: Findings) -> None:
    row.state, row.doomed_at, row.doomed_why, row.terminate_next_at = "doomed", now, why, now
    findings.doomed += 1


def _end(
    session: Session,
    now: datetime,
    lead: Lead,
    event: Event,
    attempt: Attempt,
    row: Instance,
    cause: str,
    detail: str,
    retryable: bool,
) -> None:
    row.state, row.doomed_at, row.doomed_why, row.terminate_next_at = "doomed", now, cause, now
    session.flush()
    values: dict[str, Any] = {"retryable": retryable, "log_end": _log_end(attempt)}
    _move(session, now, lead, event, attempt, Change(cause, detail, attempt=values))


def _move(
    session: Session, now: datetime, lead: Lead, event: Event, attempt: Attempt, change: Change
) -> None:
    session.flush()
    move(
        session,
        now,
        event,
        job_id=attempt.job_id,
        state=State(attempt.state),
        attempt_id=attempt.id,
        guard=lead,
        change=change,
    )
    session.refresh(attempt)
