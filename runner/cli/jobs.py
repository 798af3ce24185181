"""The commands about jobs: submit, run, ls, show, logs, wait, cancel."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from jobs import money
from jobs.errors import DatabaseError, InvalidJob, RunnerError
from jobs.spec import JobSpec, Spec, read_env_file
from jobs.states import State
from jobs.store import reads, submissions
from jobs.store.news import News
from jobs.values import parse_duration, shown
from jobs.views import JobView
from runner import daemon, present
from runner.cli import files, plan, receipts, watch
from runner.cli import output as out
from runner.cli.options import (
    Budget,
    Cheapest,
    Command,
    Coupon,
    DryRun,
    Env,
    EnvFile,
    Gpu,
    Grace,
    IdleTimeout,
    Image,
    Job,
    Jobs,
    Json,
    Key,
    MaxCost,
    MaxPrice,
    MaxRuntime,
    Name,
    Output,
    Retries,
    RetryOn,
    Secrets,
    Setup,
    SyncEvery,
    Workdir,
)
from runner.client import Client
from runner.follow import LogReader, Patience

MANY = ("gpu", "cheapest", "env", "output", "secret")
"""Options of which a name and one value is not all."""
COMMAND_COLUMNS = 60
"""How much of a command a table shows on a terminal."""


def submit(
    command: Command,
    gpu: Gpu = None,
    cheapest: Cheapest = False,
    name: Name = None,
    max_cost: MaxCost = None,
    max_runtime: MaxRuntime = None,
    max_price: MaxPrice = None,
    coupon: Coupon = None,
    budget: Budget = None,
    grace: Grace = None,
    idle_timeout: IdleTimeout = None,
    image: Image = None,
    env: Env = None,
    env_file: EnvFile = None,
    secret: Secrets = None,
    retries: Retries = None,
    retry_on: RetryOn = None,
    workdir: Workdir = None,
    setup: Setup = None,
    output: Output = None,
    sync_every: SyncEvery = None,
    dry_run: DryRun = False,
    key: Key = None,
    json: Json = False,
) -> None:
    """Queue a job and print its id.

    Example: runner submit --gpu gpu_1x_l40 --max-cost 5 -- python train.py
    """
    with Client() as client:
        spec = _spec(
            client,
            command,
            env,
            env_file,
            secret,
            gpu=gpu,
            cheapest=cheapest,
            name=name,
            max_cost=max_cost,
            max_runtime=max_runtime,
            max_price=max_price,
            coupon=coupon,
            budget=budget,
            grace=grace,
            idle_timeout=idle_timeout,
            image=image,
            key=key,
            retries=retries,
            retry_on=retry_on,
            workdir=workdir,
            setup=setup,
            output=output,
            sync_every=sync_every,
        )
        watch.say_other_settings(client)
        if dry_run:
            plan.say(client, spec, json)
            return
        _queue(client, files.packed(client, spec), json)


def retry(job: Job, secret: Secrets = None, json: Json = False) -> None:
    """Run a job that is over once more, as it was: a new job, whose id is printed.

    Example: runner retry my-training
    """
    with Client() as client:
        job_id = reads.find(client.database, job)
        _queue(client, client.again(job_id, secret or None, "--secret"), json)


def _queue(client: Client, spec: Spec, json: bool) -> None:
    """Queue a checked job and print its id, or with *json* all of it."""
    submitted = client.queue([spec])[0]
    trouble = client.ring([submitted.id])
    try:
        if json:
            out.print_json(present.job_json(reads.show(client.database, submitted.id)))
        else:
            out.line(submitted.id)
        out.flush()
    finally:  # also where standard output is broken: the job is there
        _say_submitted(client, spec, submitted, trouble)


def run(
    command: Command,
    gpu: Gpu = None,
    cheapest: Cheapest = False,
    name: Name = None,
    max_cost: MaxCost = None,
    max_runtime: MaxRuntime = None,
    max_price: MaxPrice = None,
    coupon: Coupon = None,
    budget: Budget = None,
    grace: Grace = None,
    idle_timeout: IdleTimeout = None,
    image: Image = None,
    env: Env = None,
    env_file: EnvFile = None,
    secret: Secrets = None,
    retries: Retries = None,
    retry_on: RetryOn = None,
    workdir: Workdir = None,
    setup: Setup = None,
    output: Output = None,
    sync_every: SyncEvery = None,
    dry_run: DryRun = False,
    key: Key = None,
    json: Json = False,
) -> None:
    """Run a command on a rented GPU: its log comes here, its exit code too.

    Ctrl-C cancels the job, a second Ctrl-C returns at once. Closing the terminal leaves the job running.

    Example: runner run --gpu gpu_1x_l40 --max-cost 1 -- nvidia-smi
    """
    with Client() as client:
        spec = _spec(
            client,
            command,
            env,
            env_file,
            secret,
            gpu=gpu,
            cheapest=cheapest,
            name=name,
            max_cost=max_cost,
            max_runtime=max_runtime,
            max_price=max_price,
            coupon=coupon,
            budget=budget,
            grace=grace,
            idle_timeout=idle_timeout,
            image=image,
            key=key,
            retries=retries,
            retry_on=retry_on,
            workdir=workdir,
            setup=setup,
            output=output,
            sync_every=sync_every,
        )
        if dry_run:
            plan.say(client, spec, json)
            return
        watch.ensure_service(client)
        submitted = client.queue([files.packed(client, spec)])[0]
        trouble = client.ring([submitted.id])
        try:
            _say_submitted(client, spec, submitted, trouble)
            view = watch.follow(client, submitted.id, to_stderr=json)
        except RunnerError as error:  # its own exit code would say that nothing was submitted
            out.note(f"runner: {error}")
            watch.say_goes_on(submitted.id)
            raise SystemExit(watch.NO_CODE) from None
        out.note(present.receipt_line(view))
        watch.say_log_end(view)
        if json:
            out.print_json(present.job_json(view))
        raise SystemExit(watch.exit_code(view))


def ls(
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Only jobs in this state; repeatable.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many, the newest first.")] = None,
    json: Json = False,
) -> None:
    """List jobs, the newest first.

    Example: runner ls --state running
    """
    with Client() as client:
        views = client.views(state or None, limit)
        if json:
            out.print_json([present.job_json(view) for view in views])
            return
        if not views:
            none = "There are no jobs yet; `runner run --help` shows how to start one."
            out.note(f"No job is {' or '.join(state)}." if state else none)
            return
        now = client.database.clock()
        rows = [_row(view, now) for view in views]
        out.table(("job", "name", "state", "product", "for", "cost", "ceiling", "command"), rows)


def show(job: Job, json: Json = False) -> None:
    """Show one job: where it stands, its attempts, what it cost.

    Example: runner show my-training
    """
    with Client() as client:
        view = reads.show(client.database, reads.find(client.database, job))
        if json:
            out.print_json(present.job_json(view))
            return
        for label, value in present.facts(view, client.database.clock()):
            print(f"{label:<13} {out.clean(value)}")
        print("\nhistory")
        for event in reads.history(client.database, view.id):
            said = " · ".join(part for part in (event.event, event.detail) if part)
            print(f"  {present.time_text(event.at)}  {event.to_state:<10} {out.clean(said)}")
        print()
        receipts.say(view)


def logs(
    job: Job,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is final.")] = False,
    attempt: Annotated[int | None, typer.Option("--attempt", min=1, help="Only this attempt's log.")] = None,
) -> None:
    """Print a job's log: its bytes, and nothing else, on standard output.

    Example: runner logs -f my-training
    """
    with Client() as client:
        db = client.database
        job_id = reads.find(db, job)
        reader = LogReader(db, job_id, attempt)
        patience = Patience(db, out.note)
        with News(db, [job_id], log_of=job_id) as news:
            while True:
                with patience.bearing():
                    view, chunks = reader.look()
                    known = attempt is None or any(item.number == attempt for item in view.attempts)
                    if not known and (view.final or not follow):
                        there = present.count(len(view.attempts), "attempt")
                        raise InvalidJob(f"Job {view.id} has {there}, and no number {attempt}.")
                    for chunk in chunks:
                        watch.write(chunk, sys.stdout)
                    out.flush()
                    if view.final or not follow:
                        break
                    patience.check()
                    news.wait(5.0)
        if view.final:
            watch.say_log_end(view)


def wait(
    jobs: Jobs,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="S", help="Seconds, or 45m; 124 when they are over.")
    ] = None,
    json: Json = False,
) -> None:
    """Wait until jobs are final; exit with 1 if any of them did not succeed.

    Example: runner wait --timeout 3600 my-training
    """
    seconds = None if timeout is None else _seconds(timeout)
    with Client() as client:
        db = client.database
        ids = list(dict.fromkeys(reads.find(db, job) for job in jobs))
        began = time.monotonic()
        try:
            views = _wait(client, ids, seconds)
        except DatabaseError as error:
            if seconds is None or time.monotonic() < began + seconds:
                raise
            out.note(f"after {seconds:g} s: {error}")
            raise SystemExit(watch.TIMED_OUT) from None
        if json:
            out.print_json([present.job_json(view) for view in views])
        else:
            for view in views:
                out.note(present.receipt_line(view))
        if any(not view.final for view in views):
            out.note(f"after {seconds:g} s not all of them are final")
            raise SystemExit(watch.TIMED_OUT)
        if any(view.state is not State.SUCCEEDED for view in views):
            raise SystemExit(1)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        return parse_duration(text, "--timeout")
    if not math.isfinite(seconds) or seconds < 0:
        raise InvalidJob(f"--timeout must be a number of seconds, or such as 45m or 2h, not {shown(text)}.")
    return seconds


def cancel(jobs: Jobs) -> None:
    """Ask for the end of jobs; their machines are ended too.

    Example: runner cancel my-training
    """
    with Client() as client:
        db = client.database
        ids = list(dict.fromkeys(reads.find(db, job) for job in jobs))
        for job_id in ids:
            before = reads.show(db, job_id)
            state = submissions.request_cancel(db, job_id)
            if before.final:
                out.note(f"{job_id} is over already: {state}")
            elif state.final:
                out.note(f"{job_id} is {state}")
            else:
                out.note(f"{job_id} is {state} and will be cancelled")
        _say_namesakes(client, jobs, ids)
        if any(not reads.show(db, job_id).final for job_id in ids) and not daemon.workers(db):
            nobody, command = daemon.nobody(db)
            out.note(f"{nobody}, so nothing ends; start one with `{command}`")


def _say_namesakes(client: Client, names: list[str], ids: list[str]) -> None:
    """A name stands for its newest job; older ones of the same name may go on, and cost."""
    for view in client.views([state.value for state in State if not state.final]):
        if view.name in names and view.id not in ids:
            out.note(f"{view.id}, which is also called {view.name!r}, is {view.state} and goes on")


def _spec(
    client: Client,
    command: list[str],
    env: list[str] | None,
    env_file: Path | None,
    secrets: list[str] | None,
    *,
    gpu: list[str] | None,
    cheapest: bool,
    output: list[str] | None,
    **options: str | None,
) -> Spec:
    given: dict[str, Any] = {option: value for option, value in options.items() if value is not None}
    if gpu:
        given["gpu"] = gpu
    if cheapest:
        given["cheapest"] = True
    if output:
        given["output"] = output
    if env or env_file is not None:
        given["env"] = {**(read_env_file(env_file) if env_file is not None else {}), **_env(env or [])}
    if secrets:
        given["secret"] = secrets
    spec = cast("JobSpec", {"command": command[0] if len(command) == 1 else command, **given})
    sources = {option: "--" + option.replace("_", "-") for option in (*options, *MANY)}
    return client.validate(spec, sources)


def _env(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidJob(f"--env takes KEY=VALUE, not {pair!r}.")
        found[name] = value
    return found


def _say_submitted(client: Client, spec: Spec, submitted: submissions.Submitted, trouble: str | None) -> None:
    job: Spec | JobView = spec
    if submitted.existed:
        out.note(f"the key {spec.key!r} belongs to job {submitted.id} already, which stays as it is")
        job = reads.show(client.database, submitted.id)
    out.note(
        f"job {submitted.id} · ceiling ${money.format_usd(job.max_cost)} ({job.max_cost_source}) · "
        f"max runtime {present.span(job.max_runtime)} ({job.max_runtime_source})"
        f"{_terms(job)}"
    )
    if trouble is not None:
        out.note(trouble)
    if not daemon.workers(client.database):
        nobody, command = daemon.nobody(client.database)
        out.note(f"{nobody}; the job waits until you start one with `{command}`")


def _terms(job: Spec | JobView) -> str:
    """What else a job was submitted on: where a folder's file gave it, nobody has typed it."""
    terms = (
        ("budget", job.budget),
        ("coupon", job.coupon),
        ("max price", None if job.max_price is None else f"${money.format_usd(job.max_price)} an hour"),
        ("idle timeout", None if job.idle_timeout is None else present.span(job.idle_timeout)),
        ("grace", None if job.grace == money.GRACE_SECONDS else present.span(job.grace)),
    )
    return "".join(f" · {what} {value}" for what, value in terms if value is not None)


