"""Asking the API from a command: with the person's token, and never for longer than 20 seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from jobs.errors import InvalidToken, NoAnswer, RunnerError
from jobs.settings import Settings
from workers.cloud.client import Cloud, LocalGate

if TYPE_CHECKING:
    from runner.client import Client

SECONDS = 20.0
"""What has no answer by then is given up."""


def time_left(seconds: float = SECONDS) -> Callable[[], float]:
    """For a command of several calls: what is left of *seconds* for the next one.

    What is returned raises NoAnswer once nothing is left.
    """
    end = time.monotonic() + seconds

    def left() -> float:
        found = end - time.monotonic()
        if found <= 0:
            raise NoAnswer(f"Massed Compute did not answer within {seconds:.0f} s; try again.")
        return found

    return left


def open_cloud(settings: Settings) -> Cloud:
    """The account, for a command that has no database. Raises InvalidToken where there is no token."""
    return Cloud(settings.api_url, settings.required_token(), gate=LocalGate())


def refresh_inventory(client: Client) -> bool:
    """Keep what the API lists now in the client's database; say why, and return False, where it cannot be.

    Raises InvalidToken where the token is refused.
    """
    from runner import inventory
    from runner.cli import output

    if client.settings.api_token is None:
        output.note("there is no API token, so the inventory is not asked for; `runner init` stores one")
        return False
    try:
        inventory.refresh(client.database, client.settings, SECONDS)
    except InvalidToken:
        raise
    except RunnerError as error:
        output.note(str(error))
        return False
    return True
