"""The embedded service: worker, observer and broker in one process, on SQLite.

There is one service per database, kept so by a lock of the operating system that dies with its process:
whoever holds it knows that no former owner lives. A service serves every job and belongs to none, so
that no machine is left without one when a job's own process ends.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from jobs import ids
from jobs.errors import DatabaseError, InvalidSettings, ServiceUnavailable
from jobs.secrets import environment_of_a_service
from jobs.settings import Settings, as_environ
from jobs.store import doom, leases, locks, reads
from jobs.store.database import Database
from jobs.store.schema import open_database
from jobs.values import fingerprint
from jobs.views import WorkerView
from runner import serving
from runner.wake import Wakefulness

if TYPE_CHECKING:
    from workers.app import Engine

log = logging.getLogger(__name__)

IDLE_SECONDS = 60.0
"""How long a service that was started in the background stays after the last job is final."""
START_SECONDS = 30.0
PROBE_SECONDS = 1.0
NOT_THE_SERVICES = frozenset(
    {
        "RUNNER_HOME",
        "RUNNER_DATABASE_URL",
        "RUNNER_IMAGE",
        "RUNNER_DEFAULT_MAX_COST",
        "RUNNER_DEFAULT_MAX_RUNTIME",
    }
)
"""Settings that say which service it is, or that are decided when a job is submitted."""


@dataclass(frozen=True)
class Running:
    """A service that lives. ``started``: epoch seconds. ``leaves``: it ends by itself once it is idle.

    ``prints``: a salted fingerprint of each of its settings, by its variable.
    """

    pid: int
    started: float
    background: bool
    leaves: bool
    salt: str = ""
    prints: Mapping[str, str] = field(default_factory=dict)

    def differs(self, settings: Settings) -> list[str]:
        """The variables of those settings that a service has and that it does not share with *settings*."""
        ours, unset = _prints(settings, self.salt), fingerprint("", self.salt)
        return [name for name, found in ours.items() if self.prints and self.prints.get(name, unset) != found]


def log_path(settings: Settings) -> Path:
    """Where a service in the background writes what it does."""
    return settings.home / "service.log"


def find(settings: Settings) -> Running | None:
    """The service of this database, if one lives; never one where workers serve."""
    if settings.served_by_workers:
        return None
    return _read(settings) if locks.is_served(_database(settings)) else None


def check_same(settings: Settings, name: str, so: str) -> None:
    """Raise InvalidSettings where the service that runs was started with another value of a setting.

    *so*: what would come of it.
    """
    running = find(settings)
    if running is not None and name in running.differs(settings):
        raise InvalidSettings(
            f"{name} is not that of the service that runs (pid {running.pid}), so {so}; set the same, or end "
            "that one with `runner down` first."
        )


def check_settings(settings: Settings) -> None:
    """Raise InvalidSettings where the database is for workers to serve, not for a service of one computer."""
    if settings.broker_url:
        raise InvalidSettings(
            "RUNNER_BROKER_URL is set, so jobs are made to happen by workers: start one with `runner worker`."
        )
    if not settings.on_sqlite:
        raise InvalidSettings(
            "The service of one computer serves SQLite; for PostgreSQL set RUNNER_BROKER_URL, and start "
            "workers with `runner worker`."
        )


def nobody(db: Database) -> tuple[str, str]:
    """What to say where nobody works, and what to do about it."""
    if db.sqlite:
        return "no service is running", "runner up"
    return "no worker is alive", "runner worker"


def workers(db: Database) -> list[WorkerView]:
    """The workers that live. Of a service that was killed the operating system knows it at once.

    Raises DatabaseError.
    """
    if db.path is not None and not locks.is_served(db.path):
        return []
    return leases.workers(db)


def serve(
    settings: Settings,
    *,
    background: bool = False,
    idle_seconds: float | None = None,
    new_account: bool = False,
) -> None:
    """Serve the database until SIGTERM, SIGINT, or, with *idle_seconds*, that long after the last job.

    *new_account*: the token is another account's, which has none of the machines that are rented. Must run on
    the main thread. Raises ServiceUnavailable where another service is there already or the account is not
    the one of before, InvalidToken without a token, and DatabaseError.
    """
    from workers.cloud.client import Cloud
    from workers.ssh.keys import ensure_key
    from workers.steps import account
    from workers.steps.gate import DatabaseGate

    check_settings(settings)
    token = settings.required_token()
    db = open_database(settings.database_url)
    stopping = threading.Event()
    gate = DatabaseGate(db, stopping, settings.api_rate)
    with (
        closing(db),
        _locked(settings, background, leaves=idle_seconds is not None),
        Cloud(settings.api_url, token, gate=gate, stopping=stopping) as cloud,
    ):
        owner = ids.new_job_id()
        db.share_clock()
        leases.bury_the_dead(db)
        # Fewer instances may be allowed now than there were when those that live were rented.
        seats = max(settings.max_instances, len(doom.instances(db)))
        key = ensure_key(settings.ssh_key)
        serving.check_token(cloud)
        if not new_account:
            account.check(db, cloud, settings.api_url, token.reveal())
        account.remember(db, settings.api_url, token.reveal())
        leases.sign_on(db, owner, serving.me(), seats)
        log.info("serving %s (pid %d)", db.path, os.getpid())
        worker = serving.Worker(settings, db, cloud, key, owner, seats, stopping)

        def leave_when_idle(engine: Engine) -> None:
            assert idle_seconds is not None
            _leave_when_idle(engine, db, idle_seconds)

        with Wakefulness(db):
            worker.work(beside=None if idle_seconds is None else leave_when_idle, say_what_lives=True)


def start_in_background(settings: Settings, *, idle: bool = True, new_account: bool = False) -> Running:
    """Start a service in a session of its own, or find the one that is there.

    Raises ServiceUnavailable where it does not come up, and InvalidSettings where workers should serve.
    """
    check_settings(settings)
    running = find(settings)
    if running is not None:
        return running
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = [sys.executable, "-P", "-m", "runner", "up", "--background"]
    if idle:
        command += ["--idle-exit", str(IDLE_SECONDS)]
    if new_account:
        command.append("--new-account")
    path = log_path(settings)
    path.touch(mode=0o600)
    with path.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            env={**environment_of_a_service(settings), **as_environ(settings)},
        )
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        running = find(settings)
        if running is not None and _answers(settings, running.pid):
            process.returncode = process.returncode or 0  # it is not ours to wait for: no warning at exit
            return running
        if process.poll() is not None:
            if (other := find(settings)) is not None:
                return other
            raise ServiceUnavailable(
                f"The service did not start: {_last_line(path)} (the whole story: {path})"
            )
        time.sleep(0.05)
    raise ServiceUnavailable(f"The service did not come up within {START_SECONDS:.0f} s; see {path}.")


def check_account(settings: Settings, db: Database) -> None:
    """Look whether we could serve the machines that are rented, before the service that does is stopped.

    Raises InvalidToken for a token that is refused, and ServiceUnavailable where they are another account's
    or that cannot be found out.
    """
    from workers.cloud.client import Cloud
    from workers.steps import account
    from workers.steps.gate import DatabaseGate

    token = settings.required_token()
    gate = DatabaseGate(db, threading.Event(), settings.api_rate)
    with Cloud(settings.api_url, token, gate=gate) as cloud:
        serving.check_token(cloud)
        account.check(db, cloud, settings.api_url, token.reveal())


def stop(settings: Settings) -> int | None:
    """Ask the service to hand everything back and end; returns its pid, or None where there is none.

    Raises ServiceUnavailable where it does not end in time.
    """
    running = find(settings)
    if running is None:
        return None
    if running.pid <= 0:
        raise ServiceUnavailable(f"{_about(settings)} does not say which process the service is; try again.")
    try:
        os.kill(running.pid, signal.SIGTERM)
    except ProcessLookupError:
        return None
    except PermissionError:
        raise ServiceUnavailable(
            f"The service (pid {running.pid}) belongs to another user; stop it as that one."
        ) from None
    seconds = serving.STOP_SECONDS + 5
    end = time.monotonic() + seconds
    while find(settings) is not None:
        if time.monotonic() > end:
            raise ServiceUnavailable(f"The service (pid {running.pid}) has not ended within {seconds:.0f} s.")
        time.sleep(0.05)
    return running.pid


@contextmanager
def having(settings: Settings, db: Database) -> Iterator[None]:
    """Have a service while the block runs: the one that is there, else one that is started.

    One that was started ends with the block, unless machines are rented, of which a RuntimeWarning tells, or
    somebody else wants it: then it leaves by itself once it is idle. Where workers serve nothing is started.
    Raises ServiceUnavailable.
    """
    if settings.served_by_workers:
        yield  # they are elsewhere, and serve this block as well
        return
    with locks.wanted(_database(settings)) as by_others:
        started = start_in_background(settings) if find(settings) is None else None
        try:
            yield
        finally:
            running = find(settings)
            # Another pid: `runner up` has taken over, and stays.
            if started is not None and running is not None and running.pid == started.pid:
                if not serving.live_machines(db) and not by_others():
                    stop(settings)
                    if serving.live_machines(db):  # rented in this very moment
                        running = start_in_background(settings)
                if machines := serving.live_machines(db):
                    warnings.warn(_goes_on(running, machines), RuntimeWarning, stacklevel=3)


def _goes_on(running: Running, machines: list[str]) -> str:
    return (
        f"machines are rented: {'; '.join(machines)}. The service (pid {running.pid}) goes on until they are "
        f"ended, and leaves {IDLE_SECONDS:.0f} s after the last job; `runner status` shows it."
    )


@contextmanager
def _locked(settings: Settings, background: bool, *, leaves: bool) -> Iterator[None]:
    path = locks.beside(_database(settings), locks.SERVICE)
    # Somebody who only looks whether we live holds it for a moment.
    lock = FileLock(path, timeout=PROBE_SECONDS, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        running = _read(settings)
        raise _Occupied(
            f"A service for this database is already running (pid {running.pid if running else 'unknown'})."
        ) from None
    except OSError as error:
        raise DatabaseError(f"{path} cannot be written: {(error.strerror or 'it failed').lower()}.") from None
    try:
        salt = secrets.token_hex(16)
        facts = {
            "pid": os.getpid(),
            "started": time.time(),
            "background": background,
            "leaves": leaves,
            "salt": salt,
            "prints": _prints(settings, salt),
        }
        about = _about(settings)
        about.touch(mode=0o600)
        about.write_text(json.dumps(facts), "utf-8")
        yield
    finally:
        _about(settings).unlink(missing_ok=True)  # the pid may be another's tomorrow
        lock.release()


class _Occupied(ServiceUnavailable):
    """Another service is there: the command could not do what was asked."""

    exit_code = 1


def _leave_when_idle(engine: Engine, db: Database, seconds: float) -> None:
    """End the service once no job and no machine has needed it for *seconds*, and nobody wants it to stay."""
    idle_since: float | None = None
    stopping = engine.ctx.stopping
    while not stopping.wait(min(1.0, seconds / 4)):
        try:
            busy = reads.unfinished(db) > 0 or bool(doom.instances(db))
        except DatabaseError:
            busy = True
        if busy:
            idle_since = None
        elif idle_since is None:
            idle_since = time.monotonic()
        elif time.monotonic() - idle_since >= seconds:
            if db.path is not None and not locks.leave(db.path):
                idle_since = None
                continue
            log.info("no job has needed this service for %.0f s", seconds)
            engine.on_drain()
            return


def _answers(settings: Settings, pid: int) -> bool:
    db = open_database(settings.database_url)
    try:
        return any(worker.pid == pid for worker in leases.workers(db))  # not one that was killed lately
    finally:
        db.close()


def _database(settings: Settings) -> Path:
    path = Database(settings.database_url).path
    assert path is not None  # it takes files only
    return path


def _about(settings: Settings) -> Path:
    return locks.beside(_database(settings), ".service.json")


def _read(settings: Settings) -> Running:
    try:
        facts = json.loads(_about(settings).read_text("utf-8"))
        pid, started = int(facts["pid"]), float(facts["started"])
        prints = {str(name): str(text) for name, text in facts.get("prints", {}).items()}
        salt = str(facts.get("salt", ""))
        return Running(pid, started, bool(facts["background"]), bool(facts["leaves"]), salt, prints)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Running(0, time.time(), background=False, leaves=False)


def _prints(settings: Settings, salt: str) -> dict[str, str]:
    """So that others can tell, without reading a token anywhere, whether a service has what they have.

    What is not set is nobody's matter, but for a limit: without one there is none.
    """
    environ = {"RUNNER_MAX_BURN": "", **as_environ(settings)}
    return {name: fingerprint(value, salt) for name, value in environ.items() if name not in NOT_THE_SERVICES}


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text("utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].removeprefix("runner: ") if lines else "it said nothing"
