"""The command ``runner``: which commands there are, and where each of them lives.

A command's module is imported when the command is used, so that ``runner --help``, ``--version`` and shell
completion are quick: they must never load the database, Celery, SSH, HTTP or the simulator.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from runner.cli import errors, output

if TYPE_CHECKING:
    from typer._click import Command, Context, HelpFormatter
    from typer._click.shell_completion import CompletionItem


@dataclass(frozen=True)
class Entry:
    """One command: ``attribute`` of ``module`` is its function, or a Typer of its own.

    ``rest``: everything from the first word that is no option belongs to the command that is given.
    """

    module: str
    attribute: str
    help: str
    rest: bool = False


COMMANDS: dict[str, Entry] = {
    "init": Entry("runner.cli.init", "init", "Store the account's API token."),
    "demo": Entry("runner.cli.demo", "demo", "The whole story on this computer, at no cost."),
    "run": Entry("runner.cli.jobs", "run", "Run a command on a rented GPU and follow its log.", rest=True),
    "submit": Entry("runner.cli.jobs", "submit", "Queue a job and print its id.", rest=True),
    "ssh": Entry("runner.cli.ssh", "ssh", "A shell, or a command, beside a job that runs."),
    "retry": Entry("runner.cli.jobs", "retry", "Run a job that is over once more."),
    "pull": Entry("runner.cli.files", "pull_outputs", "Write what a job brought back into a folder."),
    "ls": Entry("runner.cli.jobs", "ls", "List jobs."),
    "show": Entry("runner.cli.jobs", "show", "Show one job, its attempts and what it cost."),
    "receipt": Entry("runner.cli.receipts", "receipt", "Print what a job cost, and for what."),
    "logs": Entry("runner.cli.jobs", "logs", "Print a job's log."),
    "wait": Entry("runner.cli.jobs", "wait", "Wait until jobs are final."),
    "cancel": Entry("runner.cli.jobs", "cancel", "End jobs and their machines."),
    "up": Entry("runner.cli.service", "up", "Start the service that makes jobs happen."),
    "down": Entry("runner.cli.service", "down", "Stop the service."),
    "status": Entry("runner.cli.service", "status", "Show the service, the jobs and the machines."),
    "worker": Entry("runner.cli.worker", "worker", "Work for a shared database, as one of many."),
    "health": Entry("runner.cli.worker", "health", "Say whether the worker on this host lives."),
    "gpus": Entry("runner.cli.offers", "gpus", "List what can be rented, with prices and stock."),
    "images": Entry("runner.cli.offers", "images", "List the images that a machine can start from."),
    "instances": Entry("runner.cli.cloud", "instances", "List every machine on the account."),
    "restart": Entry("runner.cli.cloud", "restart", "Restart machines, named by UUID."),
    "terminate": Entry("runner.cli.cloud", "terminate", "End machines, named by UUID."),
    "reap": Entry("runner.cli.cloud", "reap", "End what is overdue in this fleet."),
    "coupon": Entry("runner.cli.offers", "coupon", "Show what a coupon gives, and for which products."),
    "account": Entry("runner.cli.account", "account", "Show token, recharge settings and spend."),
    "budget": Entry("runner.cli.budgets", "app", "Sums that many jobs share: set, list, remove."),
    "spend": Entry("runner.cli.spend", "spend", "Sum up what was spent."),
    "keys": Entry("runner.cli.keys", "app", "List, add and remove the account's SSH keys."),
    "db": Entry("runner.cli.database", "app", "Create or migrate the database."),
    "doctor": Entry("runner.cli.doctor", "doctor", "Check that everything is as it should be."),
    "sim": Entry("runner.cli.sim", "sim", "A simulated cloud, on this computer only."),
}
"""Every command, in the order in which help lists them."""


class _Single(TyperCommand):
    """A command whose options are given once each, but for those that collect their values.

    Else the last one would count, without a word: of two ceilings perhaps the one that was forgotten.
    """

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        try:
            return self._parse(ctx, args)
        except typer.TyperException as error:
            if getattr(error, "ctx", ctx) is None:  # of an option without its argument
                error.ctx = ctx  # type: ignore[attr-defined]
            raise

    def _parse(self, ctx: Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            values, _, given = self.make_parser(ctx).parse_args(list(args))
            words = len(values.get("command") or ())
            if words and not ctx.allow_interspersed_args and args[-words - 1 : -words] != ["--"]:
                # Else an option behind it, a ceiling perhaps, would be a word of the command.
                ctx.fail("The command stands behind `--`, after all options: runner run --gpu … -- COMMAND")
            for option in given:
                takes_one = isinstance(option, TyperOption) and not (option.multiple or option.is_flag)
                if takes_one and given.count(option) > 1:
                    ctx.fail(f"{option.opts[0]} may be given only once")
        return super().parse_args(ctx, args)


class _Lazy(TyperGroup):
    """The group of all commands; knows their names and imports only the one that is used."""

    _names_only = False
    """While names are completed: then no command is needed, only what the table says of it."""

    def list_commands(self, ctx: Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        return TyperCommand(cmd_name, help=entry.help) if self._names_only else _load(cmd_name, entry)

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])

    def shell_complete(self, ctx: Context, incomplete: str) -> list[CompletionItem]:
        self._names_only = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._names_only = False

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            ctx.fail(f"There is no command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Context) -> Any:
        # Typer has its own opinions about these two; ours is in one place.
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, OSError) as error:
            raise SystemExit(errors.report(error)) from None


app = typer.Typer(
    cls=_Lazy,
    name="runner",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Run a command on a rented GPU under a ceiling in dollars.",
    epilog="Nothing set up yet? `runner demo` shows it all on this computer, at no cost.",
)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        output.line(f"runner {version('gpu-job-runner')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run a command on a rented GPU under a ceiling in dollars."""


