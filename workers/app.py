"""The Celery app: the same for the embedded mode and for production.

Its tasks are short, and all they carry is an id: "look at this one". A message that is lost costs time, a
message that comes twice costs nothing. So there is no result backend, no late acknowledgement, no
countdown; and there are no ``include``, ``imports`` or ``-A``, with which Celery would put the working
folder first on the import path and run a user's ``jobs.py`` beside the token.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from celery import Celery, bootsteps
from celery.loaders.app import AppLoader
from celery.worker import WorkController, state
from kombu.exceptions import OperationalError

from jobs.errors import RunnerError
from jobs.store.database import Database
from jobs.store.schema import installation_id
from jobs.subject import about
from workers import embedded
from workers.attendants import Attendants
from workers.observer import Observer
from workers.steps.admit import admit
from workers.steps.context import Context
from workers.steps.finish import terminate
from workers.steps.notify import notify

log = logging.getLogger(__name__)

RING_EXPIRES = 30
TASK_THREADS = 12
CONNECT_SECONDS = 3.0
SOCKET_SECONDS = 5.0
ONCE = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}
"""Else each ring at a broker that is away would take seconds, although a ring is not repeated."""
BROKER_AGAIN_SECONDS = 5.0
"""How long a broker that could not be reached is left alone."""
MOST_ADMISSIONS = 8
"""How many of the threads may wait for deploys: the end of a machine must never queue behind its like."""


def queue_of(db: Database) -> str:
    """The queue of an installation: several may share a broker, and must not answer each other's bells."""
    with db.read() as session:
        return f"gpu-job-runner-{installation_id(session)}"


class _Loader(AppLoader):
    """Reads no configuration of anybody's: CELERY_CONFIG_MODULE would import a module by its name."""

    def read_configuration(self, env: str = "") -> dict[str, Any]:
        return {}


def make_app(broker_url: str | None, *, ours: bool = True) -> Celery:
    """The app; without a broker its messages stay in this process's memory. A worker brings the tasks.

    *ours*: the process is a worker of ours, and not a program that may have a Celery app of its own.
    """
    app = Celery("gpu-job-runner", loader=_Loader, fixups=[], set_as_current=False, changes={})
    if ours:  # else Celery makes a default app of its own where it needs one, which imports a `celeryconfig`
        app.set_default()
    app.backend_cls = "disabled"  # CELERY_RESULT_BACKEND in the environment wins over everything else
    app.conf.update(
        broker_url=broker_url or "memory://localhost//",
        broker_transport=None if broker_url else "workers.embedded:Transport",
        broker_transport_options=_transport_options(broker_url),
        broker_connection_timeout=CONNECT_SECONDS,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_ignore_result=True,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        enable_utc=True,
        timezone="UTC",
    )
    return app


def send(app: Celery, queue: str, task: str, *args: str) -> None:
    """Ring a bell, once. Raises what kombu does where the broker cannot be reached."""
    app.send_task(task, args=args, queue=queue, expires=RING_EXPIRES, retry=False, ignore_result=True)


def _transport_options(broker_url: str | None) -> dict[str, Any]:
    """What keeps a Redis that hangs, or went away without a word, from hanging us."""
    if broker_url is None or not broker_url.startswith(("redis", "rediss", "sentinel")):
        return dict(ONCE)
    return {
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": 25,
        **ONCE,
    }


