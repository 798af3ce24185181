"""The commands about machines: instances, restart, terminate, reap. None of them needs a database."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from jobs.errors import ApiError, DatabaseError, InvalidJob, InvalidSettings, InvalidToken, Unsettled
from jobs.ids import InstanceName, parse_instance_name
from jobs.settings import Settings, load_settings
from runner import present
from runner.cli import output
from runner.cli.api import SECONDS, open_cloud
from runner.cli.errors import NotDone
from runner.cli.options import Json
from workers.cloud.client import BATCH, Cloud
from workers.cloud.shapes import Instance, Listing

Uuids = Annotated[list[str], typer.Argument(metavar="UUID…", help="As `runner instances` lists them.")]

_UUID = re.compile(r"[A-Za-z0-9_-]{1,100}")


def instances(json: Json = False) -> None:
    """List every machine on the account, ours and others, and when ours must be gone.

    Example: runner instances
    """
    settings = load_settings()
    with open_cloud(settings) as cloud:
        listing = cloud.list_instances(deadline_s=SECONDS)
    _say_incomplete(listing)
    if json:
        output.print_json([_instance_json(instance) for instance in listing.instances])
        return
    if not listing.instances:
        output.note("There are no machines on this account.")
        return
    rows = [
        (
            instance.uuid,
            instance.name or "-",
            instance.product or "-",
            instance.status or "-",
            instance.ip or "-",
            present.usd(instance.price_micros_per_hour) or "unknown",
            present.time_text(instance.created) or "-",
            _expiry(instance, listing.date),
        )
        for instance in listing.instances
    ]
    headers = ("uuid", "name", "product", "status", "address", "$/hour", "created", "expires")
    output.table(headers, rows, right=("$/hour",))


def restart(
    uuids: Uuids,
    force: Annotated[
        bool, typer.Option("--force", help="Also machines on which a job of this database runs.")
    ] = False,
    json: Json = False,
) -> None:
    """Restart machines. Their disks stay as they are; every process on them is killed.

    A job of the runner on such a machine ends as lost, so one is refused where a job of this database runs.

    Example: runner restart 8b52a46b-a892-4fde-925c-6d13226908f7
    """
    wanted = _checked(uuids)
    if len(wanted) > BATCH:
        raise InvalidJob(f"One restart takes {BATCH} machines at most.")
    settings = load_settings()
    with open_cloud(settings) as cloud:
        known, unknown = _look_up(cloud, wanted)
        over = [uuid for uuid in known if known[uuid].terminal]
        live = {found.uuid: found for found in known.values() if not found.terminal}
        jobs = _jobs_on(settings, list(live))
        if jobs and not force:
            busy = "; ".join(f"job {job} runs on {_called(live[uuid])}" for uuid, job in jobs.items())
            raise NotDone(
                f"Nothing was restarted: {busy}. A restart kills its processes and the job ends as lost: "
                "wait for it, cancel it, or use --force."
            )
        done = set(_restart(cloud, list(live))) if live else set()
    if json:
        output.print_json(
            [
                _instance_json(found) | {"restarted": uuid in done, "job": jobs.get(uuid)}
                for uuid, found in live.items()
            ]
        )
    else:
        for uuid in live:
            if uuid in done:
                output.line(f"restarted {_called(live[uuid])}")
    if done:
        output.note("the disk stays as it is; every process is killed, and a job of ours there ends as lost")
    for uuid, job in jobs.items():
        if uuid in done:
            output.note(f"job {job} ran on {_called(live[uuid])} and ends as lost")
    problems = _missing(unknown) + [f"{_called(known[uuid])} is terminated already" for uuid in over]
    problems += [
        f"Massed Compute did not confirm the restart of {uuid}; `runner instances` shows its status"
        for uuid in live
        if uuid not in done
    ]
    if problems:
        raise NotDone("; ".join(problems) + ".")


def terminate(uuids: Uuids) -> None:
    """End machines and all their data, at once and without asking; whoever they belong to.

    Example: runner terminate 8b52a46b-a892-4fde-925c-6d13226908f7
    """
    wanted = _checked(uuids)
    with open_cloud(load_settings()) as cloud:
        known, unknown = _look_up(cloud, wanted)
        ended = set(cloud.terminate(list(known), deadline_s=SECONDS)) if known else set()
    for uuid in known:
        if uuid in ended:
            output.line(f"terminated {_called(known[uuid])}")
    problems = _missing(unknown)
    problems += [
        f"Massed Compute did not confirm the end of {uuid}; try again" for uuid in known if uuid not in ended
    ]
    if problems:
        raise NotDone("; ".join(problems) + ".")


def reap(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be ended.")] = False,
    json: Json = False,
) -> None:
    """End the machines of this fleet that are past the expiry in their names.

    Needs the token and RUNNER_FLEET, and no database: run it from anywhere, as from a cron. Other fleets,
    and machines that the runner did not rent, are never touched. The time is the API's own.

    Example: runner reap --dry-run
    """
    settings = load_settings(anywhere=True, only=("api_token", "api_url", "fleet"))
    with open_cloud(settings) as cloud:
        listing = cloud.list_instances(deadline_s=SECONDS)
        overdue = _overdue(listing, settings.fleet)
        ended: set[str] = set()
        failure: ApiError | None = None
        if overdue and not dry_run:
            try:
                ended = set(cloud.terminate([instance.uuid for instance, _ in overdue], deadline_s=SECONDS))
            except InvalidToken:
                raise
            except ApiError as error:
                failure = error
    _say_incomplete(listing)
    if json:
        output.print_json(
            [
                _instance_json(instance)
                | {"overdue_seconds": _late(name, listing.date), "terminated": instance.uuid in ended}
                for instance, name in overdue
            ]
        )
    else:
        for instance, name in overdue:
            if dry_run or instance.uuid in ended:
                did = "would terminate" if dry_run else "terminated"
                late = present.span(_late(name, listing.date))
                output.line(f"{did} {instance.name} ({instance.uuid}), {late} past its expiry")
        if not overdue:
            output.note(f"nothing is overdue in the fleet {settings.fleet!r}")
    left = [instance.uuid for instance, _ in overdue if instance.uuid not in ended]
    if left and not dry_run:
        why = "" if failure is None else f" ({str(failure).rstrip('.')})"
        raise NotDone(
            f"Massed Compute did not confirm the end of {', '.join(left)}{why}; run `runner reap` again."
        )


def _checked(uuids: list[str]) -> list[str]:
    """The UUIDs that a person named, each once. Raises InvalidJob for what can be none."""
    for uuid in uuids:
        if not _UUID.fullmatch(uuid):
            raise InvalidJob(f"{uuid!r} is no UUID of a machine; `runner instances` lists them.")
    return list(dict.fromkeys(uuids))


def _look_up(cloud: Cloud, uuids: list[str]) -> tuple[dict[str, Instance], list[str]]:
    """The machines by uuid that are on the account, and those that are not.

    A listing may lag behind, so one that it leaves out is asked for by itself.
    """
    listed = {instance.uuid: instance for instance in cloud.list_instances(deadline_s=SECONDS).instances}
    known: dict[str, Instance] = {}
    unknown: list[str] = []
    for uuid in uuids:
        found = listed.get(uuid) or cloud.get_instance(uuid, deadline_s=SECONDS)
        if found is not None:
            known[uuid] = found
        else:
            unknown.append(uuid)
    return known, unknown


def _jobs_on(settings: Settings, uuids: list[str]) -> dict[str, str]:
    """The jobs of this database that run on these machines, by uuid.

    Where the database cannot be used, that is said and nothing stands in the way of who named the machines.
    """
    from jobs.store import reads
    from runner.cli.database import open_existing

    try:
        db = open_existing(settings)
        if db is None:
            return {}
        with closing(db):
            return reads.jobs_on(db, uuids)
    except (DatabaseError, InvalidSettings) as error:
        output.note(f"whether a job runs there is not known: {error}")
        return {}


def _restart(cloud: Cloud, uuids: list[str]) -> tuple[str, ...]:
    try:
        return cloud.restart(uuids, deadline_s=SECONDS)
    except Unsettled:
        output.note("the restart may have happened all the same; `runner instances` shows the status")
        raise


def _called(instance: Instance) -> str:
    return f"{instance.name or 'a machine without a name'} ({instance.uuid})"


def _missing(uuids: list[str]) -> list[str]:
    return [f"there is no machine {uuid} on this account" for uuid in uuids]


def _overdue(listing: Listing, fleet: str) -> list[tuple[Instance, InstanceName]]:
    """The machines of *fleet* whose names say that they should be gone by the API's own time."""
    now = listing.date.timestamp()
    found = []
    for instance in listing.instances:
        name = parse_instance_name(instance.name)
        if name is not None and name.fleet == fleet and name.expires_at < now and not instance.terminal:
            found.append((instance, name))
    return found


