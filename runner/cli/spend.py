"""`runner spend`: what all jobs have cost, summed up."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Annotated

import typer

from jobs import money
from jobs.errors import InvalidJob
from jobs.store import spend as store
from jobs.store.spend import By, Line, Spend
from jobs.values import parse_duration
from runner import present
from runner.cli import output as out
from runner.cli.options import Json
from runner.client import Client

BAR_COLUMNS = 24
FIELDS = ("machines", "minutes", "cost_usd")


def spend(
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="DURATION", help="Only what fell due in the last 30d, say."),
    ] = None,
    by: Annotated[By, typer.Option("--by", help="What to sum up by; days are in UTC.")] = By.DAY,
    as_csv: Annotated[bool, typer.Option("--csv", help="Lines of comma-separated values.")] = False,
    json: Json = False,
) -> None:
    """Sum up what was spent, by the meter: the account itself tells no past charges.

    All is rounded once, up to a micro-dollar; each receipt is so by itself, and together they may be more.

    Example: runner spend --since 30d --by product
    """
    if as_csv and json:
        raise InvalidJob("--csv and --json are two forms of the same; give one of them.")
    seconds = None if since is None else parse_duration(since, "--since")
    with Client() as client:
        lines, total, begun = store.summed(
            client.database, by, None if seconds is None else timedelta(seconds=seconds)
        )
    if json:
        out.print_json(
            {
                "by": by.value,
                "since": present.time_text(begun),
                "lines": [{by.value: line.what, **_fields(line)} for line in lines],
                "cost_usd": money.format_usd(total.micros),
                "machines": total.machines,
                "unpriced_machines": total.unpriced,
                "estimated": total.estimated,
            }
        )
    elif as_csv:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([by.value, *FIELDS])
        writer.writerows([line.what or "", *_fields(line).values()] for line in lines)
        out.line(text.getvalue().removesuffix("\n"))
    else:
        _say(lines, total, by, since)


def _say(lines: list[Line], total: Spend, by: By, since: str | None) -> None:
    if not lines:
        out.note("Nothing was spent" + ("." if since is None else " in that time."))
        return
    most = max(line.micros for line in lines) or 1
    rows = [
        (
            line.what or "-",
            str(line.machines),
            str(line.minutes),
            present.dollars(line.micros),
            "█" * -(-line.micros * BAR_COLUMNS // most),
        )
        for line in lines
    ]
    out.table((by.value, "machines", "minutes", "cost", ""), rows, right=("machines", "minutes", "cost"))
    text = f"{present.dollars(total.micros)} in all"
    if total.estimated:
        text += "; in part estimated"
    if total.unpriced:
        text += f"; not in it: {present.count(total.unpriced, 'machine')} at an unknown price"
    out.line(f"\n{text}")


def _fields(line: Line) -> dict[str, int | str]:
    values = (line.machines, line.minutes, money.format_usd(line.micros))
    return dict(zip(FIELDS, values, strict=True))