class Engine:
    """One worker: the Celery worker with its two bootsteps, around a context."""

    def __init__(
        self, make_context: Callable[[Engine], Context], *, seats: int, broker_url: str | None = None
    ) -> None:
        self.app = make_app(broker_url)
        self.ctx = make_context(self)
        self._queue = queue_of(self.ctx.db)
        self.attendants = Attendants(self.ctx, seats)
        self.observer = Observer(self.ctx, self.attendants.offer)
        self.observer.on_news.append(self.attendants.woken)
        self.drained: str | None = None  # why it stopped by itself
        self.on_drain: Callable[[], None] = self.stop
        self._worker: Any = None
        self._tasks: dict[str, Callable[..., None]] = {}
        self._here = ThreadPoolExecutor(TASK_THREADS, thread_name_prefix="here")
        self._silent_until = 0.0
        self._register()

    # The bells: messages for whoever is free, and a word to the observer of this very process.

    def admit(self, job_id: str) -> None:
        self._send("admit", job_id)

    def attend(self, attempt_id: str) -> None:
        self._send("attend", attempt_id)

    def terminate(self) -> None:
        self._send("terminate")

    def notify(self) -> None:
        self._send("notify")

    def observe(self) -> None:
        self.observer.look_at_cloud()

    def drain(self, why: str) -> None:
        log.error("%s", why)
        self.drained = why
        self.on_drain()

    def run(self) -> None:
        """Work until :meth:`stop` is called; returns when everything has been handed back."""
        state.should_stop = None
        state.should_terminate = None
        if self.ctx.stopping.is_set():
            return  # asked to stop before it began
        self._worker = WorkController(
            app=self.app,
            pool_cls="threads",
            concurrency=TASK_THREADS,
            queues=[self._queue],
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            optimization="fair",
            loglevel=logging.WARNING,
            quiet=True,
        )
        try:
            self._worker.start()
        finally:
            self._here.shutdown(wait=False, cancel_futures=True)

    def stop(self) -> None:
        """Begin to stop; safe to call from a signal handler and from any thread."""
        self.ctx.stopping.set()
        state.should_stop = os.EX_OK  # type: ignore[assignment]
        embedded.ring()
        # Celery sees its flag when its broker lets go of it; what others can take over is theirs at once.
        threading.Thread(target=self._hand_back, name="hand back", daemon=True).start()

    def _hand_back(self) -> None:
        self.observer.close()
        self.attendants.close()

    def _send(self, task: str, *args: str) -> None:
        """Ring for whoever is free; while the broker cannot be reached, answer the bell ourselves."""
        if self.ctx.stopping.is_set():
            return
        if time.monotonic() >= self._silent_until:
            try:
                send(self.app, self._queue, task, *args)
            except Exception as error:  # noqa: BLE001 - whatever a transport stumbles over: no tick ends here
                why = error if isinstance(error, OperationalError) else type(error).__name__  # may quote it
                log.warning("the broker cannot be rung, this worker does what it can: %s", why)
                self._silent_until = time.monotonic() + BROKER_AGAIN_SECONDS
            else:
                return
        with suppress(RuntimeError):  # it has been shut down: we are leaving
            self._here.submit(self._tasks[task], *args)

    def _register(self) -> None:
        ctx, attendants = self.ctx, self.attendants
        admissions = threading.Semaphore(MOST_ADMISSIONS)

        def task(name: str) -> Callable[[Callable[..., None]], None]:
            def register(function: Callable[..., None]) -> None:
                self._tasks[name] = function
                self.app.task(name=name, ignore_result=True)(function)

            return register

        @task("admit")
        def _admit(job_id: str) -> None:
            if not admissions.acquire(blocking=False):
                return  # the observer rings again
            try:
                with about(job=job_id), _one_line("admit"):
                    admit(ctx, job_id)
            finally:
                admissions.release()

        @task("attend")
        def _attend(attempt_id: str) -> None:
            with about(attempt=attempt_id), _one_line("attend"):
                attendants.offer([attempt_id])

        @task("terminate")
        def _terminate() -> None:
            with _one_line("terminate"):
                terminate(ctx)

        notifying = threading.Lock()

        @task("notify")
        def _notify() -> None:
            if not notifying.acquire(blocking=False):
                return  # a receiver that hangs must not take one thread after another
            try:
                with _one_line("notify"):
                    notify(ctx)
            finally:
                notifying.release()

        first = _step(attendants)
        self.app.steps["worker"].update({first, _step(self.observer, first)})


@contextmanager
def _one_line(task: str) -> Iterator[None]:
    """What a task cannot do for now is said in a sentence: the observer rings again. A bug is told whole."""
    try:
        yield
    except RunnerError as error:
        log.warning("%s: %s", task, error)
    except Exception:
        log.exception("%s stumbled", task)


def _step(part: Attendants | Observer, *after: type) -> type:
    """A bootstep that starts and stops one of our parts with the worker."""

    class Step(bootsteps.StartStopStep):
        name = type(part).__name__
        requires = ("celery.worker.components:Pool", *after)

        def __init__(self, parent: Any, **options: Any) -> None:
            super().__init__(parent, **options)
            self.enabled = True

        def start(self, parent: Any) -> None:
            part.start()

        def close(self, parent: Any) -> None:
            part.close()

        def stop(self, parent: Any) -> None:
            part.stop()

    return Step
