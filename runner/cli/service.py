"""The commands about the embedded service: up, down, status."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Annotated, Any

import typer

from jobs.settings import Settings, load_settings
from jobs.states import FINAL
from jobs.store import doom, reads
from jobs.store.database import Database
from jobs.store.schema import open_database
from runner import daemon, present, serving
from runner.cli import logging, output
from runner.cli.errors import NotDone
from runner.cli.options import Json, NewAccount
from runner.follow import is_full


def up(
    detach: Annotated[bool, typer.Option("--detach", help="Start it in the background and return.")] = False,
    new_account: NewAccount = False,
    background: Annotated[bool, typer.Option("--background", hidden=True)] = False,
    idle_exit: Annotated[float | None, typer.Option("--idle-exit", hidden=True)] = None,
) -> None:
    """Serve this database: rent, follow and terminate, until Ctrl-C.

    One process, no broker to install. There is one service per database.

    Example: runner up --detach
    """
    settings = load_settings()
    daemon.check_settings(settings)
    running = daemon.find(settings)
    if running is not None and running.leaves and not background:
        if not new_account:
            with closing(open_database(settings.database_url)) as db:
                daemon.check_account(settings, db)
        # `run` or a program brought it, and it would end by itself: no job is disturbed.
        daemon.stop(settings)
        output.note(f"this service takes over from one that would leave when idle (pid {running.pid})")
        running = None
    if running is not None:
        raise NotDone(f"A service for this database is already running (pid {running.pid}).")
    if detach:
        running = daemon.start_in_background(settings, idle=False, new_account=new_account)
        output.note(
            f"the service runs in the background (pid {running.pid}); its log: {daemon.log_path(settings)}"
        )
        return
    logging.to_stderr(level_shown=background)
    daemon.serve(settings, background=background, idle_seconds=idle_exit, new_account=new_account)


def down(
    force: Annotated[
        bool, typer.Option("--force", help="Also while machines are rented; they stay rented.")
    ] = False,
) -> None:
    """Stop the service of this database. Refuses while machines are rented.

    Example: runner down
    """
    settings = load_settings()
    daemon.check_settings(settings)
    running = daemon.find(settings)
    db = open_database(settings.database_url)
    try:
        machines = serving.live_machines(db)
    finally:
        db.close()
    rented, them = ("is", "it") if len(machines) == 1 else ("are", "them")
    listed = "\n  ".join(machines)
    what = f"{present.count(len(machines), 'machine')} {rented} rented"
    if machines and running is None:
        raise NotDone(
            f"No service is running, and {what}, which nobody ends:\n  {listed}\n"
            f"`runner up` takes {them} over; `runner terminate UUID` ends one at once."
        )
    if machines and not force:
        raise NotDone(
            f"{what[0].upper()}{what[1:]}, and without a service nobody would end {them}:\n  {listed}\n"
            "Wait for their jobs, cancel them, or use --force to leave them to the next service."
        )
    pid = daemon.stop(settings)
    output.note(f"the service (pid {pid}) has ended" if pid else "no service is running")
    if machines:
        output.note(f"{what}, and nobody ends {them} now; `runner up` takes {them} over")


def status(
    json: Json = False,
) -> None:
    """Say whether a service is running, or which workers are, and which machines are rented.

    Example: runner status
    """
    settings = load_settings()
    db = open_database(settings.database_url)
    try:
        found = _status(settings, db)
    finally:
        db.close()
    if json:
        output.print_json(found)
        return
    running = found["service"]
    if settings.served_by_workers:
        _print_workers(found["workers"])
    elif running is None:
        print("service    not running; start it with `runner up`")
    else:
        where = "in the background" if running["background"] else "in a terminal"
        print(f"service    running {where}, pid {running['pid']}, for {present.span(running['seconds'])}")
        if not found["workers"] and running["seconds"] > daemon.START_SECONDS:
            print("trouble    it gives no sign of life; is it stopped, or does its disk hang?")
    if found["disk_full"]:
        print("trouble    the disk is full: no end of a job can be written down, and its machine is billed")
    for worker in found["workers"]:
        if worker["note"]:
            print(f"trouble    {output.clean(worker['note'])}")
    print(f"database   {output.clean(found['database'])}")
    counts = ", ".join(f"{count} {state}" for state, count in found["jobs"].items()) or "none"
    print(f"jobs       {counts}")
    print(f"machines   {len(found['machines'])}")
    for machine in found["machines"]:
        leak = " · leak suspected" if machine["leak_suspected"] else ""
        facts = f"{machine['product']} {machine['state']}, expires {machine['expires_at']}"
        print(f"  {output.clean(machine['name'])} {output.clean(facts)}{leak}")


def _print_workers(workers: list[dict[str, Any]]) -> None:
    if not workers:
        print("workers    none is alive; start one with `runner worker`")
    for worker in workers:
        leads = " · leads" if worker["leads"] else ""
        where = f"{worker['host']} pid {worker['pid']} · {worker['busy']} of {worker['seats']} seats"
        print(f"worker     {output.clean(where)}{leads} · version {output.clean(worker['version'])}")


def _status(settings: Settings, db: Database) -> dict[str, Any]:
    from jobs import meter

    running = daemon.find(settings)
    now = db.time()
    counts = reads.counts(db)
    return {
        "service": None
        if running is None
        else {
            "pid": running.pid,
            "background": running.background,
            "seconds": max(0.0, time.time() - running.started),
        },
        "workers": [
            {
                "id": worker.id,
                "host": worker.host,
                "pid": worker.pid,
                "version": worker.version,
                "seats": worker.seats,
                "busy": worker.busy,
                "leads": worker.leads,
                "started_at": present.time_text(worker.started_at),
                "heartbeat_at": present.time_text(worker.heartbeat_at),
                "note": worker.note,
            }
            for worker in daemon.workers(db)
        ],
        "disk_full": is_full(db),
        "database": str(db.path or db.shown_url),
        "jobs": {
            state.value: counts[state] for state in sorted(counts, key=lambda item: (item in FINAL, item))
        },
        "machines": [
            {
                "name": row.name,
                "uuid": row.uuid,
                "product": row.product,
                "state": row.state,
                "job": row.job_id,
                "expires_at": present.time_text(row.expires_at),
                "leak_suspected": meter.leak_suspected(row, now),
                "terminate_error": row.terminate_error,
            }
            for row in doom.instances(db)
        ],
    }
