"""Making the account know our public key: one of the three ways in, and never the only one."""

from __future__ import annotations

import hashlib

from jobs.errors import ApiError, BadRequest, FieldRefused, NotFound
from workers.cloud.client import Cloud


def ensure_account_key(cloud: Cloud, public_line: str, name_hint: str) -> tuple[str, ...]:
    """The names under which the account knows our key; it is added where it is missing.

    Keys are compared by their text without the comment: a name that is taken is refused by the service also
    for the same key. Empty where the account has no key API. Raises ApiError.
    """
    wanted = _text(public_line)
    listed = cloud.list_keys()
    if listed is None:
        return ()
    names = tuple(key.name for key in listed if _text(key.public_key) == wanted)
    if names:
        return names[:1]
    # Names may hold letters, digits and spaces only; the hash keeps two installations apart.
    name = f"{name_hint} {hashlib.sha256(wanted.encode()).hexdigest()[:8]}"
    try:
        cloud.add_key(name, wanted)
    except NotFound:
        return ()
    except (BadRequest, FieldRefused) as error:
        return _after_refusal(cloud, wanted, error)
    return (name,)


def _after_refusal(cloud: Cloud, wanted: str, error: ApiError) -> tuple[str, ...]:
    """Somebody else may have added the key meanwhile; a name that is taken is then no trouble."""
    names = tuple(key.name for key in cloud.list_keys() or () if _text(key.public_key) == wanted)
    if not names:
        raise error
    return names[:1]


def _text(line: str) -> str:
    return " ".join(line.split()[:2])
