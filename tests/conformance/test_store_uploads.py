"""What a dead upload left is removed, and nothing that any job names: whoever stands still, and wherever."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from jobs.errors import ArtifactMissing, UploadOver
from jobs.files import workdir
from jobs.files.store import Artifacts
from jobs.files.workdir import Place
from jobs.models import Effect, Job
from jobs.spec import Packed
from jobs.store import effects, submissions, uploads
from jobs.store.effects import REMOVAL, UPLOAD
from jobs.store.uploads import Upload
from tests.conformance.store_kit import World, spec
from workers.steps import sweep as sweeping
from workers.steps.context import Context
from workers.steps.sweep import Interrupted, sweep

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
        place = Place(upload.place, upload.condemned, f"again/{upload.id}/")
        key, tree = workdir.pack(found, self.artifacts, self.folder / who, "--workdir", None, place)
        self._age()
        return Packed(key, tree.files, tree.size, upload.id)

    def upload(self) -> Packed:
        """A whole one, whose jobs are not there yet."""
        return self.pack(uploads.begin(self.world.db))

    def submit(self, packed: Packed) -> str:
        return submissions.submit(self.world.db, [spec(workdir=packed)])[0].id

    def _age(self) -> None:
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


@pytest.fixture
def store(world: World, tmp_path: Path) -> Store:
    return Store(world, tmp_path)


def test_it_is_settled_with_the_jobs_that_name_it(store: Store) -> None:
    upload = uploads.begin(store.world.db)
    (row,) = store.rows(UPLOAD)
    assert (row.settled_at, row.subject) == (None, upload.place)
    assert f"(pid {os.getpid()})" in row.who
    job_id = store.submit(store.pack(upload))
    (row,) = store.rows(UPLOAD)
    assert (row.settled_at, row.outcome) == (store.world.clock.now, "named")
    store.later()
    store.sweep()
    assert store.is_whole(_workdir(store, job_id))
    assert store.rows(REMOVAL) == []


def test_what_a_dead_one_left_is_removed(store: Store) -> None:
    store.upload()
    left = store.paths()
    assert len(left) == 3
    (left[0].parent / f".{left[0].name}.0123456789ab").write_bytes(b"half of it")
    store._age()
    store.later(uploads.DEAD_AFTER)
    store.sweep()
    assert len(store.paths()) == 4, "it is not dead yet"
    store.later(timedelta(seconds=1))
    assert uploads.forsaken(store.world.db) == (0, None)
    store.sweep()
    assert store.paths() == []
    assert [row.outcome for row in store.rows(UPLOAD)] == ["swept"]
    assert [row.outcome for row in store.rows(REMOVAL)] == ["removed"] * 4


def test_signs_of_life_keep_it_alive(store: Store) -> None:
    upload = uploads.begin(store.world.db)
    packed = store.pack(upload)
    for _ in range(5):
        store.later(timedelta(hours=25))
        uploads.sign(store.world.db, upload.id)
        store.sweep()
    assert store.is_whole(_workdir(store, store.submit(packed)))


def test_one_that_was_given_up_is_told_so(store: Store) -> None:
    packed = store.upload()
    store.later()
    store.sweep()
    with pytest.raises(UploadOver):
        uploads.sign(store.world.db, cast("int", packed.upload))
    with pytest.raises(UploadOver):
        store.submit(packed)
    with store.world.db.read() as session:
        assert session.execute(select(Job)).first() is None


def test_a_key_that_was_there_before_settles_nothing(store: Store) -> None:
    """The folder may be another one by now: then no job names what was stored of it."""
    first, second = store.upload(), store.upload()
    for packed in (first, second):
        submissions.submit(store.world.db, [spec(workdir=packed, key="k")])
    assert [row.outcome for row in store.rows(UPLOAD)] == ["named", None]


def test_nothing_else_is_touched(store: Store) -> None:
    job_id = store.submit(store.upload())
    (store.work / "data").write_bytes(b"other data" * 1000)
    place = store.upload().key.split("/trees/")[0]
    foreign = "ab/" + "ab" * 32
    others = [
        f"workdirs/zzzzzz/pieces/{foreign}",  # another installation's
        f"pieces/{foreign}",  # of an earlier version
        f"trees/{foreign}",
        f"outputs/{place[-6:]}/0/{'ab' * 32}",
        f"{place}/README",
        f"{place}/pieces/*",
        f"{place}/pieces/{foreign}.txt",
    ]
    for key in others:
        store.artifacts.put(key, b"x")
    store._age()
    store.later()
    young = f"{place}/pieces/{foreign}"
    store.artifacts.put(young, b"x")
    store._age()
    store.sweep()
    assert store.is_whole(_workdir(store, job_id))
    root = store.folder / "store"
    kept = {str(path.relative_to(root)) for path in store.paths()}
    tree = store.artifacts.tree(_workdir(store, job_id))
    assert kept == {*others, young, _workdir(store, job_id), *(piece.key for piece in tree.pieces)}


def test_without_a_dead_one_the_store_is_not_even_listed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Artifacts, "listed", lambda *_: pytest.fail("listed"))
    store.submit(store.upload())
    store.upload()
    store.sweep()


def test_it_is_interrupted_and_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.upload()
    store.later()
    remove_one = Artifacts.remove_one

    def once(self: Artifacts, key: str) -> None:
        remove_one(self, key)
        store.stopping.set()

    with monkeypatch.context() as patch:
        patch.setattr(Artifacts, "remove_one", once)
        with pytest.raises(Interrupted):
            store.sweep()
    assert len(store.paths()) == 2
    store.stopping.clear()
    store.sweep()
    assert store.paths() == []
    assert {row.outcome for row in store.rows(REMOVAL)} == {"removed"}


def test_it_goes_on_where_there_is_more_than_one_look_takes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "MOST", 2)
    store.upload()
    store.later()
    store.sweep()
    assert (len(store.paths()), store.rows(UPLOAD)[0].outcome) == (1, None)
    store.sweep()
    assert (store.paths(), store.rows(UPLOAD)[0].outcome) == ([], "swept")


def test_a_tree_that_cannot_be_read_says_nothing_of_its_pieces(store: Store) -> None:
    """Unless nobody will ever ask for it: a store from which a person took files is swept all the same."""
    job_id = store.submit(store.upload())
    tree = next(path for path in store.paths() if "trees" in path.parts)
    data = tree.read_bytes()
    tree.write_bytes(b"damaged")
    (store.work / "data").write_bytes(b"other data" * 1000)
    store.upload()
    store.later()
    before = store.paths()
    with pytest.raises(ArtifactMissing):
        store.sweep()
    assert store.paths() == before
    tree.write_bytes(data)
    store.sweep()
    assert store.is_whole(_workdir(store, job_id))
    tree.unlink()
    submissions.request_cancel(store.world.db, job_id)
    store.upload()
    store.later()
    store.sweep()
    assert store.paths() == []


# A sweep and an upload that uses what it finds


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
    assert store.is_whole(_workdir(store, store.submit(again)))
    before = store.paths()
    store.later()
    store.sweep()
    assert store.paths() == before, "the upload that was refused has left nothing else"


def test_the_damage_were_it_not_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def trusting(session: Session, now: datetime, ids: Collection[int]) -> None:
        effects.settle(session, now, list(ids), "named")

    monkeypatch.setattr(uploads, "settle", trusting)
    assert not store.is_whole(_workdir(store, store.submit(_begun_before(store))))


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
    assert store.is_whole(_workdir(store, store.submit(packed)))
    assert len(store.paths()) == 3


def test_the_damage_did_it_use_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = uploads.begin

    def ignorant(db: Any) -> Upload:
        upload = begin(db)
        return Upload(upload.id, upload.place)

    monkeypatch.setattr(uploads, "begin", ignorant)
    packed = _begun_between(store, monkeypatch)
    assert not store.is_whole(_workdir(store, store.submit(packed)))


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
    assert store.is_whole(_workdir(store, job_ids[0]))
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
    assert store.is_whole(_workdir(store, job_id))


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
    def trusting(session: Session, now: datetime, ids: Collection[int]) -> None:
        effects.settle(session, now, list(ids), "named")

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
            packed = store.pack(upload, str(upload.id))
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
    return [job_id for job_id in job_ids if not store.is_whole(_workdir(store, job_id))]


def _workdir(store: Store, job_id: str) -> str:
    with store.world.db.read() as session:
        return session.execute(select(Job.workdir).where(Job.id == job_id)).scalar_one() or ""


def test_it_is_told_where_nobody_removes_it(store: Store) -> None:
    for _ in range(2):
        uploads.begin(store.world.db)
    with store.world.db.write() as session:
        session.execute(update(Effect).values(who="laptop (pid 7)"))
    store.later(uploads.FORSAKEN + timedelta(seconds=1))
    assert uploads.forsaken(store.world.db) == (2, "laptop (pid 7)")
