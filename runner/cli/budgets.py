"""`runner budget`: sums that many jobs share, and how they stand."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobs import money
from jobs.money import Micros, parse_usd
from jobs.spec import budget_name
from jobs.store import budgets
from jobs.store.budgets import Every, Standing
from runner import present
from runner.cli import output as out
from runner.cli.options import Json
from runner.client import Client

app = typer.Typer(no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The budget's name.")]


@app.callback()
def budget() -> None:
    """Sums that many jobs share: a job that names one waits until it can pay for all that the job may cost.

    Example: runner budget set team 200 --every month
    """


# What begins with a dash may be an amount: it is refused as such, and not as an option.
@app.command("set", context_settings={"ignore_unknown_options": True})
def set_(
    name: Name,
    usd: Annotated[str, typer.Argument(metavar="USD", help="How much, in US dollars.")],
    every: Annotated[
        Every | None, typer.Option("--every", help="Whole again as one begins, in UTC; else as it was.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a budget, or change one. What jobs have taken of it stays taken, and ends nothing.

    Example: runner budget set team 200 --every month
    """
    name, micros = budget_name(name, "NAME"), parse_usd(usd, "USD")
    with Client() as client:
        standing = budgets.put(client.database, name, micros, every)
    if json:
        out.print_json(_json(standing))
    else:
        out.line(_text(standing))


@app.command()
def ls(json: Json = False) -> None:
    """List budgets: what there is, what is spent, what is reserved.

    Example: runner budget ls
    """
    with Client() as client:
        standings = budgets.standings(client.database)
    if json:
        out.print_json([_json(standing) for standing in standings])
        return
    if not standings:
        out.note("There are no budgets; `runner budget set NAME USD` makes one.")
        return
    rows = [
        (
            standing.name,
            "never" if standing.every is Every.NEVER else f"each {standing.every}",
            *map(present.dollars, _sums(standing)),
            str(standing.waiting),
        )
        for standing in standings
    ]
    headers = ("budget", "whole again", "in all", "spent", "reserved", "left", "waiting")
    out.table(headers, rows, right=headers[2:])


@app.command()
def rm(name: Name) -> None:
    """Take a budget away. It is refused while jobs of it are not over.

    Example: runner budget rm team
    """
    with Client() as client:
        budgets.remove(client.database, budget_name(name, "NAME"))
    out.note(f"the budget {name!r} is gone")


def _sums(standing: Standing) -> tuple[Micros, Micros, Micros, Micros]:
    return standing.micros, standing.spent, standing.reserved, standing.left


def _text(standing: Standing) -> str:
    every = "" if standing.every is Every.NEVER else f" each {standing.every}"
    usd = [present.dollars(micros) for micros in _sums(standing)]
    waiting = f"; {present.count(standing.waiting, 'job')} waiting" if standing.waiting else ""
    return f"{standing.name}: {usd[0]}{every}, {usd[1]} spent, {usd[2]} reserved, {usd[3]} left{waiting}"


def _json(standing: Standing) -> dict[str, Any]:
    usd = [money.format_usd(micros) for micros in _sums(standing)]
    return {
        "name": standing.name,
        "every": None if standing.every is Every.NEVER else standing.every.value,
        "since": present.time_text(standing.since),
        **dict(zip(("budget_usd", "spent_usd", "reserved_usd", "left_usd"), usd, strict=True)),
        "waiting_jobs": standing.waiting,
    }
