"""Run a command on a rented GPU under a ceiling in dollars.

>>> import runner
>>> job = runner.submit("nvidia-smi", gpu="gpu_1x_l40", max_cost=1)     # doctest: +SKIP
>>> with runner.service():                                              # doctest: +SKIP
...     print(job.result().cost_usd)
"""

from __future__ import annotations

import atexit as _atexit
import threading as _threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

from runner import _guard as _guard  # first: it explains a folder in which the imports below would fail

_guard.check()

from jobs.errors import (  # noqa: E402
    ApiError,
    ArtifactError,
    InvalidJob,
    InvalidToken,
    JobCancelled,
    JobExpired,
    JobFailed,
    JobNotFound,
    NoCapacity,
    PaymentRequired,
    RateLimited,
    RunnerError,
    ServiceUnavailable,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Unpack

    from jobs.spec import JobSpec
    from runner.client import Attempt, Client, Job, Options, Result

__all__ = [
    "ApiError",
    "ArtifactError",
    "Attempt",
    "Client",
    "InvalidJob",
    "InvalidToken",
    "Job",
    "JobCancelled",
    "JobExpired",
    "JobFailed",
    "JobNotFound",
    "JobSpec",
    "NoCapacity",
    "PaymentRequired",
    "RateLimited",
    "Result",
    "RunnerError",
    "ServiceUnavailable",
    "get",
    "jobs",
    "service",
    "submit",
    "submit_many",
]

_default: Client | None = None
_lock = _threading.Lock()


def submit(command: str | Sequence[str], **options: Unpack[Options]) -> Job:
    """Queue one job on the default client; see :meth:`runner.Client.submit`."""
    return _client().submit(command, **options)


def submit_many(specs: Iterable[JobSpec]) -> list[Job]:
    """Queue many jobs in one transaction; see :meth:`runner.Client.submit_many`."""
    return _client().submit_many(specs)


def get(id: str) -> Job:  # noqa: A002 - the public name
    """A job by its id, its name or the beginning of its id; see :meth:`runner.Client.get`."""
    return _client().get(id)


def jobs(state: str | Iterable[str] | None = None, limit: int | None = None) -> list[Job]:
    """Jobs, the newest first; see :meth:`runner.Client.jobs`."""
    return _client().jobs(state, limit)


def service() -> AbstractContextManager[None]:
    """Have a service while a block runs; see :meth:`runner.Client.service`."""
    return _client().service()


def _client() -> Client:
    """The default client, made when it is first needed, so that the import itself touches nothing."""
    global _default
    from runner.client import Client

    with _lock:
        if _default is None:
            _default = Client()
            _atexit.register(_default.close)
        return _default


def __getattr__(name: str) -> object:
    """Load what is heavy only when it is asked for."""
    if name in ("Attempt", "Client", "Job", "Result"):
        from runner import client

        return getattr(client, name)
    if name == "JobSpec":
        from jobs.spec import JobSpec

        return JobSpec
    raise AttributeError(f"module 'runner' has no attribute {name!r}")
