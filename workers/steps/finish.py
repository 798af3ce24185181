"""The end of machines: terminate what is doomed, many at a time, until nothing is left."""

from __future__ import annotations

import logging
from datetime import timedelta

from jobs.backoff import doubling
from jobs.errors import ApiError
from jobs.store import doom
from workers.steps.context import Context

log = logging.getLogger(__name__)

DEADLINE_SECONDS = 20.0


def terminate(ctx: Context) -> None:
    """Terminate every machine whose turn it is; what fails is tried again later, for ever."""
    while batch := doom.due(ctx.db):
        uuids = [item.uuid for item in batch]
        tries = max(item.tries for item in batch)
        try:
            done = ctx.cloud.terminate(uuids, deadline_s=DEADLINE_SECONDS)
        except ApiError as error:
            log.warning("terminate of %d machines failed, and will be repeated: %s", len(uuids), error)
            doom.refused(ctx.db, uuids, str(error), _pause(tries))
            break
        doom.accepted(ctx.db, [uuid for uuid in uuids if uuid in done])
        missing = [uuid for uuid in uuids if uuid not in done]
        if missing:
            doom.refused(ctx.db, missing, "the API did not acknowledge it", _pause(tries))
        log.info("terminated %s", ", ".join(item.name for item in batch if item.uuid in done) or "nothing")
    ctx.bells.observe()


def _pause(tries: int) -> timedelta:
    return timedelta(seconds=doubling(1.0, 60.0, tries))
