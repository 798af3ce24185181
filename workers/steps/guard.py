"""A machine that ends itself: it gets the guard token, and a process that terminates it before its expiry.

The token can do everything on the account, so it goes the way that secrets go: only to a machine that has
attested its host key, after logins by password are off. Where that cannot be, a job that has nothing private
itself runs all the same; the machine is ended by whoever serves, as ever.
"""

from __future__ import annotations

import logging
import math
import time
from datetime import datetime

from jobs.states import State
from jobs.store import guards
from jobs.store.attempts import Work
from jobs.store.transitions import AttemptLease
from jobs.values import Secret
from workers.ssh.connect import Machine
from workers.ssh.errors import HostKeyMismatch, SshError, Unreachable
from workers.steps import door
from workers.steps.context import Context
from workers.steps.control import Control
from workers.steps.door import Distrusted
from workers.supervisor import guard_payload

log = logging.getLogger(__name__)

ACCEPT_NEW = "no machine gets the token where RUNNER_HOST_KEYS is accept-new"
UNVERIFIED = "its host key is not verified"
HANGS = "the connection was lost each time that it was told to"
TRIES = 3
"""A machine that hangs at this must still be attended to, by the same attendant, without a guard."""
LATER_TRIES, LATER_SECONDS = 1, 15.0
"""Once its command runs: until it is armed nobody follows its log, or tells it of a cancel."""


def arm(ctx: Context, work: Work, lease: AttemptLease, machine: Machine, control: Control) -> bool:
    """Give the machine what it ends itself with; False where it was interrupted.

    To be called after each login, because the row's expiry may have become earlier, and another holder may
    have another token. Raises Unreachable where the connection was lost, HostKeyMismatch and Stale.
    """
    token = ctx.settings.guard_token
    if token is None or work.uuid is None:
        return True
    booting = work.state is State.BOOTING
    armed_for = None if booting else control.armed_for  # what has restarted since may be booting all the same
    if armed_for is not None and armed_for == guards.due(ctx.db, work)[0]:
        return True
    told = work.told
    tries = TRIES if booting else LATER_TRIES
    end = math.inf if booting else time.monotonic() + LATER_SECONDS
    why_not = _untrusted(ctx, work) or (HANGS if control.broke_at_arming >= tries else None)
    if why_not is None:
        control.broke_at_arming += 1
        try:
            if not door.keys_only(ctx, work, machine, control, end=end):
                control.broke_at_arming = 0
                return False
            machine.may_be_armed(end)
            told = True
            control.armed_for = _tell(ctx, work, lease, machine, token, work.uuid, end)
            control.broke_at_arming = 0
            return True
        except HostKeyMismatch:
            raise
        except (Distrusted, SshError) as error:
            if not machine.alive:
                raise Unreachable(str(error)) from error
            why_not = str(error)
        control.broke_at_arming = 0
    _unarmed(ctx, work, lease, why_not, told=told)
    return True


def rearm(ctx: Context, work: Work, lease: AttemptLease, machine: Machine, control: Control) -> bool:
    """Tell the machine of an earlier expiry, if there may be one; as :func:`arm`."""
    if not control.expires_earlier:
        return True
    control.expires_earlier = False  # before it is asked for: what is heard meanwhile may be earlier still
    if arm(ctx, work, lease, machine, control):
        return True
    control.expires_earlier = True
    return False


def _untrusted(ctx: Context, work: Work) -> str | None:
    """Why the machine is not to have the token; None where its host key was proved."""
    if ctx.settings.host_keys == "accept-new":
        return ACCEPT_NEW
    return None if work.host_key_check == "attested" else UNVERIFIED


def _tell(
    ctx: Context,
    work: Work,
    lease: AttemptLease,
    machine: Machine,
    token: Secret,
    uuid: str,
    end: float,
) -> datetime:
    guards.telling(ctx.db, work, lease)
    at, seconds = guards.due(ctx.db, work)
    url, revealed = ctx.settings.api_url, token.reveal()
    machine.arm(guard_payload(work.attempt_id, url=url, token=revealed, uuid=uuid, seconds=seconds), end)
    guards.armed(ctx.db, work, lease, at)
    log.info("attempt %s: its machine ends itself in %.0f s", work.attempt_id, seconds)
    return at


def _unarmed(ctx: Context, work: Work, lease: AttemptLease, why_not: str, *, told: bool) -> None:
    """Say so once. A guard that an earlier holder has started goes on, and is not disputed."""
    before = work.guard or {}
    if before.get("at") is not None or before.get("why_not") == why_not:
        return
    guards.unarmed(ctx.db, work, lease, why_not, told=told)
    log.warning("attempt %s: its machine does not end itself at its expiry: %s", work.attempt_id, why_not)
