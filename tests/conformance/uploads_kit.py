"""An artifact store with a folder to put there, and the sweep after it: for the suites of uploads."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from sqlalchemy import select

from jobs.errors import ArtifactMissing
from jobs.files import workdir
from jobs.files.store import Artifacts
from jobs.files.workdir import Place
from jobs.models import Effect, Job
from jobs.spec import Packed
from jobs.store import submissions, uploads
from jobs.store.uploads import Upload
from tests.conformance.store_kit import World, spec
from workers.steps.context import Context
from workers.steps.sweep import sweep

LONG = timedelta(days=2)


@dataclass
class Store:
    """An artifact store with a folder to put there, and the sweep after it."""

    world: World
    folder: Path
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.artifacts = Artifacts(str(self.folder / "store"))
        self.work = self.folder / "work"
        self.work.mkdir()
        (self.work / "data").write_bytes(b"data" * 1000)
        (self.work / "large").write_bytes(os.urandom(workdir.ALONE_BYTES))

    def pack(self, upload: Upload, who: str = "one") -> Packed:
        """Store the folder; *who* remembers what it stored before."""
        found = workdir.scan(self.work, "--workdir", 1 << 30)
        place = Place(upload.place, upload.condemned, f"again/{upload.begun.id}/")
        key, tree = workdir.pack(found, self.artifacts, self.folder / who, "--workdir", None, place)
        self.age()
        return Packed(key, tree.files, tree.size, upload.begun)

    def upload(self) -> Packed:
        """A whole one, whose jobs are not there yet."""
        return self.pack(uploads.begin(self.world.db))

    def submit(self, packed: Packed) -> str:
        return submissions.submit(self.world.db, [spec(workdir=packed)])[0].id

    def age(self) -> None:
        """What was written is as old as the world's time, not as this computer's, says."""
        now = self.world.clock.now.timestamp()
        for path in self.paths():
            if path.stat().st_mtime > now:
                os.utime(path, (now, now))

    def paths(self) -> list[Path]:
        return sorted(path for path in (self.folder / "store").rglob("*") if path.is_file())

    def later(self, age: timedelta = LONG) -> None:
        self.world.clock.advance(age.total_seconds())

    def sweep(self) -> None:
        self.world.heartbeat()
        sweep(self.ctx, self.world.lead)

    @property
    def ctx(self) -> Context:
        world = SimpleNamespace(db=self.world.db, artifacts=self.artifacts, stopping=self.stopping)
        return cast("Context", world)

    def is_whole(self, key: str) -> bool:
        """Whether a tree and all its pieces are there."""
        try:
            return all(self.artifacts.piece(piece) for piece in self.artifacts.tree(key).pieces)
        except ArtifactMissing:
            return False

    def rows(self, kind: str) -> list[Effect]:
        with self.world.db.read() as session:
            return list(
                session.execute(select(Effect).where(Effect.kind == kind).order_by(Effect.id)).scalars()
            )


def workdir_of(store: Store, job_id: str) -> str:
    """The key of the tree that a job names."""
    with store.world.db.read() as session:
        return session.execute(select(Job.workdir).where(Job.id == job_id)).scalar_one() or ""
