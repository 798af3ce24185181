"""A production worker: one of as many as wanted, on as many machines, around one PostgreSQL and one broker.

All workers are alike. One of them leads, by a lease in the database; when it is lost, another one does. What
a worker attends to is taken over by the others within a lease after it is lost, and at once where it is
stopped.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta

from jobs import ids
from jobs.errors import InvalidSettings, ServiceUnavailable
from jobs.secrets import existing_keys
from jobs.settings import Secret, Settings
from jobs.store import agreement, leases
from jobs.store.database import Database
from jobs.store.schema import open_database
from runner import serving

log = logging.getLogger(__name__)

SIGN_OF_LIFE = timedelta(seconds=30)
"""A worker that is well says every five seconds that it lives."""


def work(settings: Settings, *, seats: int | None = None, new_account: bool = False) -> None:
    """Work until SIGTERM or SIGINT. *seats*: how many jobs to attend to at once; by default max_instances.

    Must run on the main thread. Raises InvalidSettings where there is no broker or no PostgreSQL,
    InvalidToken, DatabaseError, and ServiceUnavailable where the others have another key, account or store,
    or this code is or becomes too old for the database.
    """
    from workers.cloud.client import Cloud
    from workers.ssh.keys import ensure_key
    from workers.steps import account
    from workers.steps.gate import DatabaseGate

    check_settings(settings)
    token = settings.required_token()
    stopping = threading.Event()
    with closing(open_database(settings.database_url)) as db:
        gate = DatabaseGate(db, stopping, settings.api_rate)
        with Cloud(settings.api_url, token, gate=gate, stopping=stopping) as cloud:
            owner = ids.new_job_id()
            key = ensure_key(settings.ssh_key)
            serving.check_token(cloud)
            if not new_account:
                account.check(db, cloud, settings.api_url, token.reveal())
            seats = settings.max_instances if seats is None else seats
            has = what_it_has(settings, token, key.public_line)
            try:
                agreement.join(db, owner, serving.me(), seats, has)
            except agreement.Disagreement as error:
                # A new token of the same account: it has the machines that the others rented.
                if error.name != agreement.ACCOUNT or not account.is_proved(db, cloud):
                    raise
                agreement.join(db, owner, serving.me(), seats, has, same_account=True)
            account.remember(db, settings.api_url, token.reveal())
            log.info("worker %s serves %s with %d seats (pid %d)", owner, db.shown_url, seats, os.getpid())
            worker = serving.Worker(settings, db, cloud, key, owner, seats, stopping)
            if (why := worker.work(broker_url=settings.broker_url)) is not None:
                raise ServiceUnavailable(why)


def check_settings(settings: Settings) -> None:
    """Raise InvalidSettings unless several workers can share this database and this broker."""
    if settings.on_sqlite:
        raise InvalidSettings(
            "Workers share a PostgreSQL database: set RUNNER_DATABASE_URL to postgresql://… "
            "(`runner up` serves SQLite, alone)."
        )
    if not settings.broker_url:
        raise InvalidSettings(
            "Workers share a broker: set RUNNER_BROKER_URL, such as redis://localhost:6379/0."
        )


def what_it_has(settings: Settings, token: Secret, public_line: str) -> dict[str, Sequence[str]]:
    """What all workers must have in common, by the name of its setting."""
    return {
        agreement.ACCOUNT: [settings.api_url, token.reveal()],
        agreement.NOTIFY: [] if settings.notify_url is None else ["set"],
        agreement.SSH_KEY: [public_line],
        agreement.SECRET_KEY: existing_keys(settings),
        agreement.ARTIFACTS: [] if settings.artifacts_url is None else [settings.artifacts_url],
    }


def health(db: Database) -> str:
    """What the worker of this host does, as a sentence.

    Raises ServiceUnavailable where it gives no sign of life.
    """
    host = socket.gethostname()
    now = db.time()
    for worker in leases.workers(db):
        if worker.host == host and now - worker.heartbeat_at < SIGN_OF_LIFE:
            trouble = f"; {worker.note}" if worker.note else ""
            leads = ", leads" if worker.leads else ""
            return f"worker {worker.id} attends to {worker.busy} of {worker.seats} jobs{leads}{trouble}"
    raise ServiceUnavailable(
        f"No worker on {host} has given a sign of life for {SIGN_OF_LIFE.total_seconds():.0f} s."
    )
