"""Ids, and the names of instances: the only tag that a rented machine can carry.

A name says whose machine it is and when it must be gone, so that ``runner reap`` needs nothing but the
token. What does not fit the grammar, to the letter, belongs to a stranger and is never touched.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
INSTALLATION_LENGTH = 6
ATTEMPT_LENGTH = 26
JOB_LENGTH = 12
NOTIFICATION_LENGTH = 26
LONGEST_NAME = 63

FLEET = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")
"""The grammar of a fleet's name; match it whole."""

# Only one spelling of each name is ours: no leading zero, so that text and value stand for each other.
# The fleet may hold dashes; the two parts behind it may not, so the split from the right is unique.
_NAME = re.compile(rf"rn-({FLEET.pattern})-([0-9a-z]{{{ATTEMPT_LENGTH}}})-([1-9a-z][0-9a-z]{{0,7}})")


def new_installation_id() -> str:
    """The id of a new database: 6 of ``[0-9a-z]``."""
    return _random(INSTALLATION_LENGTH)


def new_job_id() -> str:
    """12 of ``[0-9a-z]``, random from the first one on, so that short prefixes serve."""
    return _random(JOB_LENGTH)


def new_attempt_id(installation: str) -> str:
    """26 of ``[0-9a-z]``: the installation's id, then random. Raises ValueError for no such id."""
    if not re.fullmatch(rf"[0-9a-z]{{{INSTALLATION_LENGTH}}}", installation):
        raise ValueError(f"not the id of an installation: {installation!r}")
    return installation + _random(ATTEMPT_LENGTH - INSTALLATION_LENGTH)


def new_notification_id() -> str:
    """26 of ``[0-9a-z]``: unique wherever notifications of several databases arrive."""
    return _random(NOTIFICATION_LENGTH)


def installation_of(attempt_id: str) -> str:
    """The id of the installation that made *attempt_id*."""
    return attempt_id[:INSTALLATION_LENGTH]


@dataclass(frozen=True)
class InstanceName:
    """The parts of an instance's name. ``expires_at``: epoch seconds; raises ValueError for parts that
    make no name."""

    fleet: str
    attempt_id: str
    expires_at: int

    def __post_init__(self) -> None:
        if self.expires_at < 1 or not _NAME.fullmatch(str(self)):
            raise ValueError(
                f"these make no instance name: {self.fleet!r}, {self.attempt_id!r}, {self.expires_at}"
            )

    def __str__(self) -> str:
        return f"rn-{self.fleet}-{self.attempt_id}-{_base36(self.expires_at)}"

    @property
    def installation(self) -> str:
        """The id of the installation that the instance belongs to."""
        return installation_of(self.attempt_id)


def parse_instance_name(text: str | None) -> InstanceName | None:
    """Split a name from the right; None for whatever is not, whole, a name of ours. Never raises."""
    match = _NAME.fullmatch(text) if isinstance(text, str) and len(text) <= LONGEST_NAME else None
    if match is None:
        return None
    fleet, attempt_id, expiry = match.groups()
    return InstanceName(fleet, attempt_id, int(expiry, 36))


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _base36(number: int) -> str:
    digits = ""
    while number > 0:
        number, digit = divmod(number, 36)
        digits = ALPHABET[digit] + digits
    return digits
