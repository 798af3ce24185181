"""`runner doctor`: looks at everything that the promise stands on, and says how to mend what is wrong."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from jobs import ids, meter, money
from jobs.errors import DatabaseError, InvalidToken, RunnerError
from jobs.meter import Metered
from jobs.settings import Settings
from jobs.store import doom, leases, outbox, reads, schema, uploads
from jobs.store.database import Database
from runner import daemon
from runner.present import count, span

if TYPE_CHECKING:
    from workers.cloud.gate import Gate
    from workers.cloud.shapes import Instance as Listed
    from workers.cloud.shapes import Listing

API_SECONDS = 20.0
CLOCK_SECONDS = 60.0
LEAST_FREE_BYTES = 1 << 30
LOOK_SECONDS = 20.0
"""So often, and more, a service looks at an account with machines: a price may have changed since."""
LATE = timedelta(minutes=10)
"""A notification that waits for longer tells nobody in time."""
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smbfs", "smb3", "fuse.sshfs", "9p", "afs", "lustre", "ceph"}
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``mend``: what to do where it is not ``ok``."""

    what: str
    ok: bool
    detail: str
    mend: str | None = None


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at one thing after another; what cannot be looked at is a finding too."""
    yield from _guarded("home", lambda: _home(settings))
    yield from _guarded("disk", lambda: _disk(settings))
    try:
        db = schema.open_database(settings.database_url)
    except RunnerError as error:
        yield Finding("database", False, str(error), "Mend it: no job can be queued or served without it.")
        yield from _cloud(settings, None)
        return
    try:
        yield from _guarded("database", lambda: _database(db))
        if settings.served_by_workers:
            yield from _guarded("workers", lambda: _workers(db))
            yield from _guarded("broker", lambda: _broker(settings, db))
        else:
            yield from _guarded("service", lambda: _service(settings, db))
        yield from _guarded("notify", lambda: _notify(settings, db))
        yield from _guarded("uploads", lambda: _uploads(db))
        yield from _cloud(settings, db)
    finally:
        db.close()


def _guarded(what: str, look: Callable[[], Finding]) -> Iterator[Finding]:
    try:
        yield look()
    except RunnerError as error:
        yield Finding(what, False, str(error))
    except OSError as error:
        yield Finding(what, False, f"it cannot be looked at: {error.strerror or error}")


def _home(settings: Settings) -> Finding:
    if settings.home.exists() and not settings.home.is_dir():
        return Finding("home", False, f"{settings.home} is no folder", "Name a folder by RUNNER_HOME.")
    mode = settings.home.stat().st_mode & 0o777 if settings.home.exists() else 0o700
    if mode & 0o077:
        detail = f"{settings.home} can be entered by others (mode {mode:o})"
        return Finding("home", False, detail, f"chmod 700 '{settings.home}'")
    return Finding("home", True, str(settings.home))


def _disk(settings: Settings) -> Finding:
    place = next(path for path in (settings.home, *settings.home.parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    detail = f"{free / (1 << 30):.1f} GiB free"
    if free < LEAST_FREE_BYTES:
        kept = "logs are kept there" if settings.on_sqlite else "keys are kept there"
        return Finding("disk", False, detail, f"Make room under {place}: {kept}.")
    return Finding("disk", True, detail)


def _database(db: Database) -> Finding:
    where = str(db.path or db.shown_url)
    kind = _file_system(db.path) if db.path is not None else None
    if kind in NETWORK_FILE_SYSTEMS:
        mend = "Move RUNNER_HOME to a local disk: SQLite's locks do not hold over a network."
        return Finding("database", False, f"{where} lies on a network file system ({kind})", mend)
    return Finding("database", True, f"{where}, revision {schema.revision(db)}")


def _file_system(path: Path) -> str | None:
    """The kind of file system that *path* lies on, by the longest mount point above it."""
    found = [
        (len(part.mountpoint), part.fstype)
        for part in psutil.disk_partitions(all=True)
        if path.resolve().is_relative_to(part.mountpoint)
    ]
    return max(found)[1] if found else None


def _workers(db: Database) -> Finding:
    found = leases.workers(db)
    if not found:
        return _nobody("workers", "none is alive", "runner worker", db)
    for worker in found:
        if worker.note:
            where = f"{worker.host} (pid {worker.pid})"
            return Finding(
                "workers", False, f"{where}: {worker.note}", f"See the log of the worker on {where}."
            )
    busy, seats = sum(worker.busy for worker in found), sum(worker.seats for worker in found)
    return Finding("workers", True, f"{len(found)} alive, {busy} of {seats} seats taken")


def _broker(settings: Settings, db: Database) -> Finding:
    if not settings.broker_url:
        mend = "Set RUNNER_BROKER_URL to that of the workers, such as redis://localhost:6379/0."
        return Finding(
            "broker", False, "none is set, and PostgreSQL is served by workers, who share one", mend
        )
    from workers.app import queue_of
    from workers.doorbell import Doorbell

    bell = Doorbell(settings.broker_url, queue_of(db))
    try:
        why = bell.try_it()
    finally:
        bell.close()
    if why is not None:
        mend = "Jobs go on without it, served by the worker that leads; start it, or mend RUNNER_BROKER_URL."
        return Finding("broker", False, f"cannot be reached: {why}", mend)
    return Finding("broker", True, "answers")


def _nobody(what: str, state: str, command: str, db: Database) -> Finding:
    """Nobody works: which is well where nothing is to be done."""
    if machines := len(doom.instances(db)):
        return Finding(what, False, f"{state}, with {count(machines, 'machine')} rented", command)
    if waiting := reads.unfinished(db):
        return Finding(what, False, f"{state}, with {count(waiting, 'job')} waiting", command)
    return Finding(what, True, f"{state} (nothing needs it now)")


def _service(settings: Settings, db: Database) -> Finding:
    running = daemon.find(settings)
    if running is None:
        return _nobody("service", "not running", "runner up", db)
    for worker in leases.workers(db):
        if worker.note:
            return Finding(
                "service", False, f"pid {running.pid}: {worker.note}", f"See {daemon.log_path(settings)}."
            )
    machines = count(len(doom.instances(db)), "machine")
    return Finding("service", True, f"running, pid {running.pid}, {machines} rented")


def _notify(settings: Settings, db: Database) -> Finding:
    if settings.notify_url is None:
        return Finding("notify", True, outbox.NO_URL)
    found = outbox.backlog(db)
    age = timedelta(0) if found.oldest is None else db.clock() - found.oldest
    parts = [f"{count(found.waiting, 'notification')} waiting"]
    if found.waiting:
        parts.append(f"the oldest for {span(age.total_seconds())}")
    if found.given_up:
        parts.append(f"{found.given_up} given up within {outbox.KEEP.days} days")
    if found.error:
        parts.append(f"last error: {found.error}")
    if age > LATE:
        _, command = daemon.nobody(db)
        mend = f"Mend what RUNNER_NOTIFY_URL names, and have somebody who sends: {command}"
        return Finding("notify", False, ", ".join(parts), mend)
    return Finding("notify", True, ", ".join(parts))


def _uploads(db: Database) -> Finding:
    number, who = uploads.forsaken(db)
    if number:
        what = "one upload" if number == 1 else f"{number} uploads"
        detail = f"{what} came to nothing (first {who}), and what was stored is still there"
        mend = f"Whoever serves removes it; if that goes on, see its log for why: {daemon.nobody(db)[1]}"
        return Finding("uploads", False, detail, mend)
    return Finding("uploads", True, "none has left anything behind")


def _cloud(settings: Settings, db: Database | None) -> Iterator[Finding]:
    """Token, clock and account; without a database what can be told without one."""
    if settings.api_token is None:
        if settings.served_by_workers:
            yield Finding("token", True, "there is none here: who only submits needs none")
        else:
            yield Finding("token", False, "there is none", "runner init")
        return
    from workers.cloud.client import Cloud, LocalGate
    from workers.steps.gate import DatabaseGate

    gate = LocalGate() if db is None else DatabaseGate(db, threading.Event(), settings.api_rate)
    with Cloud(settings.api_url, settings.api_token, gate=gate) as cloud:
        try:
            cloud.validate_token(deadline_s=API_SECONDS)
        except InvalidToken as error:
            yield Finding("token", False, str(error), "runner init")
            return
        except DatabaseError as error:  # there all who ask the API take turns
            yield Finding("database", False, str(error))
            yield from _cloud(settings, None)
            return
        except RunnerError as error:
            yield Finding("API", False, str(error), "The token could not be checked; try again later.")
            return
        yield Finding("token", True, f"accepted by {settings.api_url}")
        listing: Listing | None = None
        try:
            listing = cloud.list_instances(deadline_s=API_SECONDS)
            yield _clock(listing, db)
            if db is not None:
                yield _account(settings, db, listing)
        except RunnerError as error:
            yield Finding("database" if isinstance(error, DatabaseError) else "account", False, str(error))
        yield from _guarded("guard", lambda: _guard(settings, gate, listing))


def _guard(settings: Settings, gate: Gate, listing: Listing | None) -> Finding:
    """The token that machines end themselves with. Whether it may terminate, only a terminate would show.

    *listing*: what the API token sees, where that is known.
    """
    if settings.guard_token is None:
        return Finding("guard", True, "RUNNER_GUARD_TOKEN is not set: no machine ends itself")
    if settings.host_keys == "accept-new":
        detail = "no machine gets it, because RUNNER_HOST_KEYS is accept-new"
        return Finding("guard", False, detail, "Unset RUNNER_HOST_KEYS, or RUNNER_GUARD_TOKEN.")
    if settings.guard_token == settings.api_token:
        return Finding("guard", True, "it is the API token itself; one of its own could be revoked alone")
    from workers.cloud.client import Cloud

    with Cloud(settings.api_url, settings.guard_token, gate=gate) as cloud:
        try:
            seen = cloud.list_instances(deadline_s=API_SECONDS)
        except InvalidToken:
            mend = "Make a new API token, and set RUNNER_GUARD_TOKEN to it."
            return Finding("guard", False, "RUNNER_GUARD_TOKEN is refused: no machine can end itself", mend)
    ours = {} if listing is None else _of_fleet(settings, listing)
    if ours and ours.keys().isdisjoint(instance.uuid for instance in seen.instances):
        detail = (
            "RUNNER_GUARD_TOKEN sees none of our machines: it is of another account, and ends none of them"
        )
        return Finding("guard", False, detail, "Make an API token on the account that rents, and set it.")
    return Finding("guard", True, "accepted, and not the API token")


def _of_fleet(settings: Settings, listing: Listing) -> dict[str, ids.InstanceName]:
    """The names of the fleet's machines that live, by uuid."""
    names = {i.uuid: ids.parse_instance_name(i.name) for i in listing.instances if not i.terminal}
    return {uuid: name for uuid, name in names.items() if name is not None and name.fleet == settings.fleet}


