"""Every error that the product raises, in one tree.

    RunnerError
    ├── InvalidJob (also ValueError)        the job, an option or a setting makes no sense      exit 2
    │   └── InvalidSettings                 a setting, in the environment or in runner.toml     exit 2
    ├── JobNotFound (also LookupError)      no job by that id, name or prefix                   exit 4
    ├── AmbiguousJob (also LookupError)     a prefix that several jobs share                    exit 2
    ├── JobFailed                           .job .exit_code .tail                               exit 1
    ├── JobCancelled                                                                            exit 1
    ├── JobExpired                                                                              exit 1
    ├── ServiceUnavailable                  no live worker, a service that is in the way        exit 3
    ├── DatabaseError                       cannot be reached, used or trusted                  exit 3
    ├── ArtifactError                       the same of the artifact store                      exit 3
    │   └── ArtifactMissing                 it does not hold what it should                     exit 3
    └── ApiError                            .status, an HTTP status or None                     exit 3
        ├── InvalidToken                    401
        │   └── ReadOnlyToken               403 on a call that changes something
        ├── PaymentRequired                 402: no recharge settings, or the recharge failed
        ├── NoCapacity                      the product is out of stock
        ├── QuotaExceeded                   the account's limit of instances
        ├── ImageRefused                    the image does not fit the product
        ├── FieldRefused                    .field: the service does not take a field that we sent
        ├── NotFound                        404: no such instance, key or operation
        ├── BadRequest                      any other 4xx: nothing was done
        ├── RateLimited                     429, .retry_after in seconds or None
        └── Unsettled                       it may have happened, or not
            ├── ServerTrouble               5xx
            └── NoAnswer                    no connection, a timeout, an answer that is not one

A message is one or two sentences for a person: what is wrong, and what to do about it. No message,
repr or attribute ever holds a token, a password or a private key.
"""

from __future__ import annotations

from typing import Any


class RunnerError(Exception):
    """The root: ``except RunnerError`` catches all that the product raises on purpose."""

    exit_code = 1


class InvalidJob(RunnerError, ValueError):
    """A job, an option or an argument that makes no sense; nothing was queued."""

    exit_code = 2


class InvalidSettings(InvalidJob):
    """A setting that makes no sense, in the environment or in ``runner.toml``."""


class JobNotFound(RunnerError, LookupError):
    """No job has that id, name or prefix."""

    exit_code = 4


class AmbiguousJob(RunnerError, LookupError):
    """Several jobs share the prefix that was given."""

    exit_code = 2


class _JobEnded(RunnerError):
    """A job that ended otherwise than by success. ``job`` is the public Job object."""

    def __init__(
        self, message: str, *, job: Any = None, exit_code: int | None = None, tail: str = ""
    ) -> None:
        super().__init__(message)
        self.job = job
        self.exit_code: int | None = exit_code  # type: ignore[assignment]
        self.tail = tail


class JobFailed(_JobEnded):
    """The job failed. ``exit_code`` is what its command returned, or None; ``tail`` the end of its log."""


class JobCancelled(_JobEnded):
    """The job was cancelled."""


class JobExpired(_JobEnded):
    """The job reached its ceiling in time or money."""


class ServiceUnavailable(RunnerError):
    """No worker is alive, or another service is in the way."""

    exit_code = 3


class DatabaseError(RunnerError):
    """The database cannot be reached, used or trusted."""

    exit_code = 3


class ArtifactError(RunnerError):
    """The artifact store, which keeps workdirs and outputs, cannot be reached, used or trusted."""

    exit_code = 3


class ArtifactMissing(ArtifactError):
    """The artifact store does not hold what it should hold."""


class UploadOver(ArtifactError):
    """What an upload has stored, or found in the store, may be gone by now: it is to be done again."""

    def __init__(self) -> None:
        super().__init__("The folder took too long on its way into the artifact store; submit it again.")


class ApiError(RunnerError):
    """The cloud's API refused, failed or did not answer. ``status``: the HTTP status, or None."""

    exit_code = 3

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class InvalidToken(ApiError):
    """The token is missing or not valid."""


class ReadOnlyToken(InvalidToken):
    """The token may read, but not deploy, restart or terminate."""


class PaymentRequired(ApiError):
    """The account has no recharge settings, or its recharge failed; repeating the call is pointless."""


class NoCapacity(ApiError):
    """The product is out of stock."""


class QuotaExceeded(ApiError):
    """The account's limit of instances is reached."""


class ImageRefused(ApiError):
    """The image does not fit the product; repeating the call is pointless."""


class FieldRefused(ApiError):
    """The service does not take the field named ``field``; nothing was done."""

    def __init__(self, message: str, *, field: str, status: int | None = None) -> None:
        super().__init__(message, status=status)
        self.field = field


class NotFound(ApiError):
    """No such instance, key or operation."""


class BadRequest(ApiError):
    """Any other 4xx: the service understood, and did nothing."""


class RateLimited(ApiError):
    """Too many requests. ``retry_after``: seconds that the service asks to wait, or None."""

    def __init__(self, message: str, *, status: int | None = 429, retry_after: float | None = None) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after


class Unsettled(ApiError):
    """The call may have had its effect, or not: look before doing it again."""


class ServerTrouble(Unsettled):
    """The service failed (5xx)."""


class NoAnswer(Unsettled):
    """No connection, no answer in time, or an answer that makes no sense."""
