"""What the embedded service and a production worker have in common: from signing on to handing all back."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from jobs.errors import ApiError, DatabaseError, InvalidToken, RunnerError, ServiceUnavailable
from jobs.settings import Settings
from jobs.store import doom, leases
from jobs.store.database import Database
from jobs.store.leases import Process
from jobs.version import code_version

if TYPE_CHECKING:
    from workers.app import Engine
    from workers.cloud.client import Cloud
    from workers.ssh.keys import KeyPair

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0
"""How long a worker may take to hand everything back."""
LEAVE_SECONDS = 7.5
"""How long of that it waits for what hangs."""
TOKEN_SECONDS = 5.0


@dataclass(frozen=True)
class Worker:
    """A process that has signed on. ``seats``: how many jobs it attends to at once."""

    settings: Settings
    db: Database
    cloud: Cloud
    key: KeyPair
    owner: str
    seats: int
    stopping: threading.Event

    def work(
        self,
        *,
        broker_url: str | None = None,
        beside: Callable[[Engine], None] | None = None,
        say_what_lives: bool = False,
    ) -> str | None:
        """Make jobs happen until a signal or *beside* ends it, and hand everything back.

        Must run on the main thread. *beside* runs on a thread of its own while we work. *say_what_lives*:
        Ctrl-C names the machines that stay rented. Returns why it may not go on, where that is why it ended.
        """
        from workers.app import Engine  # Celery: only who works needs it
        from workers.steps.context import Context

        def context(engine: Engine) -> Context:
            return Context(self.settings, self.db, self.cloud, self.key, self.owner, engine, self.stopping)

        engine = Engine(context, seats=self.seats, broker_url=broker_url)

        def stop_engine() -> None:
            engine.stop()
            threading.Thread(target=_leave_in_time, args=(self.db, self.owner, engine), daemon=True).start()

        engine.on_drain = stop_engine

        with _signals(stop_engine, self.db if say_what_lives else None):
            if beside is not None:
                threading.Thread(target=beside, args=(engine,), daemon=True).start()
            try:
                engine.run()
            finally:
                _leave(self.db, self.owner)
        return engine.drained


def me() -> Process:
    """What the others see of this process."""
    return Process(socket.gethostname(), os.getpid(), code_version())


def check_token(cloud: Cloud) -> None:
    """A token that is refused is refused for every job; an API that does not answer may answer later.

    Raises InvalidToken.
    """
    try:
        cloud.validate_token(deadline_s=TOKEN_SECONDS)
    except InvalidToken:
        raise
    except ApiError as error:
        log.warning("the token could not be checked: %s", error)


def live_machines(db: Database) -> list[str]:
    """A line for each machine that is rented now, or may be: a deploy may be under way."""
    return [
        f"{row.name} ({row.product}, {row.state}), expires {row.expires_at:%Y-%m-%d %H:%M} UTC"
        for row in doom.instances(db)
    ]


def _leave(db: Database, owner: str) -> None:
    """Sign off; without a database that can be reached, what is held runs out by itself."""
    try:
        leases.leave(db, owner)
        log.info("everything has been handed back")
    except DatabaseError as error:
        log.warning("what is held runs out by itself: %s", error)


def _leave_in_time(db: Database, owner: str, engine: Engine) -> None:
    """End the process although a call hangs: whatever it does, who goes on finds out what came of it."""
    time.sleep(LEAVE_SECONDS)
    log.warning("a call still waits for its answer; leaving without it")
    giver = threading.Thread(target=_leave, args=(db, owner), daemon=True)
    giver.start()
    giver.join(STOP_SECONDS - LEAVE_SECONDS - 1)
    os._exit(os.EX_OK if engine.drained is None else ServiceUnavailable.exit_code)


@contextmanager
def _signals(stop_engine: Callable[[], None], db: Database | None) -> Iterator[None]:
    """The first signal hands everything back; a second one exits at once."""
    seen = 0

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            os._exit(128 + number)
        if number == signal.SIGINT and db is not None:
            threading.Thread(target=_say_what_lives, args=(db,), daemon=True).start()
        stop_engine()

    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # a closed terminal, unless under nohup
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say_what_lives(db: Database) -> None:
    try:
        machines = live_machines(db)
    except RunnerError:
        return
    if machines:
        lines = "\n  ".join(machines)
        print(
            f"\nStopping, but these machines stay rented:\n  {lines}\n"
            "Their commands go on, and stop at their deadlines by themselves; machines are ended only by a\n"
            "service: `runner up` takes them over, `runner reap` ends those that are past their expiry.",
            file=sys.stderr,
            flush=True,
        )
