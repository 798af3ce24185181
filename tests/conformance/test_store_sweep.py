"""What a dead upload left is removed, and nothing that any job names."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobs.errors import ArtifactMissing
from jobs.files import tree
from jobs.files.store import Artifacts
from jobs.store import submissions, uploads
from jobs.store.effects import REMOVAL, UPLOAD
from tests.conformance.uploads_kit import Store, workdir_of
from workers.steps import sweep as sweeping
from workers.steps.sweep import Interrupted


def test_what_a_dead_one_left_is_removed(store: Store) -> None:
    store.upload()
    left = store.paths()
    assert len(left) == 3
    (left[0].parent / f".{left[0].name}.0123456789ab").write_bytes(b"half of it")
    store.age()
    store.later(uploads.DEAD_AFTER)
    store.sweep()
    assert len(store.paths()) == 4, "it is not dead yet"
    store.later(timedelta(seconds=1))
    assert uploads.forsaken(store.world.db) == (0, None)
    store.sweep()
    assert store.paths() == []
    assert [row.outcome for row in store.rows(UPLOAD)] == ["swept"]
    assert [row.outcome for row in store.rows(REMOVAL)] == ["removed"] * 4


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
    store.age()
    store.later()
    young = f"{place}/pieces/{foreign}"
    store.artifacts.put(young, b"x")
    store.age()
    store.sweep()
    assert store.is_whole(workdir_of(store, job_id))
    root = store.folder / "store"
    kept = {str(path.relative_to(root)) for path in store.paths()}
    tree = store.artifacts.tree(workdir_of(store, job_id))
    assert kept == {*others, young, workdir_of(store, job_id), *(piece.key for piece in tree.pieces)}


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
    assert store.is_whole(workdir_of(store, job_id))
    tree.unlink()
    submissions.request_cancel(store.world.db, job_id)
    store.upload()
    store.later()
    store.sweep()
    assert store.paths() == []


def test_a_tree_that_later_code_has_written_is_none_that_is_gone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This code was rolled back to; the job is over, and can be run again by the other one."""
    with monkeypatch.context() as patch:
        patch.setattr(tree, "VERSION", tree.VERSION + 1)
        job_id = store.submit(store.upload())
    submissions.request_cancel(store.world.db, job_id)
    uploads.begin(store.world.db)
    store.later()
    with pytest.raises(ArtifactMissing, match="of version"):
        store.sweep()
    monkeypatch.setattr(tree, "VERSION", tree.VERSION + 1)
    assert store.is_whole(workdir_of(store, job_id))


def test_an_upload_that_takes_days_loses_nothing(store: Store) -> None:
    """Others die before and beside it. What they left is removed when it is done, and not forgotten."""
    before = uploads.begin(store.world.db)
    store.later(timedelta(hours=1))
    store.pack(before)
    (store.work / "data").write_bytes(b"other data" * 1000)
    store.later(timedelta(hours=1.5))
    long = uploads.begin(store.world.db)
    packed = store.pack(long)
    store.later(timedelta(hours=25))
    left = store.paths()
    for _ in range(3):
        uploads.sign(store.world.db, long.begun)
        store.sweep()
        store.later(timedelta(hours=25))
    assert store.paths() == left
    assert uploads.forsaken(store.world.db)[0] == 0, "that is as it should be"
    job_id = store.submit(packed)
    store.sweep()
    assert store.is_whole(workdir_of(store, job_id))
    assert len(store.paths()) == 3
    assert [row.outcome for row in store.rows(UPLOAD)] == ["swept", "named"]
