"""Files at the command line: a folder on its way into the store, with a bar; `pull`, and its bar."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from jobs.errors import InvalidJob
from jobs.files.pull import Progress, pull
from jobs.files.workdir import Workdir
from jobs.spec import Spec
from jobs.store import reads
from jobs.values import size_text
from runner import folders, present
from runner.cli import output
from runner.cli.options import Job, Json
from runner.client import Client

WORKDIR = {"workdir": "--workdir"}
NAMED = 5


def packed(client: Client, spec: Spec) -> Spec:
    """The job with its folder in the artifact store; a bar on standard error while that takes a while."""
    if spec.folder is None:
        return folders.packed([spec], client.settings, client.database, WORKDIR)[0]
    with bar("packing") as progress:
        found = folders.packed([spec], client.settings, client.database, WORKDIR, progress)[0]
    if found.workdir is not None:
        files = present.count(found.workdir.files, "file")
        output.note(f"workdir {files}, {size_text(found.workdir.size)}")
    return found


def say_workdir(folder: Workdir) -> None:
    """What of a folder would go, one line each, on standard output."""
    links = [entry for entry in folder.others if entry[1] == "l"]
    names = [(name, size_text(facts.st_size)) for name, facts in folder.files]
    names += [(entry[0], output.clean(f"link to {entry[5]}")) for entry in links]
    print(f"workdir      {present.count(len(names), 'file')}, {size_text(folder.size)}")
    for name, what in sorted(names):
        print(f"  {what:>12}  {output.clean(name)}")


def pull_outputs(
    job: Job,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Where to; made where it is not there.")],
    attempt: Annotated[int | None, typer.Option("--attempt", min=1, help="Only this attempt's.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are newer here, too.")] = False,
    json: Json = False,
) -> None:
    """Write what a job has brought back (--output) into a folder.

    Example: runner pull my-training ./results
    """
    if not folder:
        raise InvalidJob("DIR is empty; name the folder to pull into, '.' for this one.")
    with Client() as client:
        view = reads.show(client.database, reads.find(client.database, job))
        last, store, tree = folders.outputs(view, client.settings, attempt)
        try:
            with bar("pulling") as progress:
                done = pull(store, tree, Path(folder), progress, force=force)
        except KeyboardInterrupt:
            output.note("interrupted; another pull goes on from what is there by now")
            raise
        state = last.outputs_state or {}
        if json:
            found = {
                "files": tree.files,
                "bytes": tree.size,
                "new_bytes": done.written,
                "attempt": last.number,
            }
            over = {"complete": bool(state.get("complete")), "note": state.get("note")}
            output.print_json({**found, "newer_here": list(done.newer), **over})
            return
        there = f"{present.count(tree.files, 'file')}, {size_text(tree.size)}"
        output.note(f"{there} of attempt {last.number} in {folder} ({size_text(done.written)} new)")
        if done.newer:
            names = ", ".join(repr(path) for path in done.newer[:NAMED])
            more = f" and {len(done.newer) - NAMED} more" if len(done.newer) > NAMED else ""
            output.note(f"newer here, and left as they are: {names}{more}; --force replaces them")
        if not state.get("over"):
            note = f"; {state['note']}" if state.get("note") else ""
            output.note(f"job {view.id}: {view.state}; this is what was synced last{note}")
        elif not state.get("complete"):
            output.note(f"not complete: {state.get('note')}")


@contextmanager
def bar(what: str) -> Iterator[Progress | None]:
    """A bar of bytes on standard error; None where that is no terminal."""
    if sys.stderr is None or not output.is_terminal(sys.stderr):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(what), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    with Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
