"""The row of an upload: written before its first piece, and settled with the jobs that name its tree."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import cast

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from jobs.errors import UploadOver
from jobs.models import Effect, Job
from jobs.spec import Begun
from jobs.store import effects, submissions, uploads
from jobs.store.effects import REMOVAL, UPLOAD
from tests.conformance.store_kit import spec
from tests.conformance.uploads_kit import LONG, Store, workdir_of


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
    assert store.is_whole(workdir_of(store, job_id))
    assert store.rows(REMOVAL) == []


def test_signs_of_life_keep_it_alive(store: Store) -> None:
    upload = uploads.begin(store.world.db)
    packed = store.pack(upload)
    for _ in range(5):
        store.later(timedelta(hours=25))
        uploads.sign(store.world.db, upload.begun)
        store.sweep()
    assert store.is_whole(workdir_of(store, store.submit(packed)))


def test_one_that_was_given_up_is_told_so(store: Store) -> None:
    packed = store.upload()
    store.later()
    store.sweep()
    with pytest.raises(UploadOver):
        uploads.sign(store.world.db, cast("Begun", packed.upload))
    with pytest.raises(UploadOver):
        store.submit(packed)
    with store.world.db.read() as session:
        assert session.execute(select(Job)).first() is None


def test_a_key_that_was_there_before(store: Store) -> None:
    """A job names what was stored, unless the folder is another one by now: then it is to be swept up."""
    for _ in range(2):
        submissions.submit(store.world.db, [spec(workdir=store.upload(), key="k")])
    (store.work / "data").write_bytes(b"other data" * 1000)
    submissions.submit(store.world.db, [spec(workdir=store.upload(), key="k")])
    assert [row.outcome for row in store.rows(UPLOAD)] == ["named", "named", None]


def test_an_id_is_not_given_again(store: Store) -> None:
    """One stands still until its row is purged and others have come: it does not settle one of theirs."""
    packed = store.upload()
    store.later()
    store.sweep()
    store.later(effects.KEEP + LONG)
    store.world.heartbeat()
    for _ in range(2):
        effects.purge(store.world.db, store.world.lead)
    assert store.rows(UPLOAD) + store.rows(REMOVAL) == []
    other = uploads.begin(store.world.db)
    assert packed.upload is not None
    assert other.begun.id > packed.upload.id
    with pytest.raises(UploadOver):
        store.submit(packed)
    store.submit(store.pack(other))


def test_another_one_of_the_same_id_is_none_of_ours(store: Store) -> None:
    """As in a database that was restored from a backup meanwhile."""
    packed = store.upload()
    assert packed.upload is not None
    before = replace(packed.upload, at=packed.upload.at - timedelta(seconds=1))
    with pytest.raises(UploadOver):
        uploads.sign(store.world.db, before)
    with pytest.raises(UploadOver):
        store.submit(replace(packed, upload=before))
    store.submit(packed)


def test_nobody_waits_while_it_reads_what_is_condemned(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row is there by then: what is condemned in between refuses it."""
    store.upload()
    store.later()
    db = store.world.db
    read = db.read
    swept = []

    @contextmanager
    def meanwhile() -> Iterator[Session]:
        if not swept:
            swept.append(True)
            store.sweep()
        with read() as session:
            yield session

    monkeypatch.setattr(db, "read", meanwhile)
    upload = uploads.begin(db)
    assert [row.outcome for row in store.rows(REMOVAL)] == ["removed"] * 3
    with pytest.raises(UploadOver):
        store.submit(store.pack(upload))


def test_it_is_told_where_nobody_removes_it(store: Store) -> None:
    for _ in range(2):
        uploads.begin(store.world.db)
    with store.world.db.write() as session:
        session.execute(update(Effect).values(who="laptop (pid 7)"))
    store.later(uploads.FORSAKEN + timedelta(seconds=1))
    assert uploads.forsaken(store.world.db) == (2, "laptop (pid 7)")
