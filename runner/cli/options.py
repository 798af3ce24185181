"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
NewAccount = Annotated[
    bool,
    typer.Option(
        "--new-account", help="The token is another account's: rented machines that it lacks are gone."
    ),
]
