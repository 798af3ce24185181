"""A sweep, and an upload that uses what it finds: whoever stands still, and wherever."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from jobs.errors import ArtifactMissing, UploadOver
from jobs.files.store import Artifacts
from jobs.spec import Begun, Packed
from jobs.store import effects, submissions, uploads
from jobs.store.effects import REMOVAL, UPLOAD
from jobs.store.uploads import Upload
from tests.conformance.uploads_kit import LONG, Store, workdir_of
from workers.steps import sweep as sweeping


def _begun_before(store: Store) -> Packed:
    """An upload that has found what a dead one left, which then is removed."""
    store.upload()
    store.later(timedelta(hours=25))
    upload = uploads.begin(store.world.db)
    packed = store.pack(upload, "another")
    store.later(timedelta(hours=2))
    store.sweep()
    return packed


def test_one_that_began_before_is_refused_and_done_again(store: Store) -> None:
    packed = _begun_before(store)
    assert not store.is_whole(packed.key)
    with pytest.raises(UploadOver):
        store.submit(packed)
    again = store.upload()
    names = [piece.key for piece in store.artifacts.tree(again.key).pieces]
    assert all("/again/" in name for name in names), "under names that nobody removes any more"
    assert store.is_whole(workdir_of(store, store.submit(again)))
    before = store.paths()
    store.later()
    store.sweep()
    assert store.paths() == before, "the upload that was refused has left nothing else"


def test_the_damage_were_it_not_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def trusting(session: Session, now: datetime, these: Collection[Begun]) -> None:
        effects.settle(session, now, [upload.id for upload in these], "named")

    monkeypatch.setattr(uploads, "settle", trusting)
    assert not store.is_whole(workdir_of(store, store.submit(_begun_before(store))))


def _begun_between(store: Store, monkeypatch: pytest.MonkeyPatch) -> Packed:
    """An upload that begins when something is condemned, and is done before that is removed."""
    store.upload()
    store.later()
    with monkeypatch.context() as patch:
        patch.setattr(sweeping, "_remove", lambda *_: None)
        store.sweep()
    packed = store.pack(uploads.begin(store.world.db), "another")
    store.sweep()
    return packed


def test_one_that_begins_later_uses_nothing_that_is_condemned(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = _begun_between(store, monkeypatch)
    assert store.is_whole(workdir_of(store, store.submit(packed)))
    assert len(store.paths()) == 3


def test_the_damage_did_it_use_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = uploads.begin

    def ignorant(db: Any) -> Upload:
        upload = begin(db)
        return Upload(upload.begun, upload.place)

    monkeypatch.setattr(uploads, "begin", ignorant)
    packed = _begun_between(store, monkeypatch)
    assert not store.is_whole(workdir_of(store, store.submit(packed)))


def test_a_job_that_comes_while_it_looks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody named when it began to look is named now: nothing is condemned, and it looks again."""
    store.upload()
    store.later(timedelta(hours=25))
    packed = store.pack(uploads.begin(store.world.db), "another")
    store.later(timedelta(hours=2))
    listed, job_ids = Artifacts.listed, []

    def meanwhile(self: Artifacts, prefix: str) -> Iterator[tuple[str, datetime | None]]:
        yield from listed(self, prefix)
        if not job_ids:
            job_ids.append(store.submit(packed))

    monkeypatch.setattr(Artifacts, "listed", meanwhile)
    for _ in range(2):
        store.sweep()
    assert store.is_whole(workdir_of(store, job_ids[0]))
    assert [row.outcome for row in store.rows(UPLOAD)] == ["swept", "named"]


