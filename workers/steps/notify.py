"""RUNNER_NOTIFY_URL hears of what has happened: one POST for each, again and again until it is taken.

Whatever is not answered with 2xx is sent again, a refusal too: the receiver may be mended meanwhile. Only 410
says that nobody will want it. The address may hold a secret, so only its host is ever named.
"""

from __future__ import annotations

import json
import logging
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from jobs import pictures
from jobs.store import outbox, reads
from jobs.store.database import Database
from jobs.store.outbox import Taken
from jobs.values import Secret, is_loopback
from jobs.version import code_version
from workers.cloud.deadline import Deadline, silence
from workers.steps.context import Context

log = logging.getLogger(__name__)

SECONDS = 10.0
"""For the whole exchange, however slowly the receiver drips."""
NOBODY: dict[str, Any] = {"id": None, "name": None, "state": None, "attempts": []}
"""In place of the job, where a machine belongs to none."""


@dataclass(frozen=True)
class Refusal:
    """Why a POST was not taken; *for_good*: it never will be."""

    error: str
    for_good: bool = False


def notify(ctx: Context) -> None:
    """Send what is due, one after the other. The first failure ends the round: the receiver needs a pause."""
    url = ctx.settings.notify_url
    if url is None:
        return  # what nobody is to hear of is settled by the leader
    host = urlsplit(url.reveal()).hostname or ""
    while (taken := outbox.take(ctx.db)) is not None:
        refusal = _post(url, host, taken.id, _object(ctx.db, taken))
        if refusal is not None:
            given_up = outbox.failed(ctx.db, taken, refusal.error, for_good=refusal.for_good)
            then = "is given up" if given_up else "will be sent again"
            log.warning("notification %s to %s %s: %s", taken.id, host, then, refusal.error)
            return
        outbox.sent(ctx.db, taken)
        log.info("notification %s (%s) was sent to %s", taken.id, taken.event, host)
        if ctx.stopping.is_set():
            return


def _object(db: Database, taken: Taken) -> dict[str, Any]:
    """What is sent: the job as it stands now, and what it is sent for."""
    shown = NOBODY if taken.job_id is None else pictures.job_json(reads.show(db, taken.job_id))
    about = {"id": taken.id, "event": taken.event, "instance": taken.instance}
    return {**shown, "notification": about}


class _Line:
    """The connection that the deadline cuts."""

    socket: socket.socket | None = None


def _post(url: Secret, host: str, key: str, value: dict[str, Any]) -> Refusal | None:
    """One POST over a connection of its own, once, no redirect followed. None: it was taken."""
    line = _Line()
    content = json.dumps(value, allow_nan=False).encode()  # ASCII: a command may hold what is no Unicode
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": key,
        "User-Agent": f"gpu-job-runner/{code_version()}",
    }
    watch = Deadline(line, SECONDS)
    try:
        with (
            silence(),
            httpx.Client(
                follow_redirects=False,
                trust_env=not is_loopback(host),  # a proxy is for the way out, never for this computer
            ) as http,
            http.stream(
                "POST", url.reveal(), content=content, headers=headers, extensions=watch.extensions
            ) as response,
        ):
            return _judged(response.status_code)
    except Exception as error:  # noqa: BLE001 - whatever the library stumbled over; its words may quote the address
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Refusal("there was no connection")
        if watch.cut or isinstance(error, httpx.TimeoutException):
            return Refusal(f"there was no answer within {SECONDS:g} s")
        return Refusal(f"it could not be sent ({type(error).__name__})")
    finally:
        watch.over()


def _judged(status: int) -> Refusal | None:
    if 200 <= status < 300:
        return None
    return Refusal(f"it was answered with HTTP {status}", for_good=status == httpx.codes.GONE)
