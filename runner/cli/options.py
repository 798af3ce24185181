"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Job = Annotated[str, typer.Argument(metavar="JOB", help="An id, a name, or the beginning of an id.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
NewAccount = Annotated[
    bool,
    typer.Option(
        "--new-account", help="The token is another account's: rented machines that it lacks are gone."
    ),
]
