"""Kill this process at one point of a job's way, or note which points there are.

A point is a commit that writes, or a call to the outside (the cloud, a machine, the artifact store, who is
notified), just before it or just after, by the function of ours that makes it. They are found as they are
passed, so that a new step has points of its own without anybody's doing.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

VARIABLE = "PYTEST_RUNNER_CRASH"
ROOT = Path(__file__).parents[1]
OURS = tuple(f"{ROOT / floor}{os.sep}" for floor in ("jobs", "workers", "runner"))
PASSED_ON = ("store/database.py", "cloud/wire.py", "cloud/deadline.py", "ssh/channel.py", "files/store.py")
"""Files that do it for others: whoever called them gives the point its name, by a function that is public."""
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
_lock = threading.Lock()
_seen: set[str] = set()


def install(order: str) -> None:
    """Do what *order* says: ``note:FILE``, or ``kill:POINT``, at the first time that it is passed."""
    import httpx
    from sqlalchemy import event
    from sqlalchemy.orm import Session

    from jobs.files.store import Artifacts
    from workers.ssh import channel

    verb, _, what = order.partition(":")

    def passed(point: str) -> None:
        with _lock:
            if point in _seen:
                return
            _seen.add(point)
            if verb == "kill" and point == what:
                os.kill(os.getpid(), signal.SIGKILL)
            if verb == "note":
                with Path(what).open("a") as file:
                    file.write(f"{point}\n")

    def around(owner: Any, name: str, kind: str) -> None:
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            where = _where()
            if kind == "a request" and where.startswith("workers/cloud"):
                request = args[1] if len(args) > 1 else kwargs["request"]
                where = f"{request.method} {_ID.sub('ID', request.url.path)}"
            passed(f"before {kind} in {where}")
            try:
                return function(*args, **kwargs)
            finally:
                passed(f"after {kind} in {where}")

        setattr(owner, name, wrapper)

    def committing(phase: str, _session: Session) -> None:
        if (where := _writing()) is not None:
            passed(f"{phase} the commit in {where}")

    event.listen(Session, "before_commit", functools.partial(committing, "before"))
    event.listen(Session, "after_commit", functools.partial(committing, "after"))
    around(httpx.Client, "send", "a request")
    around(channel.Channel, "__init__", "the start of a command")
    around(channel, "run", "a command")
    for name in ("put", "get", "remove"):
        around(Artifacts, name, f"the {name} of an artifact")


def _where() -> str:
    """The function of ours that wants this, innermost first."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        ours = file.startswith(OURS) and not file.endswith(PASSED_ON)
        if ours and not frame.f_code.co_name.startswith(("_", "<")):
            return f"{Path(file).relative_to(ROOT)}:{frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "nobody of ours"


def _writing() -> str | None:
    """Who commits, if that is a transaction that writes."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "write" and frame.f_code.co_filename.endswith("store/database.py"):
            return _where()
        frame = frame.f_back  # type: ignore[assignment]
    return None
