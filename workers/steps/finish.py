"""The end of machines: terminate what is doomed, many at a time, until nothing is left."""

from __future__ import annotations

import logging

from jobs.errors import ApiError, DatabaseError
from jobs.store import doom
from workers.steps.context import Context

log = logging.getLogger(__name__)

DEADLINE_SECONDS = 20.0


def terminate(ctx: Context) -> None:
    """Terminate every machine whose turn it is; what fails is tried again later, for ever."""
    while batch := doom.due(ctx.db):
        uuids = [item.uuid for item in batch]
        try:
            done = ctx.cloud.terminate(uuids, deadline_s=DEADLINE_SECONDS)
        except ApiError as error:
            log.warning("terminate of %d machines failed, and will be repeated: %s", len(uuids), error)
            doom.refused(ctx.db, uuids, str(error))
            break
        except DatabaseError as error:  # before anything was sent
            doom.refused(ctx.db, uuids, str(error))
            raise
        doom.accepted(ctx.db, [uuid for uuid in uuids if uuid in done])
        missing = [uuid for uuid in uuids if uuid not in done]
        if missing:
            doom.refused(ctx.db, missing, "the API did not acknowledge it")
        log.info("terminated %s", ", ".join(item.name for item in batch if item.uuid in done) or "nothing")
    ctx.bells.observe()