def _clock(listing: Listing, db: Database | None) -> Finding:
    off = abs((datetime.now(UTC) - listing.date).total_seconds())
    if off > CLOCK_SECONDS:
        return Finding("clock", False, f"{off:.0f} s away from the API's", "Set this computer's clock (NTP).")
    kept = 0.0 if db is None else abs((db.time() - listing.date).total_seconds())
    if db is not None and kept > CLOCK_SECONDS:
        mend = "It was set after the service began: start the service again."
        if not db.sqlite:
            mend = "Set the clock of the database's server (NTP): leases and ceilings go by it."
        whose = "the service's" if db.sqlite else "that of the database's server"
        return Finding("clock", False, f"{whose} is {kept:.0f} s away from the API's", mend)
    return Finding("clock", True, "agrees with the API's")


def _other_prices(
    db: Database, rows: Mapping[str | None, Metered], listed: Mapping[str, Listed]
) -> list[str]:
    """Machines that are metered at another price than is listed, also once the service has looked itself."""
    end = time.monotonic() + LOOK_SECONDS
    while True:
        differ = [
            f"{instance.name}: metered at ${money.format_usd(row.price)}/h, "
            f"listed at ${money.format_usd(price)}/h"
            for uuid, instance in listed.items()
            if (row := rows.get(uuid)) is not None and row.price is not None
            if instance.price_is_final or not (row.prices or {}).get("final")
            if (price := instance.price_micros_per_hour) is not None and price != row.price
        ]
        if not differ or time.monotonic() > end or not leases.workers(db):
            return differ
        time.sleep(0.5)
        rows = doom.by_uuid(db)


