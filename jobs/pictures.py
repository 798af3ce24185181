"""The ``show`` object: what a job looks like to scripts, wherever it is printed or sent."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import Any

from jobs import money
from jobs.views import AttemptView, JobView, Share


def job_json(view: JobView) -> dict[str, Any]:
    """The object that ``show --json`` prints. Money is a decimal string, times are UTC, unknown is null."""
    return {
        "id": view.id,
        "name": view.name,
        "state": view.state.value,
        "reason": view.reason,
        "detail": view.detail,
        "command": command_text(view),
        "products": list(view.products),
        "cheapest": view.cheapest,
        "image": view.image,
        "exit_code": view.exit_code,
        "cost_usd": money.format_usd(view.cost),
        "max_cost_usd": money.format_usd(view.max_cost),
        "max_cost_source": view.max_cost_source,
        "max_runtime_seconds": view.max_runtime,
        "max_runtime_source": view.max_runtime_source,
        "max_price_usd_per_hour": usd(view.max_price),
        "coupon": view.coupon,
        "budget": view.budget,
        "reserved_usd": usd(view.reserved),
        "grace_seconds": view.grace,
        "idle_timeout_seconds": view.idle_timeout,
        "retries": view.retries,
        "retry_on": list(view.retry_on),
        "workdir": None if view.workdir is None else dict(view.workdir),
        "setup": view.setup,
        "output": list(view.outputs),
        "sync_every_seconds": view.sync_every,
        "secrets": list(view.secrets),
        "cancel_requested": view.cancel_requested,
        "submitted_at": time_text(view.submitted_at),
        "started_at": time_text(view.started_at),
        "finished_at": time_text(view.finished_at),
        "attempts": [_attempt_json(attempt) for attempt in view.attempts],
    }


def receipt_json(view: JobView) -> dict[str, Any]:
    """What a job has cost, and for what: exact, so that the parts add up to the whole.

    ``failures_usd``: attempts that failed, and strays; ``overrun_usd``: what is above the ceiling. ``prices``
    of an attempt: how many of its minutes were billed at each price, in order.
    """
    return {
        "id": view.id,
        "name": view.name,
        "state": view.state.value,
        "reason": view.reason,
        "attempts": [_receipt_of(attempt) for attempt in view.attempts],
        "strays": _share_json(view.strays),
        "failures_usd": money.format_usd(view.failures),
        "cost_usd": money.format_usd(view.cost),
        "cost_estimated": view.cost_estimated,
        "max_cost_usd": money.format_usd(view.max_cost),
        "max_cost_source": view.max_cost_source,
        "budget": view.budget,
        "coupon": view.coupon,
        "overrun_usd": money.format_usd(view.overrun),
    }


def _receipt_of(view: AttemptView) -> dict[str, Any]:
    return {
        "number": view.number,
        "product": view.product,
        "outcome": view.outcome,
        "exit_code": view.exit_code,
        "instance_uuid": view.instance_uuid,
        "full_price_usd_per_hour": usd(view.full_price),
        "price_usd_per_hour": usd(view.price),
        "prices": [
            {"minutes": minutes, "price_usd_per_hour": usd(price or None)} for minutes, price in view.prices
        ],
        "phases": {name: _share_json(share) for name, share in view.phases.items()},
        "minutes": view.minutes,
        "cost_usd": money.format_usd(view.cost),
        "cost_estimated": view.cost_estimated,
    }


def _share_json(share: Share) -> dict[str, Any]:
    return {"minutes": share.minutes, "cost_usd": money.format_usd(share.cost)}


def _attempt_json(view: AttemptView) -> dict[str, Any]:
    return {
        "number": view.number,
        "product": view.product,
        "price_usd_per_hour": usd(view.price),
        "full_price_usd_per_hour": usd(view.full_price),
        "instance_uuid": view.instance_uuid,
        "instance_name": view.instance_name,
        "deployed_at": time_text(view.deployed_at),
        "ready_at": time_text(view.ready_at),
        "started_at": time_text(view.started_at),
        "ended_at": time_text(view.ended_at),
        "terminated_at": time_text(view.terminated_at),
        "exit_code": view.exit_code,
        "outcome": view.outcome,
        "detail": view.detail,
        "minutes": view.minutes,
        "cost_usd": money.format_usd(view.cost),
        "cost_estimated": view.cost_estimated,
        "deadline_at": time_text(view.deadline_at),
        "expires_at": time_text(view.expires_at),
        "log_bytes": view.log_bytes,
        "log": view.log_end,
        "host_key": view.host_key_check,
        "ends_itself": _guard_json(view),
        "unreachable_since": time_text(view.unreachable_since),
        "leak_suspected": view.leak_suspected,
        "outputs": _outputs_json(view),
    }


def _guard_json(view: AttemptView) -> dict[str, Any] | None:
    """Null where no machine was to end itself."""
    if view.guard is None:
        return None
    return {"at": time_text(view.ends_itself_at), "why_not": view.guard.get("why_not")}


def _outputs_json(view: AttemptView) -> dict[str, Any] | None:
    state = view.outputs_state
    if state is None:
        return None
    kept = {name: state.get(name, 0) for name in ("files", "bytes")}
    return {**kept, "complete": bool(state.get("complete")), "note": state.get("note"), "at": state.get("at")}


def command_text(view: JobView) -> str:
    """The command as a person would type it."""
    return view.command if isinstance(view.command, str) else shlex.join(view.command)


def usd(micros: int | None) -> str | None:
    """A price or an amount as a decimal string; None where it is not known."""
    return None if micros is None else money.format_usd(micros)


def time_text(value: datetime | None) -> str | None:
    """UTC with milliseconds and a Z."""
    if value is None:
        return None
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
