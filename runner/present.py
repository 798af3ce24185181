"""How a job looks to people: the live line, the receipt, ``show``. For scripts there is ``jobs.pictures``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jobs import money
from jobs.money import Micros
from jobs.pictures import command_text, job_json, time_text, usd
from jobs.spec import Spec
from jobs.states import UNREACHABLE_MINUTES, State
from jobs.values import period, size_text
from jobs.views import AttemptView, JobView

__all__ = [
    "command_text",
    "count",
    "dollars",
    "facts",
    "job_json",
    "live_line",
    "outputs_text",
    "products_text",
    "receipt_line",
    "span",
    "state_text",
    "time_text",
    "transfer_text",
    "unanswered",
    "usd",
]


HOST_KEY_CHECKS = {
    "attested": "verified: it is the one that the machine itself has attested; no other one is taken",
    "accepted": "not verified: the first one that was shown; no other one is taken",
}
"""How the machine's host key was checked, in words."""


def state_text(view: JobView) -> str:
    """The state, and whether somebody has asked for the job's end."""
    return f"{view.state}, cancel requested" if view.cancel_requested and not view.final else str(view.state)


def count(number: int, what: str) -> str:
    """``1 machine``, ``2 machines``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def dollars(micros: Micros) -> str:
    """An exact amount: ``$0.86``, ``-$0.0123``."""
    return ("-" if micros < 0 else "") + f"${money.format_usd(abs(micros))}"


def span(seconds: float) -> str:
    """A length of time, short: 7s, 1m12s, 3h05m, 2d04h."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def live_line(view: JobView, now: datetime) -> str:
    """What happens now, since when, what it has cost: ``booting 1m12s · gpu_1x_l40 · $0.0287 so far · …``."""
    last = view.attempts[-1] if view.attempts else None
    product = last.product if last is not None else products_text(view)
    parts = [f"{state_text(view)} {span((now - view.since).total_seconds())}", product]
    if view.state is State.QUEUED and (view.detail or view.reason):
        parts.append(view.detail or view.reason or "")
    if unanswered(view):
        parts.append("the deploy had no answer; looking for its machine on the account")
    if last is not None and last.transfer is not None:
        parts.append(transfer_text(last.transfer))
    if view.attempts:
        parts.append(f"${money.format_cost(view.cost)} so far")
    parts.append(f"ceiling ${money.format_usd(view.max_cost)}")
    if last is not None and last.leak_suspected:
        parts.append("leak suspected: its machine does not end")
    return " · ".join(parts)


def products_text(job: JobView | Spec) -> str:
    """What a job takes: ``gpu_1x_l40``, ``gpu_1x_l40, else gpu_1x_a6000``, ``the cheapest``."""
    if not job.products:
        return "the cheapest"
    return f"the cheapest of {', '.join(job.products)}" if job.cheapest else ", else ".join(job.products)


def transfer_text(transfer: Mapping[str, Any]) -> str:
    """What comes or goes: ``bringing files 3.4 MiB of 1.0 GiB``."""
    done, of = int(transfer.get("bytes", 0)), int(transfer.get("of", 0))
    return f"{transfer.get('what')} {size_text(done)} of {size_text(of)}" if of else str(transfer.get("what"))


def ends_itself(guard: Mapping[str, Any], at: datetime | None) -> str:
    """Whether a machine ends itself before its expiry, and when: ``yes, at 12:03:10 UTC``."""
    return f"no: {guard.get('why_not')}" if at is None else f"yes, at {at:%Y-%m-%d %H:%M:%S} UTC"


def outputs_text(state: Mapping[str, Any] | None) -> str:
    """What has come back of an attempt's outputs."""
    if state is None:
        return "nothing yet"
    found = f"{count(int(state.get('files', 0)), 'file')}, {size_text(int(state.get('bytes', 0)))}"
    if state.get("over"):
        return f"{found}, " + ("complete" if state.get("complete") else f"not complete: {state.get('note')}")
    return f"{found}, synced" + (f"; {state['note']}" if state.get("note") else "")


def unanswered(view: JobView) -> bool:
    """Whether nobody knows yet what came of the job's deploy."""
    return bool(view.attempts) and not view.final and view.attempts[-1].instance_state == "unknown"


