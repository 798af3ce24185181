"""Folders of jobs on their way into the artifact store, and outputs out of it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from jobs.errors import DatabaseError, InvalidJob, InvalidSettings, UploadOver
from jobs.files import workdir
from jobs.files.pull import Progress
from jobs.files.store import Artifacts
from jobs.files.tree import Tree
from jobs.files.workdir import Place, Workdir
from jobs.settings import Settings
from jobs.spec import Packed, Spec
from jobs.store import agreement, uploads
from jobs.store.database import Database
from jobs.store.uploads import Upload
from jobs.views import AttemptView, JobView

UPLOADS = 3
"""How often a folder is packed at most, where what it found in the store was about to be removed."""

T = TypeVar("T")


def scan(spec: Spec, settings: Settings, what: str = "workdir") -> Workdir | None:
    """What of a job's folder would go; None where it has none. Raises InvalidJob."""
    if spec.folder is None:
        return None
    ours = [settings.home, settings.ssh_key]
    if "://" not in settings.artifacts:
        ours.append(Path(settings.artifacts))  # it would grow with each submit
    return workdir.scan(spec.folder, what, settings.max_workdir_bytes, ours)


def packed(
    specs: Sequence[Spec],
    settings: Settings,
    db: Database,
    sources: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> list[Spec]:
    """The same jobs with their folders in the artifact store; each folder is read once.

    Raises InvalidJob for a folder that cannot go, InvalidSettings where the workers would not find it, and
    ArtifactError.
    """
    if not any(spec.folder is not None or spec.workdir is not None or spec.outputs for spec in specs):
        return list(specs)
    check_store(settings, db)
    return _repeated(lambda: _Packing(settings, db, sources or {}, progress).all(specs))


def submitted(
    specs: Sequence[Spec], settings: Settings, db: Database, submit: Callable[[Sequence[Spec]], T]
) -> T:
    """What *submit* makes of jobs that are packed; they are packed anew where what was stored may be gone."""
    try:
        return submit(specs)
    except UploadOver:
        return _repeated(lambda: submit(packed(specs, settings, db)))


def _repeated(upload: Callable[[], T]) -> T:
    for _ in range(UPLOADS - 1):
        try:
            return upload()
        except UploadOver:
            continue  # it stood still for a day, or a sweep has come in between
    return upload()


class _Packing:
    """One upload, of as many folders as there are; written down when the first one is about to be stored."""

    def __init__(
        self, settings: Settings, db: Database, sources: Mapping[str, str], progress: Progress | None
    ) -> None:
        self._settings, self._db, self._progress = settings, db, progress
        self._what = sources.get("workdir", "workdir")
        self._store = Artifacts(settings.artifacts)
        self._upload: Upload | None = None
        self._next_sign = 0.0

    def all(self, specs: Sequence[Spec]) -> list[Spec]:
        done: dict[str, Packed] = {}
        found = []
        for spec in specs:
            if spec.folder is None and spec.workdir is not None:
                self._store.tree(spec.workdir.key)  # of an earlier job: before a machine is rented for it
            if spec.folder is not None and spec.folder not in done:
                done[spec.folder] = self._one(spec)
            found.append(
                spec if spec.folder is None else dataclasses.replace(spec, workdir=done[spec.folder])
            )
        return found

    def _one(self, spec: Spec) -> Packed:
        folder = scan(spec, self._settings, self._what)
        assert folder is not None
        total, done = folder.size, 0
        upload = self._begun()
        place = Place(upload.place, upload.condemned, f"again/{upload.begun.id}/")

        def more(size: int) -> None:
            nonlocal done
            done += size
            self._sign(upload)
            if self._progress is not None:
                self._progress(done, total)

        cache = self._settings.home / "cache" / "workdirs"
        key, tree = workdir.pack(folder, self._store, cache, self._what, more, place)
        return Packed(key, tree.files, tree.size, upload.begun)

    def _begun(self) -> Upload:
        if self._upload is None:
            self._upload = uploads.begin(self._db)
            self._next_sign = time.time() + uploads.SIGN_SECONDS
        return self._upload

    def _sign(self, upload: Upload) -> None:
        """Give a sign of life now and then, by a clock that goes on while the computer sleeps."""
        if time.time() >= self._next_sign:
            self._next_sign = time.time() + uploads.SIGN_SECONDS
            with suppress(DatabaseError):  # one sign less: whether the upload holds is seen at its end
                uploads.sign(self._db, upload.begun)


def check_store(settings: Settings, db: Database) -> None:
    """Raise InvalidSettings where what is stored here would not be found by those who need it."""
    if not settings.served_by_workers:
        from runner import daemon  # only who has files waits for what it brings

        daemon.check_same(settings, agreement.ARTIFACTS, "it would not find the files")
        return
    if settings.artifacts_url is None:
        raise InvalidSettings(
            "Files of jobs go through a store that workers and submitters share: set RUNNER_ARTIFACTS_URL to "
            "the same address everywhere, such as s3://bucket/prefix."
        )
    if agreement.differs(db, agreement.ARTIFACTS, [settings.artifacts_url]):
        raise InvalidSettings(
            "RUNNER_ARTIFACTS_URL is not that of the workers, so they would not find the files; set the same."
        )


def outputs(
    view: JobView, settings: Settings, number: int | None = None
) -> tuple[AttemptView, Artifacts, Tree]:
    """The outputs of a job: those of its last attempt that has any, or of attempt *number*.

    Raises InvalidJob where there are none, and ArtifactError.
    """
    having = [item for item in view.attempts if item.outputs is not None and number in (None, item.number)]
    if not having:
        raise NoOutputs(_why_none(view, number))
    last = having[-1]
    store = Artifacts(settings.artifacts)
    assert last.outputs is not None
    return last, store, store.tree(last.outputs).whole()


class NoOutputs(InvalidJob):
    """There is nothing to pull."""

    exit_code = 1


def _why_none(view: JobView, number: int | None) -> str:
    if not view.outputs:
        return f"Job {view.id} was submitted without --output, so nothing was brought back."
    if number is not None and number not in {item.number for item in view.attempts}:
        return f"Job {view.id} has no attempt {number}; `runner show {view.id}` lists them."
    which = f"attempt {number} of job {view.id}" if number is not None else f"job {view.id}"
    if not view.final:
        return f"Nothing of {which} is here yet; it is {view.state}."
    return f"Nothing of {which} was brought back: {view.detail or view.reason}."