def _wait(client: Client, ids: list[str], timeout: float | None) -> list[JobView]:
    db = client.database
    end = None if timeout is None else time.monotonic() + timeout
    patience = Patience(db, out.note)
    with db.answering_by(end), News(db, ids) as news:
        while True:
            with patience.bearing(end):
                views = reads.some(db, ids)
                left = 5.0 if end is None else end - time.monotonic()
                if all(view.final for view in views) or left <= 0:
                    return views
                patience.check()
                news.wait(min(5.0, left))


def _row(view: JobView, now: object) -> tuple[str, ...]:
    last = view.attempts[-1] if view.attempts else None
    state = present.state_text(view)
    if view.reason and view.reason != "exit_code":
        state = f"{state} ({view.reason})"
    if view.reason == "exit_code" and view.exit_code:
        state = f"{view.state} ({view.exit_code})"
    if last is not None and last.leak_suspected:
        state += " leak suspected"
    end = view.finished_at or now
    return (
        view.id,
        view.name or "",
        state,
        last.product if last is not None else present.products_text(view),
        present.span((end - view.submitted_at).total_seconds()),  # type: ignore[operator]
        f"${money.format_cost(view.cost)}",
        f"${money.format_usd(view.max_cost)}",
        _command(view),
    )


def _command(view: JobView) -> str:
    """The command: whole where a program reads it, its beginning where a person does."""
    text = present.command_text(view)
    if not out.is_terminal(sys.stdout):
        return text
    first, *more = text.strip().splitlines()
    return first if len(first) <= COMMAND_COLUMNS and not more else f"{first[: COMMAND_COLUMNS - 1]}…"
