"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
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

Command = Annotated[list[str], typer.Argument(metavar="-- COMMAND…", show_default=False)]
Gpu = Annotated[
    list[str] | None,
    typer.Option("--gpu", metavar="PRODUCT", help="What to rent; repeated: else this. See `runner gpus`."),
]
Cheapest = Annotated[
    bool,
    typer.Option("--cheapest", help="The cheapest in stock, of the --gpu ones or else of all but spot ones."),
]
Name = Annotated[str | None, typer.Option("--name", help="A name by which to find the job again.")]
MaxCost = Annotated[
    str | None, typer.Option("--max-cost", metavar="USD", help="Ceiling of the whole job in US dollars.")
]
MaxRuntime = Annotated[
    str | None, typer.Option("--max-runtime", metavar="DURATION", help="Such as 90s, 45m, 2h, 1d.")
]
MaxPrice = Annotated[
    str | None,
    typer.Option("--max-price", metavar="USD", help="Wait while it costs more US dollars an hour."),
]
Coupon = Annotated[
    str | None, typer.Option("--coupon", metavar="CODE", help="Rent only at its price; see `runner coupon`.")
]
Budget = Annotated[
    str | None, typer.Option("--budget", metavar="NAME", help="Who pays; see `runner budget ls`.")
]
Grace = Annotated[
    str | None,
    typer.Option("--grace", metavar="DURATION", help="How long it may take to end once it is told to; 30s."),
]
IdleTimeout = Annotated[
    str | None,
    typer.Option("--idle-timeout", metavar="DURATION", help="End it where GPUs and log do nothing so long."),
]
Image = Annotated[str | None, typer.Option("--image", help="Image, by name or id; see `runner images`.")]
Env = Annotated[list[str] | None, typer.Option("--env", metavar="KEY=VALUE", help="Repeatable.")]
Secrets = Annotated[
    list[str] | None,
    typer.Option(
        "--secret",
        metavar="KEY[=ENV_VAR]",
        help="Repeatable; the value is that of your variable ENV_VAR, else KEY.",
    ),
]
EnvFile = Annotated[Path | None, typer.Option("--env-file", metavar="FILE", help="Lines of KEY=VALUE.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be rented; rent nothing.")]
Retries = Annotated[
    str | None,
    typer.Option("--retries", metavar="N", help="How often to try again once the command was started."),
]
RetryOn = Annotated[
    str | None,
    typer.Option("--retry-on", metavar="REASON,…", help="Try again for these: lost, exit_code (both)."),
]
Workdir = Annotated[
    str | None,
    typer.Option("--workdir", metavar="DIR", help="A folder to take along; the command starts in it."),
]
Setup = Annotated[
    str | None, typer.Option("--setup", metavar="COMMAND", help="Runs before the command, in its folder.")
]
Output = Annotated[
    list[str] | None,
    typer.Option("--output", metavar="GLOB", help="Files to bring back; repeatable. ** crosses folders."),
]
SyncEvery = Annotated[
    str | None,
    typer.Option("--sync-every", metavar="DURATION", help="Bring outputs back while it runs, so often."),
]
Key = Annotated[
    str | None, typer.Option("--key", help="The same key again returns the job that has it already.")
]
Jobs = Annotated[list[str], typer.Argument(metavar="JOB…", help="Ids, names, or beginnings of ids.")]
