"""`runner sim`: the simulated cloud by itself."""

from __future__ import annotations

import json as json_
import math
from pathlib import Path
from typing import Annotated

import typer

from jobs.errors import InvalidJob


def _number(value: float) -> float:
    if math.isnan(value):  # no range keeps it out
        raise typer.BadParameter("it is not a number")
    return value


def sim(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 0,
    boot_seconds: Annotated[
        float,
        typer.Option(
            "--boot-seconds", min=0, max=86_400, callback=_number, help="How long machines take to boot."
        ),
    ] = 2.0,
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="DIR", help="Keep the machines' files here; else they are removed."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault", metavar="NAME=VALUE", help="Something to go wrong; repeatable, VALUE as in JSON."
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print address and token as one line of JSON.")
    ] = False,
) -> None:
    """Serve a simulated Massed Compute on this computer until Ctrl-C; nothing costs anything.

    Prints the two variables that point the other commands at it.

    Example: runner sim --boot-seconds 5 --fault out_of_stock=2
    """
    from runner.sim.main import serve

    faults = _faults(fault or [])
    try:
        serve(port=port, boot_seconds=boot_seconds, as_json=json, folder=folder, faults=faults)
    except ValueError as error:
        raise InvalidJob(f"--fault {error}") from None


def _faults(pairs: list[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidJob(f"--fault takes NAME=VALUE, such as out_of_stock=2, not {pair!r}.")
        try:
            found[name] = json_.loads(value)
        except ValueError:
            found[name] = value  # a plain word, such as hang
    return found
