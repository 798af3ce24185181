"""From a machine that answers to a command that runs: trust its key, bring our files, say ``go``."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from jobs.secrets import Unreadable, cipher
from jobs.states import Event, State
from jobs.store import attempts, catalog
from jobs.store.attempts import CannotStart, Work
from jobs.store.transitions import AttemptLease
from jobs.values import Secret
from workers.ssh.connect import Machine
from workers.steps import door, guard
from workers.steps.bring import bring_files
from workers.steps.context import Context
from workers.steps.control import Control
from workers.supervisor import IDLE_PROTOCOL, SETUP_PROTOCOL, bootstrap_script, go_payload

log = logging.getLogger(__name__)

BLIND = (
    "the machine has no nvidia-smi to tell how busy its GPUs are, so the idle-timeout could not be kept: "
    "use an image with drivers, or leave it out"
)


def boot(ctx: Context, work: Work, lease: AttemptLease, machine: Machine, control: Control) -> bool:
    """Start the command on a machine that was reached; False where the attendant was interrupted.

    Raises Unreachable, Distrusted and Stale.
    """
    if door.unchecked(ctx, work):
        check = door.check_host_key(ctx, work, machine, control)
        if check is None:
            return False
        attempts.pin(ctx.db, work, lease, machine.host_key, check)
        work = replace(work, host_key=machine.host_key, host_key_check=check)
    state = machine.state(work.attempt_id)
    if state.kind == "none":
        try:
            secrets = _secrets(ctx, work)
        except Unreadable as error:
            _end(ctx, work, lease, Event.BOOT_FAILED, "secret_key", str(error))  # it was there at admission
            return False
        if work.private and not door.keys_only(ctx, work, machine, control):
            return False
        if (work.workdir or work.resumes) and not bring_files(ctx, work, lease, machine, control):
            return False
        if work.protocol < _protocol(work):
            machine.bootstrap(bootstrap_script(work.attempt_id, ctx.key.public_line, work.attestation_key))
        if work.idle_timeout is not None and not machine.has_nvidia_smi(work.attempt_id):
            _end(ctx, work, lease, Event.BOOT_FAILED, "deploy_failed", BLIND)
            return False
        # Last, so that the bringing of files counts, and before the order: once a command can run, the
        # machine can end itself.
        if not guard.arm(ctx, work, lease, machine, control):
            return False
        try:
            now, deadline_at, cause = attempts.order_go(ctx.db, work, lease)
        except CannotStart as error:
            _end(ctx, work, lease, error.event, error.cause, error.detail)
            return False
        machine.discreet = machine.discreet or work.secrets is not None
        answer = machine.go(work.attempt_id, _payload(ctx, work, secrets, now, deadline_at, cause))
        log.info("attempt %s: go: %s", work.attempt_id, "accepted" if answer.accepted else answer.state.kind)
    elif work.go_ordered_at is None:
        # A command that runs before `go` was ordered is not ours to count on.
        detail = f"the machine says that its command is {state.kind}, though nothing was started"
        _end(ctx, work, lease, Event.BOOT_FAILED, "deploy_failed", detail)
        return False
    else:
        control.expires_earlier = True  # for all that is known of what another one has told it
    attempts.started(ctx.db, work, lease)
    return True


def _protocol(work: Work) -> int:
    """What the machine must understand."""
    if work.idle_timeout is not None:
        return IDLE_PROTOCOL
    return 1 if work.setup is None else SETUP_PROTOCOL


def _end(ctx: Context, work: Work, lease: AttemptLease, event: Event, cause: str, detail: str) -> None:
    attempts.finish(ctx.db, work, lease, event, state=State.BOOTING, cause=cause, detail=detail)


def _secrets(ctx: Context, work: Work) -> dict[str, Secret]:
    """What the command gets and nobody else. Raises Unreadable."""
    return {} if work.secrets is None else cipher(ctx.settings).open(work.job_id, work.secrets)


def _payload(
    ctx: Context,
    work: Work,
    secrets: Mapping[str, Secret],
    now: datetime,
    deadline_at: datetime,
    cause: str,
) -> bytes:
    left = (deadline_at - now).total_seconds()
    seconds = max(1, math.ceil(left) if cause == "max_runtime" else int(left))
    kept = catalog.offers(ctx.db)
    offer = kept[0].get(work.product) if kept is not None else None
    env = {
        **work.env,
        **{name: value.reveal() for name, value in secrets.items()},
        "RUNNER_JOB_ID": work.job_id,
        "RUNNER_JOB_NAME": work.job_name or "",
        "RUNNER_ATTEMPT": str(work.number),
        "RUNNER_GPU_COUNT": str(offer.gpus if offer is not None else 1),
        "RUNNER_DEADLINE": str(int(deadline_at.timestamp())),
    }
    if work.resumes is not None:
        env["RUNNER_RESUME"] = "1"
    return go_payload(
        command=work.command,
        setup=work.setup,
        env=env,
        deadline_seconds=seconds,
        deadline_cause="max_cost" if cause == "max_cost" else "max_runtime",
        grace_seconds=work.grace,
        max_log_bytes=ctx.settings.max_log_bytes,
        idle_seconds=work.idle_timeout,
    )
