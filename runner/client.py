"""The Python API: queue jobs, follow their logs, wait for their results.

A client only reads and writes the database. Jobs are made to happen by a service (``runner up``, or
``with runner.service():``) or by workers elsewhere.
"""

from __future__ import annotations

import codecs
import dataclasses
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from jobs import money
from jobs.errors import (
    DatabaseError,
    InvalidJob,
    InvalidSettings,
    JobCancelled,
    JobExpired,
    JobFailed,
)
from jobs.files.portable import KIND, PATH
from jobs.files.pull import pull
from jobs.pictures import receipt_json
from jobs.secrets import ensure_cipher
from jobs.settings import Settings, job_defaults, load_settings
from jobs.spec import JobSpec, Spec, read_secrets, validate
from jobs.states import State
from jobs.store import agreement, logs, reads, submissions
from jobs.store.database import Database
from jobs.store.news import News
from jobs.store.schema import open_database
from jobs.values import whole_number
from jobs.views import AttemptView, Chunk, JobView
from runner import folders
from runner.follow import LogReader, Patience

if TYPE_CHECKING:
    from workers.doorbell import Doorbell

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
TAIL_BYTES = 4096
MOST_JOBS = 2**31 - 1
"""The largest limit that every database takes."""


class Options(TypedDict, total=False):
    """The options of a job, as keywords."""

    gpu: str | Sequence[str]
    cheapest: bool
    name: str | None
    max_cost: int | str | Decimal | float
    max_runtime: str | int | timedelta
    max_price: int | str | Decimal | float
    coupon: str
    budget: str
    grace: str | int | timedelta
    idle_timeout: str | int | timedelta
    image: str
    env: Mapping[str, str]
    secret: Mapping[str, str] | Sequence[str]
    key: str
    retries: int
    retry_on: str | Sequence[str]
    workdir: str | PathLike[str]
    setup: str
    output: str | Sequence[str]
    sync_every: str | int | timedelta


@dataclass(frozen=True)
class Attempt:
    """One try of a job on one instance. Times are aware, in UTC; an unknown value is None."""

    number: int
    product: str
    price_usd_per_hour: Decimal | None
    instance_uuid: str | None
    instance_name: str
    deployed_at: datetime | None
    ready_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    terminated_at: datetime | None
    exit_code: int | None
    outcome: str | None
    cost_usd: Decimal | None


@dataclass(frozen=True)
class Result:
    """A job that succeeded. ``seconds``: from the start of its command to its end."""

    exit_code: int
    cost_usd: Decimal
    seconds: float