def _late(name: InstanceName, now: datetime) -> int:
    return max(0, int(now.timestamp()) - name.expires_at)


def _expiry(instance: Instance, now: datetime) -> str:
    name = parse_instance_name(instance.name)
    if name is None:
        return "-"
    text = present.time_text(_time(name)) or "-"
    return f"{text} (overdue)" if name.expires_at < now.timestamp() and not instance.terminal else text


def _time(name: InstanceName) -> datetime | None:
    try:
        return datetime.fromtimestamp(name.expires_at, UTC)
    except (OverflowError, ValueError, OSError):
        return None  # a year that nobody can write down


def _say_incomplete(listing: Listing) -> None:
    if not listing.complete:
        output.note("Massed Compute's list holds a machine that could not be read; there are more than these")


def _instance_json(instance: Instance) -> dict[str, Any]:
    name = parse_instance_name(instance.name)
    return {
        "uuid": instance.uuid,
        "name": instance.name,
        "status": instance.status,
        "ready": instance.ready,
        "product": instance.product,
        "price_usd_per_hour": present.usd(instance.price_micros_per_hour),
        "image": instance.image,
        "region": instance.region,
        "ip": instance.ip,
        "ssh_port": instance.ssh_port,
        "username": instance.username,
        "created_at": present.time_text(instance.created),
        "fleet": name.fleet if name is not None else None,
        "expires_at": present.time_text(_time(name)) if name is not None else None,
    }
