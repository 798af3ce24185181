"""Whose account it is. A machine that was rented with one token is not gone because another account lacks it.

The database remembers the address and a salted fingerprint of the token with which it was last served. Where
they have changed while machines are rented, the account must show at least one of them, or nothing is served:
every answer of "no such instance" would be taken for the end of a machine that is billed on elsewhere.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping

from jobs.errors import ApiError, InvalidToken, ServiceUnavailable
from jobs.store import doom, limits
from jobs.store.database import Database
from jobs.values import fingerprint
from workers.cloud.client import Cloud

FACT = "account"
MOST_QUESTIONS = 5
MOST_NAMES = 3


def check(db: Database, cloud: Cloud, url: str, token: str) -> None:
    """Raise ServiceUnavailable unless this is the account of before, or has one of the machines rented."""
    rented = _rented(db)
    if rented and not _known(db, url, token) and not _has_any(cloud, rented):
        shown = ", ".join(list(rented)[:MOST_NAMES])
        more = f" and {len(rented) - MOST_NAMES} more" if len(rented) > MOST_NAMES else ""
        raise ServiceUnavailable(
            f"The account of this token at {url} has none of the machines that this database has rented "
            f"({shown}{more}). Serve them with the token and the RUNNER_API_URL of before; if they are gone, "
            f"`{'runner up' if db.sqlite else 'runner worker'} --new-account` says so."
        )


def is_proved(db: Database, cloud: Cloud) -> bool:
    """Whether the account of this token has a machine that is rented.

    Raises InvalidToken, and ServiceUnavailable where that cannot be found out.
    """
    rented = _rented(db)
    return bool(rented) and _has_any(cloud, rented)


def remember(db: Database, url: str, token: str) -> None:
    """From now on this is the account."""
    salt = secrets.token_hex(16)
    limits.remember(db, FACT, {"url": url, "salt": salt, "token": fingerprint(token, salt)})


def _rented(db: Database) -> dict[str, str | None]:
    """The machines that are rented, or may be: their uuids by name, None for an open deploy."""
    return {row.name: row.uuid for row in doom.instances(db)}


def _known(db: Database, url: str, token: str) -> bool:
    kept = limits.recall(db, FACT)
    if kept is None:
        return False
    fact = kept[0]
    return bool(fact["url"] == url and hmac.compare_digest(fact["token"], fingerprint(token, fact["salt"])))


def _has_any(cloud: Cloud, rented: Mapping[str, str | None]) -> bool:
    uuids = [uuid for uuid in rented.values() if uuid is not None]
    try:
        listed = cloud.list_instances().instances
        if any(instance.uuid in uuids or instance.name in rented for instance in listed):
            return True
        # A listing may lag, or be empty once; an answer about one machine is about that machine.
        return any(cloud.get_instance(uuid) is not None for uuid in uuids[:MOST_QUESTIONS])
    except InvalidToken:
        raise
    except ApiError as error:
        raise ServiceUnavailable(
            "The token or RUNNER_API_URL is another than before, and whether this account has the machines "
            f"that are rented cannot be found out: {error}"
        ) from error