def receipt_line(view: JobView) -> str:
    """The one line with which ``run`` ends."""
    name = view.name or view.id
    minutes = view.strays.minutes + sum(attempt.minutes for attempt in view.attempts)
    products = ", ".join(dict.fromkeys(attempt.product for attempt in view.attempts)) or (
        "a machine that came too late" if view.strays.minutes else "nothing rented"
    )
    estimated = " (estimated)" if view.cost_estimated else ""
    return (
        f"{name} {view.state}: {view.detail or view.reason or 'not over yet'} · {products} · {minutes} min · "
        f"${money.format_cost(view.cost)}{estimated} of ${money.format_usd(view.max_cost)}"
    )


def facts(view: JobView, now: datetime) -> list[tuple[str, str]]:
    """What `show` begins with: labels and values."""
    last = view.attempts[-1] if view.attempts else None
    rows = [
        ("job", view.id),
        ("name", view.name or "-"),
        (
            "state",
            f"{state_text(view)} for {span((now - view.since).total_seconds())}"
            if not view.final
            else view.state,
        ),
        ("reason", " · ".join(part for part in (view.reason, view.detail) if part) or "-"),
        ("command", command_text(view)),
        ("product", products_text(view)),
        ("image", view.image),
        ("exit code", "-" if view.exit_code is None else str(view.exit_code)),
        ("ceiling", f"${money.format_usd(view.max_cost)} ({view.max_cost_source})"),
        ("max runtime", f"{span(view.max_runtime)} ({view.max_runtime_source})"),
        *([("max price", f"${usd(view.max_price)} an hour")] if view.max_price is not None else []),
        *([("coupon", view.coupon)] if view.coupon is not None else []),
        *([("budget", _budget(view))] if view.budget is not None else []),
        *([("grace", span(view.grace))] if view.grace != money.GRACE_SECONDS else []),
        *([("idle timeout", span(view.idle_timeout))] if view.idle_timeout is not None else []),
        ("retries", f"{view.retries} ({', '.join(view.retry_on)})" if view.retries else "0"),
        *_files(view),
        *([("secrets", ", ".join(view.secrets))] if view.secrets else []),
        ("submitted", time_text(view.submitted_at) or "-"),
        ("started", time_text(view.started_at) or "-"),
        ("finished", time_text(view.finished_at) or "-"),
    ]
    if last is not None:
        rows += [
            ("machine", f"{last.instance_name} ({last.instance_state})"),
            ("uuid", last.instance_uuid or "-"),
            ("expires", time_text(last.expires_at) or "-"),
            ("deadline", time_text(last.deadline_at) or "-"),
            ("host key", HOST_KEY_CHECKS.get(last.host_key_check or "", "-")),
            *(
                [("ends itself", ends_itself(last.guard, last.ends_itself_at))]
                if last.guard is not None
                else []
            ),
            *_reached(view, last),
            ("log", f"{last.log_bytes} bytes" + (f", {last.log_end}" if last.log_end else "")),
        ]
        if view.outputs:
            rows.append(("outputs", outputs_text(last.outputs_state)))
        if last.transfer is not None:
            rows.append(("transfer", transfer_text(last.transfer)))
        if last.leak_suspected:
            rows.append(
                ("leak", "suspected: the machine should be gone and is not; it is terminated again and again")
            )
    return rows


def _budget(view: JobView) -> str:
    if view.reserved is None:
        return view.budget or ""
    return f"{view.budget}, of which ${money.format_usd(view.reserved)} are reserved for it"


def _reached(view: JobView, last: AttemptView) -> list[tuple[str, str]]:
    """Since when nobody reaches the machine of a command that should run."""
    if last.unreachable_since is None or view.state is not State.RUNNING:
        return []
    since = time_text(last.unreachable_since)
    return [("reached", f"not since {since}; after {UNREACHABLE_MINUTES} minutes the job is lost")]


def _files(view: JobView) -> list[tuple[str, str]]:
    rows = []
    if view.workdir is not None:
        files, size = view.workdir["files"], view.workdir["bytes"]
        rows.append(("workdir", f"{count(files, 'file')}, {size_text(size)}"))
    if view.setup is not None:
        rows.append(("setup", view.setup))
    if view.outputs:
        every = f", synced every {period(view.sync_every)}" if view.sync_every is not None else ""
        rows.append(("output", " ".join(view.outputs) + every))
    return rows
