"""The door of a machine: that it is our machine which answers, and that nobody gets in without a key.

The machine attests its host keys with a one-time key that its startup command carried. That keeps out
whoever sits on the network. Who holds the account's token can read that one-time key, and the machine's
password, in the account's listing: so before something private goes there, logins by password are off.
"""

from __future__ import annotations

import logging
import math
import time

from jobs.store.attempts import Work
from workers.ssh.connect import KEYLESS, Address, Machine, offered_logins
from workers.ssh.errors import BadAnswer, fingerprint
from workers.ssh.machine import until
from workers.steps.context import Context
from workers.steps.control import Control
from workers.supervisor import attested, bootstrap_script

log = logging.getLogger(__name__)

FILES_SECONDS = 10.0
"""How long after the login our files may be missing before they are brought over SSH."""
ATTEST_SECONDS = 60.0
"""How long a machine may take to attest its host key, where it must or is to have a guard token."""
LOOK_SECONDS = 0.5
ASK_SECONDS = 15.0
"""How long a server may take to say which logins it offers."""
RELOAD_SECONDS = 15.0
"""How long a server may take to read its new configuration."""


class Distrusted(Exception):
    """The machine is not proved to be ours, or lets in whoever has its password."""


def address(ctx: Context, work: Work) -> Address:
    """Where the machine of an attempt answers."""
    return Address(work.host or "", work.port or ctx.settings.ssh_port, work.username or "ubuntu")


def must_attest(ctx: Context, work: Work) -> bool:
    """Whether a host key must be attested: as the setting says, else where something private goes.

    Not for a guard token alone, which a machine that attests nothing does not get: its job needs none.
    """
    if ctx.settings.host_keys is not None:
        return ctx.settings.host_keys == "verify"
    return work.private


def unchecked(ctx: Context, work: Work) -> bool:
    """Whether the host key has still to be checked: a worker with another setting may have been content."""
    return work.host_key is None or (must_attest(ctx, work) and work.host_key_check != "attested")


def check_host_key(ctx: Context, work: Work, machine: Machine, control: Control) -> str | None:
    """Compare the key that the connection showed with the one that the machine attests.

    Returns how it was checked; None where the attendant was interrupted. Raises Distrusted.
    """
    must = must_attest(ctx, work)
    # For a guard token a slow startup command is waited for, but the job is not given up.
    guarded = ctx.settings.guard_token is not None and ctx.settings.host_keys != "accept-new"
    patience = ATTEST_SECONDS if guarded else FILES_SECONDS
    began = time.monotonic()
    brought = False
    kind, shown = machine.host_key.split()[0], fingerprint(machine.host_key)
    while True:
        attestations = machine.attestations(work.attempt_id)
        if attestations and not brought:
            if attested(work.attestation_key, work.attempt_id, machine.host_key, attestations):
                return "attested"
            if kind in attestations:
                # What it attests is a keyed hash, which tells no fingerprint: only the shown one is known.
                raise Distrusted(
                    f"the machine shows the {kind} host key {shown}, and its startup command attested "
                    f"another {kind} key (by a keyed hash, which does not tell that key's fingerprint): "
                    "it is not the machine that was rented, or somebody is in between"
                )
        waited = time.monotonic() - began
        if must and waited > ATTEST_SECONDS:
            others = f", only keys of the kinds {', '.join(sorted(attestations))}" if attestations else ""
            raise Distrusted(
                f"the machine has not attested the {kind} host key {shown} that it shows{others}, "
                f"and {_why(ctx, work)}"
            )
        if brought and not must:
            return "accepted"
        if not brought and waited > patience and not must:
            log.info("attempt %s: the startup command left nothing; bringing its files", work.attempt_id)
            machine.bootstrap(bootstrap_script(work.attempt_id, ctx.key.public_line, work.attestation_key))
            brought = True
            continue
        if control.interrupt.wait(LOOK_SECONDS):
            return None


def _why(ctx: Context, work: Work) -> str:
    """Why it must attest one."""
    if ctx.settings.host_keys is not None:
        return "RUNNER_HOST_KEYS asks for it"
    return "the job has secrets or files"


def keys_only(ctx: Context, work: Work, machine: Machine, control: Control, *, end: float = math.inf) -> bool:
    """See to it that the machine lets in nobody by password; False where the attendant was interrupted.

    The server itself is asked, before and after. *end*: until when that may take, by the monotonic clock.
    Raises Distrusted where it stays on, and Unreachable.
    """
    if not (open_to := _passwords(ctx, work, machine, end)):
        return True
    log.info("attempt %s: switching off logins by %s", work.attempt_id, ", ".join(open_to))
    refusal = ""
    try:
        machine.switch_off_passwords(end)
    except BadAnswer as error:
        refusal = f" ({error})"
    last = min(end, time.monotonic() + (0 if refusal else RELOAD_SECONDS))
    pause = 0.1
    while open_to := _passwords(ctx, work, machine, end):
        if time.monotonic() >= last:
            raise Distrusted(
                f"the machine lets in whoever has its password (its server offers {', '.join(open_to)}), and "
                f"that could not be switched off{refusal}; nothing private was sent to it"
            )
        if control.interrupt.wait(pause):
            return False
        pause = min(2 * pause, 2.0)
    return True


def _passwords(ctx: Context, work: Work, machine: Machine, end: float) -> list[str]:
    """Those of the logins that the server offers for which no key is needed."""
    where = address(ctx, work)
    offered = offered_logins(where, pinned=machine.host_key, timeout=until(end, ASK_SECONDS))
    return [name for name in offered if name in KEYLESS]
