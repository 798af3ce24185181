"""The commands for a production installation: worker, health."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from jobs.errors import RunnerError
from jobs.settings import load_settings
from jobs.store.schema import open_database
from runner import worker as production
from runner.cli import logging, output
from runner.cli.logging import LogFormat
from runner.cli.options import NewAccount


def worker(
    seats: Annotated[
        int | None,
        typer.Option(
            "--seats", min=1, max=10_000, help="Jobs to attend to at once; as many as may be rented."
        ),
    ] = None,
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", help="How to write what it does, on standard error.")
    ] = LogFormat.TEXT,
    new_account: NewAccount = False,
) -> None:
    """Work for a shared database and broker: one of as many workers as wanted.

    SIGTERM hands everything back: no job is disturbed, another worker goes on.

    Example: runner worker --seats 50 --log-format json
    """
    settings = load_settings()
    production.check_settings(settings)
    logging.to_stderr(log_format, level_shown=True)
    try:
        production.work(settings, seats=seats, new_account=new_account)
    except RunnerError as error:  # in the form of everything else that it says
        logging.say(str(error))
        raise SystemExit(error.exit_code) from None


def health() -> None:
    """Say whether the worker on this host lives; exit with 3 where it gives no sign of life.

    For the health check of a container.

    Example: runner health
    """
    with closing(open_database(load_settings().database_url)) as db:
        output.line(production.health(db))
