"""Making the account know our public key: one of the three ways in, and never the only one."""

from __future__ import annotations

import hashlib
import re

from jobs.errors import BadRequest, FieldRefused, NoAnswer, NotFound, ServerTrouble
from workers.cloud.client import DEADLINE_SECONDS, Cloud
from workers.cloud.shapes import SshKey


def ensure_account_key(
    cloud: Cloud, public_line: str, name_hint: str, *, deadline_s: float = DEADLINE_SECONDS
) -> tuple[str, ...]:
    """The names under which the account knows our key; it is added where it is missing.

    Keys are compared by their text without the comment: a name that is taken is refused by the service also
    for the same key. Empty where the account has no key API. *deadline_s* is for each of three calls at most.
    Raises ApiError.
    """
    wanted = _key(public_line)
    # Names may hold letters, digits and spaces only; the hash keeps two installations apart.
    hint = " ".join(re.sub(r"[^A-Za-z0-9]+", " ", name_hint).split())[:40]
    name = f"{hint} {hashlib.sha256(wanted.encode()).hexdigest()[:8]}".strip()
    listed = cloud.list_keys(deadline_s=deadline_s)
    if listed is None:
        return ()
    names = _ours(listed, wanted, name)
    if names:
        return names
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
        # A list that does not show the keys themselves: then the name holds the hash of ours.
        if _key(key.public_key) == wanted or (not key.public_key and key.name == name):
            return (key.name,)
    return ()


def _key(line: str) -> str:
    return " ".join(line.split()[:2])
