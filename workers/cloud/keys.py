"""Making the account know our public key: one of the three ways in, and never the only one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from jobs.errors import BadRequest, FieldRefused, NoAnswer, NotFound, ServerTrouble
from workers.cloud.client import DEADLINE_SECONDS, Cloud
from workers.cloud.shapes import SshKey

NAME_HINT = "gpu job runner"
"""What the account's pages show of a key that the runner added."""


def account_key_name(public_line: str, name_hint: str = NAME_HINT) -> str:
    """The name under which the runner adds this key.

    Names may hold letters, digits and spaces only; the hash keeps two installations apart.
    """
    hint = " ".join(re.sub(r"[^A-Za-z0-9]+", " ", name_hint).split())[:40]
    return f"{hint} {hashlib.sha256(key_text(public_line).encode()).hexdigest()[:8]}".strip()


def is_listed(key: SshKey, public_line: str, name: str) -> bool:
    """Whether *key* of the account is the one in *public_line*, which we would call *name*."""
    # A list that does not show the keys themselves: then the name holds the hash of ours.
    return key_text(key.public_key) == key_text(public_line) or (not key.public_key and key.name == name)


def key_text(line: str) -> str:
    """A public key as it is compared: its type and text, without the comment."""
    return " ".join(line.split()[:2])


def ensure_account_key(
    cloud: Cloud,
    public_line: str,
    name_hint: str,
    *,
    deadline_s: float = DEADLINE_SECONDS,
    adding: Callable[[str], None] = lambda name: None,
) -> tuple[str, ...]:
    """The names under which the account knows our key; it is added where it is missing.

    Keys are compared by their text without the comment: a name that is taken is refused by the service also
    for the same key. Empty where the account has no key API. *deadline_s* is for each of three calls at most.
    *adding* hears the name of a key that is about to be added. Raises ApiError.
    """
    wanted = key_text(public_line)
    name = account_key_name(public_line, name_hint)
    listed = cloud.list_keys(deadline_s=deadline_s)
    if listed is None:
        return ()
    names = _ours(listed, wanted, name)
    if names:
        return names
    adding(name)
    try:
        cloud.add_key(name, wanted, deadline_s=deadline_s)
    except NotFound:
        return ()
    except (BadRequest, FieldRefused, NoAnswer, ServerTrouble):
        # Somebody else may have added it meanwhile, or the answer was lost: the list knows.
        names = _ours(cloud.list_keys(deadline_s=deadline_s) or (), wanted, name)
        if not names:
            raise
        return names
    return (name,)


def _ours(listed: tuple[SshKey, ...], wanted: str, name: str) -> tuple[str, ...]:
    for key in listed:
        if is_listed(key, wanted, name):
            return (key.name,)
    return ()