def test_one_who_stands_still_for_days_and_then_removes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A former leader that was about to remove what is condemned, and goes on when all is stored anew."""
    store.upload()
    store.later()
    keys: list[str] = []
    remove_one = Artifacts.remove_one
    with monkeypatch.context() as patch:
        patch.setattr(Artifacts, "remove_one", lambda _, key: (keys.append(key), remove_one(_, key)))
        store.sweep()
    job_id = store.submit(store.upload())
    assert len(keys) == 3
    for key in keys:
        store.artifacts.remove_one(key)
    assert store.is_whole(workdir_of(store, job_id))


def test_what_an_open_upload_has_to_know_is_not_forgotten(store: Store) -> None:
    store.upload()
    store.later(timedelta(hours=25))
    store.pack(uploads.begin(store.world.db), "another")  # it will be dead itself, one day
    store.later(timedelta(hours=2))
    store.sweep()
    store.later(effects.KEEP + LONG)
    store.world.heartbeat()
    assert effects.purge(store.world.db, store.world.lead) == 1, "the upload"
    store.sweep()
    store.later(effects.KEEP + LONG)
    store.world.heartbeat()
    effects.purge(store.world.db, store.world.lead)
    assert store.rows(UPLOAD) + store.rows(REMOVAL) == []


@pytest.mark.parametrize("seed", range(4))
def test_no_order_of_steps_hurts_a_job(store: Store, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _damaged(store, seed, monkeypatch)


def test_some_order_would_without_the_rule(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def trusting(session: Session, now: datetime, these: Collection[Begun]) -> None:
        effects.settle(session, now, [upload.id for upload in these], "named")

    monkeypatch.setattr(uploads, "settle", trusting)
    assert any(_damaged(store, seed, monkeypatch) for seed in range(8))


def _damaged(store: Store, seed: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs whose folders are not whole, after uploads and sweeps in an order that *seed* decides.

    Each of them has several steps, between which the others go on; some die; hours pass.
    """
    dice = random.Random(seed)
    job_ids: list[str] = []
    monkeypatch.setattr(sweeping, "_remove", lambda *_: None)

    def uploading() -> Iterator[None]:
        (store.work / "data").write_bytes(bytes([dice.randrange(2)]) * 1000)
        (store.work / "large").write_bytes(bytes([dice.randrange(2)]) * 1000)
        for _ in range(3):
            upload = uploads.begin(store.world.db)
            yield
            packed = store.pack(upload, str(upload.begun.id))
            yield
            try:
                job_ids.append(store.submit(packed))
                return
            except UploadOver:
                continue

    def removing() -> Iterator[None]:
        batch = uploads.condemned(store.world.db)
        for _, key in batch:
            yield
            store.artifacts.remove_one(key)
        store.world.heartbeat()
        uploads.removed(store.world.db, store.world.lead, [row_id for row_id, _ in batch])

    def swept() -> Iterator[None]:
        yield
        with suppress(ArtifactMissing):  # which is the damage
            store.sweep()

    going: list[Iterator[None]] = []
    for _ in range(100):
        if len(going) < 4:
            going.append(dice.choice((uploading, uploading, removing, swept))())
        at = dice.randrange(len(going))
        if next(going[at], going) is going or dice.random() < 0.05:
            del going[at]  # it is done; or it dies
        store.later(timedelta(hours=dice.choice((0, 0, 1, 9))))
    return [job_id for job_id in job_ids if not store.is_whole(workdir_of(store, job_id))]


@pytest.mark.parametrize("over", [False, True])
def test_a_tree_that_was_not_there_and_comes_while_it_looks(
    store: Store, monkeypatch: pytest.MonkeyPatch, over: bool
) -> None:
    """That of a final job. An upload of the same folder stores it again, over the pieces that it finds."""
    submissions.request_cancel(store.world.db, store.submit(store.upload()))
    next(path for path in store.paths() if "trees" in path.parts).unlink()
    uploads.begin(store.world.db)
    store.later()
    upload = uploads.begin(store.world.db)
    listed, job_ids = Artifacts.listed, []

    def meanwhile(self: Artifacts, prefix: str) -> Iterator[tuple[str, datetime | None]]:
        yield from list(listed(self, prefix))
        if not job_ids:
            job_ids.append(store.submit(store.pack(upload, "another")))
            if over:  # already; it may be run again
                submissions.request_cancel(store.world.db, job_ids[0])

    monkeypatch.setattr(Artifacts, "listed", meanwhile)
    for _ in range(2):
        store.sweep()
    assert store.is_whole(workdir_of(store, job_ids[0]))
    assert store.rows(REMOVAL) == []


def test_a_tree_that_was_not_there_and_is_listed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that denies one object for a moment, however it is asked for it."""
    job_id = store.submit(store.upload())
    submissions.request_cancel(store.world.db, job_id)
    uploads.begin(store.world.db)
    store.later()

    def denied(*_: object) -> bytes:
        raise ArtifactMissing("not found")

    with monkeypatch.context() as patch:
        patch.setattr(Artifacts, "get", denied)
        patch.setattr(Artifacts, "has", lambda *_: False)
        with pytest.raises(ArtifactMissing, match="did not find just before"):
            store.sweep()
    store.sweep()
    assert store.is_whole(workdir_of(store, job_id))
