"""Keeps this computer awake while machines are rented: one that sleeps ends nobody's bill.

By `wakepy`, on a thread of its own, because a desktop that hangs must hold up nothing. Where it cannot be
done, on a server or in a container, that is said once, and tried again from time to time: a service may
begin before the desktop does. A closed lid is beyond it.
"""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

from jobs.errors import DatabaseError
from jobs.store import doom
from jobs.store.database import Database

if TYPE_CHECKING:
    from wakepy import Mode

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
AGAIN_SECONDS = 60.0
LEAVE_SECONDS = 2.0
"""How long a service that ends waits for a desktop that is to be told. With the process it is over anyway."""


class Wakefulness:
    """Keeps the computer awake within its block, whenever machines live."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_again_and_again, name="wake", daemon=True)

    def __enter__(self) -> Wakefulness:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(LEAVE_SECONDS)

    def _look_again_and_again(self) -> None:
        """Until it is over."""
        said = False
        while self._wait_for(machines=True):
            held = ExitStack()
            if why := _enter(held):
                log.log(
                    logging.DEBUG if said else logging.INFO,
                    "this computer may fall asleep while machines are rented, for nothing keeps it awake: %s",
                    why,
                )
                said = True
                self._over.wait(AGAIN_SECONDS)
                continue
            log.info("this computer is kept awake while machines are rented")
            self._wait_for(machines=False)
            _leave(held)

    def _wait_for(self, *, machines: bool) -> bool:
        """Wait until there are *machines*, or none; False where the service ends before that."""
        while not self._over.is_set():
            try:
                with self._db.read() as session:
                    if doom.any_rented(session) == machines:
                        return True
            except DatabaseError:
                log.debug("whether machines live cannot be seen; looking again")
            self._over.wait(LOOK_SECONDS)
        return False


def _enter(held: ExitStack) -> str:
    """Keep the computer awake as long as *held*; why that cannot be done, or empty."""
    try:
        from wakepy import keep  # not before it is needed: nobody waits for it at a start

        mode = held.enter_context(keep.running(on_fail="pass"))
        if mode.active:
            return ""
        why = _tried(mode)
        held.close()
        return why
    except Exception as error:  # noqa: BLE001 - whatever a desktop makes a library stumble over
        return f"{type(error).__name__}: {error}"


def _leave(held: ExitStack) -> None:
    try:
        held.close()
    except Exception as error:  # noqa: BLE001 - as above: the desktop may be gone
        log.info("whether this computer may fall asleep again is not known: %s", error)
    else:
        log.info("this computer may fall asleep again")


def _tried(mode: Mode) -> str:
    """The ways that this platform has, none of which is there."""
    names = [
        method.method_name for method in mode.result.list_methods() if method.failure_stage == "ACTIVATION"
    ]
    return f"there is no {' and no '.join(names)}" if names else "it knows no way to on this platform"
