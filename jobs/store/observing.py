"""What the observer that leads writes: the difference between the account's listing and our rows.

Everything is written under the leader's fence. The listing was asked for before our rows are read here,
so a row that is younger than the listing is never taken for a missing machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from jobs.ids import InstanceName, parse_instance_name
from jobs.models import Attempt, Instance, Job
from jobs.states import Event, State
from jobs.store.database import Database
from jobs.store.transitions import RELEASED, Change, Lead, confirm_lead, move

LAG = timedelta(seconds=90)
"""How far the listing may be behind: the grace of unclaimed machines, and the distance of two absences."""


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

    doubted: list[tuple[int, str]] = field(
        default_factory=list
    )  # rows whose machine was not listed: ask by uuid
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
        for sighting in listed.sightings:
            by_name.setdefault(sighting.name, sighting)
        claimed: set[str] = set()
        for row in _watched(session, now, by_uuid):
            seen = by_uuid.get(row.uuid) if row.uuid is not None else by_name.get(row.name)
            if seen is not None and seen.uuid not in claimed:
                claimed.add(seen.uuid)
                _seen(session, now, lead, row, seen, findings)
            else:
                _unseen(session, now, lead, row, listed, quarantine, findings)
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
        if row is not None and row.state in ("live", "warm", "doomed"):
            _gone(session, db.now(session), lead, row, proof)
            session.flush()


def proved_alive(db: Database, lead: Lead, instance_id: int) -> None:
    """A question by uuid has shown that this machine lives, whatever the listing said."""
    with db.write() as session:
        confirm_lead(session, lead)
        row = session.get(Instance, instance_id)
        if row is not None:
            row.missing_since, row.seen_at = None, db.now(session)
            session.flush()


def _watched(session: Session, now: datetime, by_uuid: Mapping[str, Sighting]) -> Sequence[Instance]:
    may_turn_up = Instance.state.in_(("absent", "refused")) & (Instance.expires_at > now - LAG)
    gone_but_listed = (Instance.state == "gone") & Instance.uuid.in_(list(by_uuid))
    held = Instance.state.in_(("intended", "unknown", "live", "warm", "doomed"))
    # Rows that know their uuid first, so that they claim it before one that knows only the name.
    query = (
        select(Instance)
        .where(or_(held, may_turn_up, gone_but_listed))
        .order_by(Instance.uuid.is_(None), Instance.id)
    )
    return session.execute(query).scalars().all()


def _seen(
    session: Session, now: datetime, lead: Lead, row: Instance, seen: Sighting, findings: Findings
) -> None:
    attempt = session.get(Attempt, row.attempt_id) if row.attempt_id else None
    if row.state == "gone":
        if not seen.over and row.gone_at is not None and now - row.gone_at > LAG:
            row.gone_at, row.gone_proof, row.terminate_accepted_at = None, None, None
            _doom(row, now, "seen again after it was gone", findings)
        return
    if row.uuid is None:
        row.uuid, row.seen_at = seen.uuid, now
        if row.requested_at is None:
            row.requested_at = now
        wanted = (
            attempt is not None and attempt.state == State.DEPLOYING and row.state in ("intended", "unknown")
        )
        if wanted and attempt is not None:
            row.state = "live"
            session.flush()
            _move(
                session,
                now,
                lead,
                Event.DEPLOYED,
                attempt,
                Change(None, f"{row.product} is booting", attempt=RELEASED),
            )
        else:
            _doom(row, now, "a stray of a deploy that was given up", findings)
    _facts(row, seen, now)
    if row.state == "doomed":
        if seen.over:
            _gone(session, now, lead, row, "status")
        return
    if seen.over:
        _gone(session, now, lead, row, "status")
    elif attempt is None or attempt.state in ("finishing", "ended"):
        _doom(row, now, "its attempt has ended", findings)
    elif attempt.state == State.BOOTING:
        if seen.failed or seen.stopped:
            detail = f"the machine did not boot: its status is {seen.status!r}"
            _end(session, now, lead, Event.BOOT_FAILED, attempt, row, "deploy_failed", detail, retryable=True)
        elif seen.ready and attempt.ready_at is None:
            attempt.ready_at = now
    elif attempt.state == State.RUNNING and (seen.stopped or seen.failed):
        detail = f"the machine is {seen.status}"
        _end(session, now, lead, Event.GONE, attempt, row, "lost", detail)


def _facts(row: Instance, seen: Sighting, now: datetime) -> None:
    row.seen_at, row.missing_since = now, None
    row.status, row.ready = seen.status[:100], seen.ready
    row.host, row.port = seen.host or row.host, seen.port or row.port
    row.username, row.product = seen.username or row.username, seen.product or row.product
    if seen.price is not None:
        row.price = seen.price


def _unseen(
    session: Session,
    now: datetime,
    lead: Lead,
    row: Instance,
    listed: Listed,
    quarantine: timedelta,
    findings: Findings,
) -> None:
    if row.state == "intended":
        _orphaned_intent(session, now, lead, row)
    elif row.state == "unknown":
        over = row.unknown_at is not None and listed.began_at >= row.unknown_at + quarantine
        if listed.complete and over:
            _absent(session, now, lead, row)
    elif row.state in ("live", "warm", "doomed") and row.uuid is not None and listed.complete:
        if row.requested_at is not None and listed.began_at < row.requested_at:
            return  # it was asked for after this listing began
        if row.missing_since is None:
            row.missing_since = listed.began_at
        lag_over = row.requested_at is None or listed.began_at - row.requested_at > LAG
        if row.seen_at is not None or row.terminate_accepted_at is not None or lag_over:
            findings.doubted.append((row.id, row.uuid))


def absent_for_long(db: Database, instance_id: int, began_at: datetime) -> bool:
    """Whether two complete listings, far enough apart, both lacked this machine after its end was accepted."""
    with db.read() as session:
        row = session.get(Instance, instance_id)
        if row is None or row.missing_since is None:
            return False
        since = max(row.missing_since, row.terminate_accepted_at or row.seen_at or row.missing_since)
        return began_at - since >= LAG


def _orphaned_intent(session: Session, now: datetime, lead: Lead, row: Instance) -> None:
    """A deploy whose holder is dead: if it was never ordered nothing happened, else the listing will tell."""
    attempt = session.get(Attempt, row.attempt_id)
    if attempt is None or attempt.state != State.DEPLOYING:
        return
    if attempt.lease_owner is not None and attempt.lease_until is not None and attempt.lease_until >= now:
        return
    if attempt.deploy_ordered_at is not None:
        row.state, row.unknown_at = "unknown", now
        return
    row.state = "refused"
    session.flush()
    change = Change(None, "the worker ended before it rented anything", job={"not_before": now})
    _move(session, now, lead, Event.THROTTLED, attempt, change)


def _absent(session: Session, now: datetime, lead: Lead, row: Instance) -> None:
    row.state = "absent"
    session.flush()
    attempt = session.get(Attempt, row.attempt_id)
    if attempt is None or attempt.state != State.DEPLOYING:
        return
    job = session.execute(select(Job).where(Job.id == attempt.job_id)).scalar_one()
    if job.cancel_requested_at is not None:
        _move(
            session,
            now,
            lead,
            Event.STOPPED,
            attempt,
            Change("cancelled_by_user", "cancelled; nothing was rented"),
        )
        return
    detail = "the deploy had no answer, and no machine appeared"
    change = Change("deploy_failed", detail, attempt={"retryable": True})
    _move(session, now, lead, Event.ABSENT, attempt, change)


def _gone(session: Session, now: datetime, lead: Lead, row: Instance, proof: str) -> None:
    row.state, row.gone_at, row.gone_proof = "gone", now, proof
    session.flush()
    attempt = session.get(Attempt, row.attempt_id) if row.attempt_id else None
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
    ours = _is_ours(session, name)
    overdue = listed.date.timestamp() > name.expires_at
    if not (overdue or (ours and now - since >= LAG)):
        return
    attempt = session.get(Attempt, name.attempt_id)
    row = Instance(
        attempt_id=None,
        job_id=attempt.job_id if attempt is not None else None,
        name=seen.name,
        uuid=seen.uuid,
        state="live",
        expires_at=datetime.fromtimestamp(name.expires_at, tz=now.tzinfo),
        requested_at=since,
    )
    session.add(row)
    _facts(row, seen, now)
    _doom(row, now, "overdue" if overdue else "unclaimed", findings)


def _is_ours(session: Session, name: InstanceName) -> bool:
    from jobs.store.schema import installation_id  # the schema's module opens databases; only this needs it

    return name.installation == installation_id(session)


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
    *,
    retryable: bool = False,
) -> None:
    row.state, row.doomed_at, row.doomed_why, row.terminate_next_at = "doomed", now, cause, now
    session.flush()
    values: dict[str, Any] = {"retryable": retryable, "log_end": _log_end(attempt)}
    _move(session, now, lead, event, attempt, Change(cause, detail, attempt=values))


def _move(
    session: Session, now: datetime, lead: Lead, event: Event, attempt: Attempt, change: Change
) -> None:
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
