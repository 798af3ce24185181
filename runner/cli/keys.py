"""`runner keys`: the account's SSH keys, and which of them is the one that reaches our machines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.errors import BadRequest, InvalidJob, InvalidSettings, Unsettled
from jobs.ids import parse_instance_name
from jobs.settings import Settings, load_settings
from jobs.values import shown
from runner.cli import output
from runner.cli.api import open_cloud, time_left
from runner.cli.errors import NotDone
from runner.cli.options import Json
from workers.cloud.client import KEY_NAME, Cloud
from workers.cloud.keys import NAME_HINT, account_key_name, is_listed, key_text
from workers.cloud.shapes import SshKey

app = typer.Typer()


@app.callback(invoke_without_command=True)
def keys(ctx: typer.Context, json: Json = False) -> None:
    """The account's SSH keys: list them, add one, remove one. Without a command: list them.

    The runner adds the key that RUNNER_SSH_KEY names by itself, and marks it here.

    Example: runner keys
    """
    if ctx.invoked_subcommand is None:
        ls(json)
    elif json:
        ctx.fail("--json stands behind the command: runner keys ls --json")


@app.command()
def ls(json: Json = False) -> None:
    """List the account's keys.

    Example: runner keys ls
    """
    settings = load_settings()
    left = time_left()
    with open_cloud(settings) as cloud:
        listed = _listed(cloud, left)
    try:
        ours = _public_line(settings)
    except InvalidSettings as error:
        output.note(f"which of them is this runner's is not known: {error}")
        found = [_key_json(key, None) for key in listed]
    else:
        found = [_key_json(key, _is_ours(key, ours)) for key in listed]
    if json:
        output.print_json(found)
        return
    if not found:
        output.note("There are no SSH keys on this account.")
        return
    rows = [
        (item["id"], item["name"], item["type"] or "-", item["fingerprint"] or "-", _mark(item["ours"]))
        for item in found
    ]
    output.table(("id", "name", "type", "fingerprint", "whose"), rows)


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits and spaces.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="With a public key, such as id_ed25519.pub.")],
    json: Json = False,
) -> None:
    """Add a public key, so that whoever has its private half can log in to machines that name it.

    Example: runner keys add "my laptop" ~/.ssh/id_ed25519.pub
    """
    from workers.ssh.keys import read_public_key

    if not KEY_NAME.fullmatch(name) or name != name.strip():
        raise InvalidJob(
            "The name of a key must be 1 to 64 letters, digits and spaces, without a space at its ends, "
            f"not {shown(name)}."
        )
    public_line = read_public_key(file)
    settings = load_settings()
    left = time_left()
    with open_cloud(settings) as cloud:
        _check_new(_listed(cloud, left), name, public_line)
        try:
            key_id = cloud.add_key(name, public_line, deadline_s=left())
        except BadRequest:
            _check_new(_listed(cloud, left), name, public_line)  # somebody may have been quicker
            raise
        except Unsettled:
            key_id = None
            if not any(_has(key, name, public_line) for key in _listed(cloud, left)):
                raise
        if key_id is None:
            key_id = next((key.id for key in _listed(cloud, left) if _has(key, name, public_line)), None)
    if json:
        output.print_json({"id": key_id, "name": name, "public_key": public_line})
    else:
        output.line(f"added {name}" + (f" ({key_id})" if key_id is not None else ""))


@app.command()
def rm(
    key: Annotated[str, typer.Argument(metavar="NAME-or-ID", help="As `runner keys` lists them.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also this runner's key while machines of its fleet live.")
    ] = False,
    json: Json = False,
) -> None:
    """Remove a key from the account. Machines that are rented keep the keys that they have.

    This runner's own key is refused while machines of its fleet live.

    Example: runner keys rm "my laptop"
    """
    settings = load_settings()
    left = time_left()
    with open_cloud(settings) as cloud:
        found = _find(_listed(cloud, left), key)
        if not force and _may_be_ours(found, _public_line(settings)):
            _refuse_while_used(cloud, settings, found, left)
        cloud.remove_key(found.id, deadline_s=left())
    if json:
        output.print_json({"id": found.id, "name": found.name, "public_key": found.public_key or None})
    else:
        output.line(f"removed {found.name} ({found.id})")


def _listed(cloud: Cloud, left: Callable[[], float]) -> tuple[SshKey, ...]:
    listed = cloud.list_keys(deadline_s=left())
    if listed is None:
        raise NotDone(
            "Massed Compute keeps no SSH keys for this account (404); none is needed: the runner's own key "
            "is brought to each machine by its startup command."
        )
    return listed


def _find(listed: tuple[SshKey, ...], wanted: str) -> SshKey:
    """The key with this id, else the one with this name. Raises NotDone; InvalidJob where there are two."""
    found = [key for key in listed if key.id == wanted] or [key for key in listed if key.name == wanted]
    if not found:
        raise NotDone(
            f"There is no key {wanted!r} on this account; `runner keys` lists those that there are."
        )
    if len(found) > 1:
        ids = ", ".join(key.id for key in found)
        raise InvalidJob(f"Several keys are called {wanted!r}; name one by its id: {ids}.")
    return found[0]


def _check_new(listed: tuple[SshKey, ...], name: str, public_line: str) -> None:
    """Raise NotDone where the name is taken, or the key is there already."""
    for key in listed:
        if key_text(key.public_key) == public_line:
            raise NotDone(f"This key is on the account already, as {key.name!r} ({key.id}).")
    for key in listed:
        if key.name == name:
            raise NotDone(f"The name {name!r} is taken by another key ({key.id}); choose another one.")


def _has(key: SshKey, name: str, public_line: str) -> bool:
    return key.name == name and key_text(key.public_key) in (public_line, "")


def _refuse_while_used(cloud: Cloud, settings: Settings, key: SshKey, left: Callable[[], float]) -> None:
    listing = cloud.list_instances(deadline_s=left())
    names = [parse_instance_name(machine.name) for machine in listing.instances if not machine.terminal]
    live = [str(name) for name in names if name is not None and name.fleet == settings.fleet]
    if live or not listing.complete:
        what = ", ".join(live) or "perhaps one that Massed Compute's list shows only in part"
        raise NotDone(
            f"{key.name!r} is a runner's own key, and machines of the fleet {settings.fleet!r} live "
            f"({what}); wait for their end, or use --force."
        )


def _public_line(settings: Settings) -> str | None:
    """The public half of RUNNER_SSH_KEY; None where none was made yet. Raises InvalidSettings."""
    from workers.ssh.keys import existing_key

    pair = existing_key(settings.ssh_key)
    return None if pair is None else pair.public_line


def _is_ours(key: SshKey, public_line: str | None) -> bool:
    return public_line is not None and is_listed(key, public_line, account_key_name(public_line))


def _may_be_ours(key: SshKey, public_line: str | None) -> bool:
    """Where none is here, as on a submitter's computer, one that any runner added may be the workers'."""
    if public_line is None:
        return key.name.startswith(f"{NAME_HINT} ")
    return _is_ours(key, public_line)


def _key_json(key: SshKey, ours: bool | None) -> dict[str, Any]:
    from workers.ssh.errors import fingerprint

    text = key_text(key.public_key)
    try:
        print_ = fingerprint(text)
    except (ValueError, IndexError):  # the service shows no key, or something else in its place
        print_ = None
    return {
        "id": key.id,
        "name": key.name,
        "type": text.partition(" ")[0] or None,
        "fingerprint": print_,
        "public_key": key.public_key or None,
        "ours": ours,
    }


def _mark(ours: bool | None) -> str:
    return {True: "this runner's", False: "-", None: "unknown"}[ours]
