"""Watching a job from `run`: its log, its state, and the signals that end it or leave it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

from jobs.errors import RunnerError, ServiceUnavailable
from jobs.states import State
from jobs.store import submissions
from jobs.store.news import News
from jobs.views import Chunk, JobView
from runner import daemon
from runner.cli import output
from runner.cli.live import LiveLine
from runner.client import Client
from runner.daemon import Running
from runner.follow import LogReader, Patience

INTERRUPTED = 130
NO_CODE = 125
TIMED_OUT = 124
ACCOUNT = {"MASSED_COMPUTE_API_KEY", "RUNNER_API_URL"}
"""The settings that say whose machines are rented."""
CANCEL_SECONDS = 2.0
"""How long a second Ctrl-C waits for the cancel of the first one to be written."""
RESTART_SECONDS = 3.0
"""How long `run` sees nobody work before it starts a service again."""


def ensure_service(client: Client) -> None:
    """Have a service with this client's settings; start or replace one that came with another `run`.

    Where workers serve nothing is started.

    Raises InvalidToken and ServiceUnavailable.
    """
    if client.settings.served_by_workers:
        return
    running = daemon.find(client.settings)
    if running is not None:
        others = ", ".join(running.differs(client.settings))
        if not others:
            return
        if not running.leaves and ACCOUNT & set(running.differs(client.settings)):
            raise ServiceUnavailable(
                f"The service that runs (pid {running.pid}) was started with another {others}, so the job "
                "would be another account's. Stop it with `runner down` first, or use its settings."
            )
        if not running.leaves:
            _say_others(running, others)
            return
    client.settings.required_token()
    if running is not None:
        daemon.check_account(client.settings, client.database)
        daemon.stop(client.settings)  # it hands everything back: no job is disturbed
        output.note(f"the service that ran (pid {running.pid}) had another {others}")
    running = daemon.start_in_background(client.settings)
    output.note(
        f"started a service in the background (pid {running.pid}); it ends a minute after the last job"
    )


def say_other_settings(client: Client) -> None:
    """Say which of this client's settings do not count, because the service that runs has others."""
    running = daemon.find(client.settings)
    if running is not None and (others := ", ".join(running.differs(client.settings))):
        _say_others(running, others)


def _say_others(running: Running, others: str) -> None:
    output.note(
        f"the service that runs (pid {running.pid}) was started with another {others}, which counts until "
        "`runner down`"
    )


def follow(client: Client, job_id: str, *, to_stderr: bool) -> JobView:
    """Print the log and the state until the job is final. OSError and RunnerError do not end it."""
    db = client.database
    stream = sys.stderr if to_stderr else sys.stdout
    shared = output.same_terminal(stream, sys.stderr)
    reader = LogReader(db, job_id)
    with (
        _signals(client, job_id) as said,
        LiveLine(db, shared=shared) as line,
        News(db, [job_id], log_of=job_id) as news,
    ):
        patience = Patience(db, line.say)
        while True:
            with patience.bearing():
                view, chunks = reader.look()
                try:
                    _print(chunks, stream, line, said)
                except OSError:
                    # Without standard error there still is an exit code, and a document on standard output.
                    if not to_stderr:
                        if not view.final:
                            say_goes_on(job_id)
                        raise
                _pass_on(said, line)
                if view.final:
                    return view
                line.show(view)
                # It was leaving when we came, or died: machines may wait for one. One that only just
                # begins, and may be another's, is not replaced.
                if patience.check() >= RESTART_SECONDS and daemon.find(client.settings) is None:
                    ensure_service(client)
                news.wait(line.seconds)


def _print(chunks: Iterator[Chunk], stream: TextIO, line: LiveLine, said: deque[str]) -> None:
    for chunk in chunks:
        line.log(chunk.data or b"")
        write(chunk, stream)
        _pass_on(said, line)
    output.flush(stream)


def _pass_on(said: deque[str], line: LiveLine) -> None:
    while said:
        line.say(said.popleft())


@contextmanager
def _signals(client: Client, job_id: str) -> Iterator[deque[str]]:
    """The first Ctrl-C asks for the job's end, a second one returns at once; others leave the job running.

    A signal may come in the middle of anything, such as a write that waits for a slow reader, or a
    transaction. So a handler touches neither: what there is to say is left in the queue that is yielded, and
    the cancel is a thread's. Where this process ends, it ends there and then.
    """
    said: deque[str] = deque()
    told: list[str] = []
    canceller: threading.Thread | None = None

    def cancel() -> None:
        try:
            state = submissions.request_cancel(client.database, job_id)
            told.append(f"cancelling job {job_id} ({state})")
            said.append(f"{told[-1]}; Ctrl-C again returns at once")
        except RunnerError as error:
            told.append(f"job {job_id} could not be cancelled: {error}")
            said.append(told[-1])

    def end(code: int) -> None:
        """Leave now; but a cancel that is under way is written first, if that can be."""
        if canceller is not None:
            canceller.join(CANCEL_SECONDS)
        left = canceller is None or canceller.is_alive()
        output.at_once(f"\n{_goes_on(job_id) if left else told[-1]}")
        os._exit(code)

    def on_end(number: int, _frame: FrameType | None) -> None:
        end(128 + number)

    def on_interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal canceller
        if canceller is not None:
            end(INTERRUPTED)
        thread = threading.Thread(target=cancel, daemon=True)
        thread.start()
        canceller = thread  # a signal in between starts another, which asks for the same

    handlers = {signal.SIGINT: on_interrupt, signal.SIGTERM: on_end, signal.SIGHUP: on_end}
    before = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN  # nohup
    }
    try:
        yield said
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if canceller is not None:
            canceller.join()


def say_goes_on(job_id: str) -> None:
    """What becomes of a job that is not followed any longer."""
    output.note(_goes_on(job_id))


def _goes_on(job_id: str) -> str:
    return f"job {job_id} goes on; `runner cancel {job_id}` ends it"


def exit_code(view: JobView) -> int:
    """What `run` exits with."""
    match view.state:
        case State.EXPIRED:
            return TIMED_OUT
        case State.CANCELLED:
            return INTERRUPTED
        case _:
            return NO_CODE if view.exit_code is None else view.exit_code


def write(chunk: Chunk, stream: TextIO) -> None:
    """A piece of the log, as it is. Raises OSError."""
    if chunk.data is None:
        output.note(f"[{chunk.size} bytes of the log are missing here]")
        return
    output.raw(chunk.data, stream)


def say_log_end(view: JobView) -> None:
    """Say of each attempt whose log is not whole how it is."""
    for attempt in view.attempts:
        if attempt.log_end is not None and attempt.log_end != "sealed":
            output.note(f"the log of attempt {attempt.number} is {attempt.log_end}")