def _account(settings: Settings, db: Database, listing: Listing) -> Finding:
    """The account's machines, the database and the meter must tell the same story."""
    with db.read() as session:
        ours = schema.installation_id(session)
    rows = doom.by_uuid(db)
    listed = {instance.uuid: instance for instance in listing.instances if not instance.terminal}
    names = _of_fleet(settings, listing)
    wrong: list[str] = []
    for uuid, instance in listed.items():
        name = names.get(uuid)
        row = rows.get(uuid)
        if name is not None and name.installation == ours and row is None:
            wrong.append(f"{instance.name} ({uuid}) is rented and in nobody's books; the service ends it")
        if name is not None and listing.date.timestamp() > name.expires_at:
            wrong.append(
                f"{instance.name} ({uuid}) is past its expiry; the service ends it, and so does `runner reap`"
            )
    now = db.clock()
    for row in rows.values():
        if row.uuid is not None and row.uuid not in listed and row.state == "live":
            wrong.append(f"{row.name} is in our books and not on the account; the service settles it")
        if meter.leak_suspected(row, now):
            wrong.append(
                f"{row.name} should be gone and is not: leak suspected; last error: {row.terminate_error}"
            )
    wrong += _other_prices(db, rows, listed)  # last, for it may wait
    strangers = len(listed) - len([uuid for uuid in listed if uuid in rows])
    if wrong:
        return Finding("account", False, "; ".join(wrong), daemon.nobody(db)[1])
    return Finding(
        "account", True, f"{count(len(rows), 'machine')} of ours as in the books, {strangers} of others"
    )