class Job:
    """A job, as it was when it was last looked at; :meth:`refresh` looks again."""

    def __init__(self, client: Client, view: JobView) -> None:
        self._client = client
        self._view = view

    @property
    def id(self) -> str:
        return self._view.id

    @property
    def name(self) -> str | None:
        return self._view.name

    @property
    def state(self) -> str:
        return self._view.state.value

    @property
    def reason(self) -> str | None:
        return self._view.reason

    @property
    def detail(self) -> str | None:
        return self._view.detail

    @property
    def exit_code(self) -> int | None:
        return self._view.exit_code

    @property
    def cost_usd(self) -> Decimal | None:
        """What it has cost, in US dollars, up to when it was last looked at."""
        return money.to_decimal(self._view.cost)

    @property
    def attempts(self) -> list[Attempt]:
        return [_attempt(view) for view in self._view.attempts]

    def __repr__(self) -> str:
        return f"<runner.Job {self.id} {self.state}>"

    def refresh(self) -> Job:
        """Look again; returns this job itself."""
        self._view = self._client._show(self.id)
        return self

    def receipt(self) -> dict[str, Any]:
        """What it has cost, and for what, up to when it was last looked at: as ``runner receipt --json``."""
        return receipt_json(self._view)

    def cancel(self) -> None:
        """Ask for the job's end. Its machine is ended too; a job that is final stays as it is."""
        self._client._cancel(self.id)
        self.refresh()

    @overload
    def logs(self, follow: bool = ..., raw: Literal[False] = ...) -> Iterator[str]: ...
    @overload
    def logs(self, follow: bool = ..., *, raw: Literal[True]) -> Iterator[bytes]: ...
    def logs(self, follow: bool = False, raw: bool = False) -> Iterator[str] | Iterator[bytes]:
        """The job's log, of all its attempts in order: lines of text, or with *raw* its bytes in pieces.

        With *follow* it goes on until the job is final. Text is read as UTF-8, with a replacement for what
        is not. Raises ServiceUnavailable after 60 s without a live worker.
        """
        pieces = (
            chunk.data for chunk in self._client._chunks(self.id, follow=follow) if chunk.data is not None
        )
        return pieces if raw else _lines(pieces)

    def download(self, folder: str | PathLike[str], *, force: bool = False) -> list[Path]:
        """Write what has come back of the job's outputs into *folder*; returns the paths of the files.

        They are those of its last attempt that has any; while the job runs, what was synced last. Files that
        are there already as they should be are left alone, and so are those that were changed here since,
        unless *force*. Raises InvalidJob where there is nothing, or the folder cannot be written to, and
        ArtifactError.
        """
        self.refresh()
        _, store, tree = folders.outputs(self._view, self._client.settings)
        pull(store, tree, Path(folder), force=force)
        return [Path(folder) / entry[PATH] for entry in tree.entries if entry[KIND] != "d"]

    def retry(self, secret: Mapping[str, str] | Sequence[str] | None = None) -> Job:
        """Run a job that is over once more, as it was, as a new job; its key is not taken along.

        *secret*: the values of its secrets, which were deleted with its end. Raises InvalidJob where it is
        not over, and what :meth:`Client.submit` raises.
        """
        return self._client._queued([self._client.again(self.id, secret)])[0]

    def wait(self, timeout: float | None = None) -> Job:
        """Wait until the job is final; *timeout* in seconds.

        Raises TimeoutError, and ServiceUnavailable after 60 s without a live worker.
        """
        self._client._wait(self.id, timeout)
        return self.refresh()

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the job's success.

        Raises JobFailed, JobCancelled or JobExpired where it ended otherwise, and what :meth:`wait` raises.
        """
        view = self.wait(timeout)._view
        if view.state is State.SUCCEEDED:
            return Result(view.exit_code or 0, money.to_decimal(view.cost), _seconds(view))
        kind = {State.CANCELLED: JobCancelled, State.EXPIRED: JobExpired}.get(view.state, JobFailed)
        tail = self._client._tail(view)
        raise kind(
            f"Job {view.name or view.id} {view.state}: {view.detail or view.reason}",
            job=self,
            exit_code=view.exit_code,
            tail=tail,
        )


class Client:
    """One database of jobs. The module's functions use a default one; make your own for another home.

    Keywords are those of the settings: ``home``, ``database_url``, ``fleet`` and so on. Use it as a context
    manager, or call :meth:`close`.
    """

    def __init__(
        self, *, home: str | Path | None = None, database_url: str | None = None, **settings: Any
    ) -> None:
        given = {"home": home, "database_url": database_url, **settings}
        self._settings = load_settings(**{name: value for name, value in given.items() if value is not None})
        self._lock = threading.Lock()
        self._db: Database | None = None
        self._bell: Doorbell | None = None

    @property
    def settings(self) -> Settings:
        """What is in force, and where each value came from (``.sources``)."""
        return self._settings

    @property
    def database(self) -> Database:
        """The open database. Raises DatabaseError."""
        with self._lock:
            if self._db is None:
                self._db = open_database(self._settings.database_url)
            return self._db

    def close(self) -> None:
        """Close the database; jobs go on."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None
            if self._bell is not None:
                self._bell.close()
                self._bell = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, command: str | Sequence[str], **options: Unpack[Options]) -> Job:
        """Queue one job. *command*: a ``str`` is a shell line, a sequence is run as it is.

        *secret*: names to values, or names alone, whose values are taken from ``os.environ``.

        Raises InvalidJob where an option makes no sense, and InvalidToken where the API, asked for the
        inventory, refuses the token; then nothing was queued.
        """
        return self.submit_many([JobSpec(command=command, **options)])[0]

    def submit_many(self, specs: Iterable[JobSpec]) -> list[Job]:
        """Queue many jobs in one transaction: all of them, or with InvalidJob none.

        A folder that several of them have is read and stored once. Raises ArtifactError where it cannot be.
        """
        defaults = job_defaults(home=self._settings.home)
        valid = [validate(spec, self._settings, defaults) for spec in specs]
        self._check(valid)
        return self._queued(folders.packed(valid, self._settings, self.database))

    def again(self, job_id: str, secret: object = None, what: str = "secret") -> Spec:
        """What a job that is final was, to be queued again. *secret*: values for its secrets, as for submit.

        Raises JobNotFound; InvalidJob where the job is not final, a secret's value is not given, or what it
        wants is not to be had any more; and what :meth:`submit` raises.
        """
        spec, names = submissions.again(self.database, job_id)
        given = read_secrets(secret, what, spec.env)
        if set(names) != given.keys():
            had = (
                f"had the secrets {', '.join(names)}, whose values were deleted"
                if names
                else "had no secrets"
            )
            raise InvalidJob(f"Job {job_id} {had}; give each of these with {what}, and no other.")
        found = dataclasses.replace(spec, secrets=given)
        self._check([found])
        return folders.packed([found], self._settings, self.database)[0]

    def _queued(self, specs: Sequence[Spec]) -> list[Job]:
        submitted = self.queue(specs)
        ids = [item.id for item in submitted]
        try:
            if (trouble := self.ring(ids)) is not None:
                log.warning("%s", trouble)
            views = {view.id: view for view in reads.some(self.database, ids)}
        except DatabaseError as error:
            more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
            raise DatabaseError(
                f"{error} What was submitted is queued all the same: {ids[0]}{more}."
            ) from error
        return [Job(self, views[item.id]) for item in submitted]

    def queue(self, specs: Sequence[Spec]) -> list[submissions.Submitted]:
        """Write checked jobs into the database, their secrets encrypted; all of them or none.

        Raises InvalidSettings where the workers that live could not read those.
        """
        cipher = None
        if any(spec.secrets for spec in specs):
            if not self._settings.served_by_workers:
                from runner import daemon

                daemon.check_same(self._settings, agreement.SECRET_KEY, "it could not read the secrets")
            cipher = ensure_cipher(self._settings)
            if not agreement.reads_secrets(self.database, cipher.keys[0]):
                raise InvalidSettings(
                    "The workers cannot read secrets that are encrypted here: RUNNER_SECRET_KEY must be the "
                    "same for all of them and for whoever submits jobs with secrets."
                )
        db = self.database
        return folders.submitted(
            specs, self._settings, db, lambda ready: submissions.submit(db, ready, cipher)
        )

    def ring(self, job_ids: Sequence[str]) -> str | None:
        """Tell the workers of jobs that were just queued, where a broker is set.

        Returns a sentence where the broker cannot be reached: the workers find the jobs all the same.
        """
        if not self._settings.broker_url:
            return None
        from workers.app import queue_of  # Celery: only who has a broker needs it
        from workers.doorbell import Doorbell

        db = self.database
        with self._lock:
            if self._bell is None:
                self._bell = Doorbell(self._settings.broker_url, queue_of(db))
        why = self._bell.ring(job_ids)
        if why is None:
            return None
        return f"the broker cannot be reached ({why}); the workers find what is queued by themselves"

    def validate(self, spec: JobSpec, sources: Mapping[str, str] | None = None) -> Spec:
        """What would be queued, checked against the inventory.

        Where that was listed a while ago, or does not hold what is wanted, and there is a token, the API is
        asked, shortly; where it does not answer, what it said last must do. *sources* names options as the
        person wrote them. Raises InvalidJob, and InvalidToken where the API refuses the token.
        """
        found = validate(spec, self._settings, job_defaults(home=self._settings.home), sources)
        self._check([found])
        return found

    def get(self, reference: str) -> Job:
        """A job by its id, its name or the beginning of its id. Raises JobNotFound and AmbiguousJob."""
        return Job(self, self._show(reads.find(self.database, reference)))

    def jobs(self, state: str | Iterable[str] | None = None, limit: int | None = None) -> list[Job]:
        """Jobs, the newest first; only those in *state* (one or several), *limit* of them, where given.

        Raises InvalidJob for what is no state, and for a limit that is no number from 1 on.
        """
        return [Job(self, view) for view in self.views(state, limit)]

    def views(self, state: str | Iterable[str] | None = None, limit: int | None = None) -> list[JobView]:
        """The same as pictures of the store."""
        states = None
        if state is not None:
            names = [state] if isinstance(state, str) else list(state)
            try:
                states = [State(name) for name in names]
            except ValueError:
                known = ", ".join(State)
                wrong = ", ".join(name for name in names if name not in set(State))
                raise InvalidJob(f"{wrong!r} is no state of a job; the states are {known}.") from None
        if limit is not None:
            limit = whole_number(1, MOST_JOBS)(limit, "limit")
        return reads.listing(self.database, states=states, limit=limit)

    def service(self) -> AbstractContextManager[None]:
        """Have a service while the block runs: the one that is there, else one of our own.

        One of our own ends with the block; jobs that nothing is rented for then wait for the next service.
        While machines are rented it goes on, so that they are ended, and leaves by itself a minute after the
        last job: a RuntimeWarning names them. So it does while another process is in such a block. Raises
        ServiceUnavailable where it does not come up.
        """
        from runner import daemon

        return daemon.having(self._settings, self.database)

    def _check(self, specs: Sequence[Spec]) -> None:
        from runner import hopeless  # asks the API, which whoever only reads need not load

        hopeless.refuse(self.database, self._settings, specs)

    def _show(self, job_id: str) -> JobView:
        return reads.show(self.database, job_id)

    def _cancel(self, job_id: str) -> State:
        return submissions.request_cancel(self.database, job_id)

    def _wait(self, job_id: str, timeout: float | None) -> JobView:
        end = None if timeout is None else time.monotonic() + timeout
        patience = Patience(self.database)
        with self.database.answering_by(end), News(self.database, [job_id]) as news:
            while True:
                try:
                    with patience.bearing(end):
                        view = self._show(job_id)
                        if view.final:
                            return view
                        left = LOOK_SECONDS if end is None else end - time.monotonic()
                        if left <= 0:
                            raise TimeoutError(f"job {job_id} is {view.state} after {timeout:g} s")
                        patience.check()
                        news.wait(min(left, LOOK_SECONDS))
                except DatabaseError as error:
                    if end is None or time.monotonic() < end:
                        raise
                    raise TimeoutError(f"after {timeout:g} s: {error}") from error

    def _chunks(self, job_id: str, *, follow: bool) -> Iterator[Chunk]:
        """The log of all attempts in order; with *follow* until the job is final."""
        reader = LogReader(self.database, job_id)
        patience = Patience(self.database)
        with News(self.database, [job_id], log_of=job_id) as news:
            while True:
                with patience.bearing():
                    view, chunks = reader.look()
                    yield from chunks
                    if not follow or view.final:
                        return
                    patience.check()
                    news.wait(LOOK_SECONDS)

    def _tail(self, view: JobView) -> str:
        if not view.attempts:
            return ""
        last = view.attempts[-1]
        chunks = logs.stream(self.database, last.id, max(0, last.log_bytes - TAIL_BYTES))
        return b"".join(chunk.data or b"" for chunk in chunks).decode("utf-8", "replace")


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Lines without their ends. A line ends at LF only: the CRs of a progress bar are part of it."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest: list[str] = []
    for piece in pieces:
        text = decoder.decode(piece)
        *ended, last = text.split("\n")
        for line in ended:
            yield "".join((*rest, line))
            rest.clear()
        rest.append(last)
    if last := "".join((*rest, decoder.decode(b"", final=True))):
        yield last


def _attempt(view: AttemptView) -> Attempt:
    return Attempt(
        number=view.number,
        product=view.product,
        price_usd_per_hour=None if view.price is None else money.to_decimal(view.price),
        instance_uuid=view.instance_uuid,
        instance_name=view.instance_name,
        deployed_at=view.deployed_at,
        ready_at=view.ready_at,
        started_at=view.started_at,
        ended_at=view.ended_at,
        terminated_at=view.terminated_at,
        exit_code=view.exit_code,
        outcome=view.outcome,
        cost_usd=money.to_decimal(view.cost),
    )


def _seconds(view: JobView) -> float:
    last = view.attempts[-1] if view.attempts else None
    if last is None or last.started_at is None or last.ended_at is None:
        return 0.0
    return max(0.0, (last.ended_at - last.started_at) / timedelta(seconds=1))