def main() -> NoReturn:
    """The entry point: never returns, never shows a traceback."""
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an old locale is no reason to fail
    try:
        code = _run()
    except BaseException as error:  # noqa: BLE001 - the last place that can say it in one sentence
        code = errors.report(error)
    sys.exit(errors.finish(code))


def _open_what_is_closed() -> None:
    """Stand-ins for streams that our parent closed: else the next file that is opened becomes one of them."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False, encoding="utf-8"))  # noqa: SIM115


def _run() -> int:
    command = typer.main.get_command(app)
    try:
        code = command.main(prog_name="runner", standalone_mode=False)
    except SystemExit as stop:
        code = stop.code
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
            return errors.USAGE
        return errors.report_usage(error.format_message(), context.command_path if context else None)
    except typer.Abort:
        return errors.INTERRUPTED
    return code if isinstance(code, int) else 0


def _load(name: str, entry: Entry) -> Command:
    found: Any = getattr(importlib.import_module(entry.module), entry.attribute)
    if isinstance(found, typer.Typer):
        return typer.main.get_command(_as_ours(found))
    single = _as_ours(typer.Typer())
    settings = {"allow_interspersed_args": False} if entry.rest else {}
    single.command(name, cls=_Single, help=_help(found), context_settings=settings)(found)
    return typer.main.get_command(single)


def _as_ours(group: typer.Typer) -> typer.Typer:
    group._add_completion = False
    group.rich_markup_mode = None
    group.pretty_exceptions_enable = False
    if group.registered_callback is not None and group.registered_callback.callback is not None:
        group.registered_callback.help = _help(group.registered_callback.callback)
    for info in group.registered_commands:
        info.cls = _Single if info.cls in (None, TyperCommand) else info.cls
        if info.callback is not None and info.help is None:
            info.help = _help(info.callback)
    return group


def _help(function: Callable[..., Any]) -> str:
    """The docstring; its examples keep their lines, so that they can be copied."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(f"\b\n{text}" if text.startswith("Example") else text for text in paragraphs)
