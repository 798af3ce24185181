"""The artifact store: a local folder, and a server that speaks S3, behave alike."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.errors import ArtifactError, ArtifactMissing, InvalidSettings
from jobs.files import workdir
from jobs.files.pull import pull
from jobs.files.store import Artifacts
from jobs.files.tree import Tree
from tests.servers import S3
from tests.trees import awkward, picture

Open = Callable[[], Artifacts]


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens the same store, as often as it is called."""
    if request.param == "local":
        return lambda: Artifacts(str(tmp_path / "the store"))
    server: S3 = request.getfixturevalue("s3")
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    url = server.url(f"b{secrets.token_hex(6)}")
    return lambda: Artifacts(url)


def test_what_is_put_is_there_for_others(store: Open) -> None:
    one, other = store(), store()
    assert not one.has("pieces/ab/x")
    with pytest.raises(ArtifactMissing, match="cannot read pieces/ab/x: it is not there"):
        other.get("pieces/ab/x")
    one.put("pieces/ab/x", b"bytes")
    one.put("pieces/ab/x", b"stays")
    assert other.has("pieces/ab/x")
    assert other.get("pieces/ab/x") == b"bytes"


def test_what_is_listed_and_removed_one_by_one(store: Open) -> None:
    one = store()
    assert list(one.listed("workdirs/a/")) == []
    keys = ["workdirs/a/pieces/ab/1", "workdirs/a/pieces/ab/2", "workdirs/a/trees/cd/3"]
    for key in (*keys, "workdirs/ab/pieces/ab/1", "workdirs/a.b"):
        one.put(key, key.encode())
    before = datetime.now(UTC) - timedelta(minutes=1)
    listed = sorted(one.listed("workdirs/a/"))
    assert [key for key, _ in listed] == keys
    assert all(written is not None and before < written for _, written in listed)
    for _ in range(2):
        one.remove_one("workdirs/a/pieces/ab/1")
        one.remove_one("workdirs/a/pieces/ab/*")
    assert sorted(key for key, _ in store().listed("workdirs/a/")) == keys[1:]
    assert one.has("workdirs/ab/pieces/ab/1")


def test_a_part_that_a_death_left_is_replaced(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every kind of store writes all or nothing; the same again, whole, mends that."""
    for name, value in s3.environ.items():
        monkeypatch.setenv(name, value)
    url = s3.url(f"b{secrets.token_hex(6)}")
    Artifacts(url).put("pieces/ab/x", b"whole"[:2])
    Artifacts(url).put("pieces/ab/x", b"whole")
    assert Artifacts(url).get("pieces/ab/x") == b"whole"


def test_what_is_removed_is_gone_and_nothing_else(store: Open) -> None:
    one = store()
    for key in ("outputs/a/1", "outputs/a/2", "outputs/ab/1"):
        one.put(key, key.encode())
    one.remove("outputs/a")
    one.remove("outputs/a")
    assert [one.has(key) for key in ("outputs/a/1", "outputs/a/2", "outputs/ab/1")] == [False, False, True]


def test_a_folder_goes_through_it(store: Open, tmp_path: Path) -> None:
    folder = awkward(tmp_path / "from", large=9_000_000)
    found = workdir.scan(folder, "--workdir", 1 << 30)
    key, tree = workdir.pack(found, store(), tmp_path / "cache", "--workdir")
    assert store().tree(key) == tree
    pull(store(), tree, tmp_path / "to")
    assert picture(tmp_path / "to") == picture(folder)


def test_the_key_of_a_tree_is_what_it_holds(store: Open) -> None:
    assert store().put_tree(Tree((), ())) == store().put_tree(Tree((), ()))


def test_a_store_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "runner")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with pytest.raises(ArtifactError, match="The artifact store s3://bucket/x cannot read a: ") as error:
        Artifacts("s3://bucket/x").get("a")
    assert "hidden-secret" not in str(error.value)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(ArtifactError, match="cannot write a/b: not a directory"):
        Artifacts(str(tmp_path / "store")).put("a/b", b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o500)
    with pytest.raises(ArtifactError, match="permission denied"):
        Artifacts(str(tmp_path / "store")).put("a/b", b"x")


@pytest.mark.parametrize("url", ["nothing://x", "s3n-like://user:password@host/x"])
def test_an_address_that_nobody_knows_shows_no_password(url: str) -> None:
    with pytest.raises(InvalidSettings) as error:
        Artifacts(url)
    assert "password" not in str(error.value)
