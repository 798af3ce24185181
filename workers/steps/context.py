"""What every step is given: the settings, the database, the cloud, and the bells to ring."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from jobs.files.store import Artifacts
from jobs.settings import Settings
from jobs.store.database import Database
from workers.cloud.client import Cloud
from workers.ssh.keys import KeyPair


class Bells(Protocol):
    """Doorbells: "look at this one". A lost ring costs time, a doubled one nothing."""

    def admit(self, job_id: str) -> None: ...

    def attend(self, attempt_id: str) -> None: ...

    def terminate(self) -> None: ...

    def notify(self) -> None: ...

    def observe(self) -> None: ...

    def drain(self, why: str) -> None:
        """Hand everything back and end: this worker may not go on."""


@dataclass
class Context:
    """One worker process. ``owner`` is its name in every lease it takes; no other process ever has it."""

    settings: Settings
    db: Database
    cloud: Cloud
    key: KeyPair
    owner: str
    bells: Bells
    stopping: threading.Event = field(default_factory=threading.Event)

    @cached_property
    def artifacts(self) -> Artifacts:
        """Where workdirs and outputs are kept. Raises InvalidSettings and ArtifactError."""
        return Artifacts(self.settings.artifacts)
