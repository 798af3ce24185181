"""Trees: what goes into one, what may be in one, and that no folder is ever left."""

from __future__ import annotations

import ast
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import ArtifactError, InvalidJob
from jobs.files import portable, workdir
from jobs.files.collect import Batch, Collection, Corrupt
from jobs.files.portable import Folder, Refused, Writer, check_link, check_path, matcher
from jobs.files.pull import pull
from jobs.files.store import Artifacts
from jobs.files.tree import Piece, Tree, UnreadableTree, load, overlay
from tests.trees import awkward, picture

ROOT = Path(__file__).parents[2]
GIB = 1 << 30


def _pack(folder: Path, tmp_path: Path) -> tuple[Tree, Artifacts]:
    store = Artifacts(str(tmp_path / "store"))
    return workdir.pack(workdir.scan(folder, "--workdir", GIB), store, tmp_path / "cache", "--workdir")[
        1
    ], store


def _file(path: str, size: int = 0, extents: Any = ()) -> list[Any]:
    return [path, "f", 0o644, size, 1, None, list(extents)]


def _link(path: str, target: str) -> list[Any]:
    return [path, "l", 0o777, 0, 1, target, []]


def test_there_and_back_is_the_same(tmp_path: Path) -> None:
    folder = awkward(tmp_path / "from", large=workdir.ALONE_BYTES + portable.PIECE_BYTES + 7)
    tree, store = _pack(folder, tmp_path)
    assert load(tree.dump()) == tree
    assert pull(store, tree, tmp_path / "to").written == tree.size
    assert picture(tmp_path / "to") == picture(folder)
    assert pull(store, tree, tmp_path / "to").written == 0, "what is there already is left alone"
    (tmp_path / "to" / "large").write_bytes(b"changed")
    assert pull(store, tree, tmp_path / "to").newer == ("large",), "somebody's own work"
    assert (tmp_path / "to" / "large").read_bytes() == b"changed"
    assert pull(store, tree, tmp_path / "to", force=True).written == (folder / "large").stat().st_size
    assert picture(tmp_path / "to") == picture(folder)
    (tmp_path / "to" / "large").write_bytes(b"an earlier one")
    os.utime(tmp_path / "to" / "large", (1, 1))
    assert pull(store, tree, tmp_path / "to").newer == (), "what came before is replaced by what came since"
    assert picture(tmp_path / "to") == picture(folder)


def test_a_folder_that_looks_as_it_did_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = awkward(tmp_path / "from")
    monkeypatch.setattr(workdir, "SETTLED_SECONDS", -60)  # as if its files had been written long ago
    first, _ = _pack(folder, tmp_path)

    def unread(*_: object) -> bytes:
        raise AssertionError("it was read")

    with monkeypatch.context() as patch:
        patch.setattr(workdir, "_read", unread)
        assert _pack(folder, tmp_path)[0] == first
    os.utime(folder / "large", ns=(5, 5))
    again, _ = _pack(folder, tmp_path)
    assert again.pieces == first.pieces
    assert again != first


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    folder = awkward(tmp_path / "from")
    found = workdir.scan(folder, "--workdir", GIB)
    (folder / "large").write_bytes(b"shorter")
    with pytest.raises(InvalidJob, match="'large' changed while it was read; try again"):
        workdir.pack(found, Artifacts(str(tmp_path / "store")), tmp_path / "cache", "--workdir")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: os.mkfifo(path), "'odd' is a named pipe, which cannot be sent"),
        (_socket, "'odd' is a socket, which cannot be sent"),
        (lambda path: path.symlink_to("/etc/passwd"), "is a link to '/etc/passwd', which is outside"),
        (lambda path: path.symlink_to("../x"), "is a link to '../x', which leads, or may lead, out"),
        (lambda path: path.symlink_to("a/../../x"), "which leads, or may lead, out"),
    ],
)
def test_what_cannot_go_is_named_unless_it_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path may not be long
    folder = Path("from")
    folder.mkdir()
    make(folder / "odd")
    with pytest.raises(InvalidJob) as error:
        workdir.scan(folder, "--workdir", GIB)
    assert said in str(error.value)
    assert "name it in .runnerignore" in str(error.value)
    (folder / ".runnerignore").write_text("odd\n")
    assert [name for name, _ in workdir.scan(folder, "--workdir", GIB).files] == [".runnerignore"]


def test_what_is_the_runner_s_own_stays(tmp_path: Path) -> None:
    """It holds the token, the keys, and a database that changes meanwhile."""
    folder = tmp_path
    home = folder / "a folder" / "home"
    (home / "ssh").mkdir(parents=True)
    (home / "ssh" / "id_ed25519").write_text("key")
    (folder / "a folder" / "other").write_text("")
    (folder / "key").write_text("key")
    found = workdir.scan(folder, "--workdir", GIB, [home, folder / "key"])
    assert "a folder/other" in {name for name, _ in found.files}
    names = [str(name) for name, *_ in (*found.files, *found.others)]
    assert not [name for name in names if name.startswith(("a folder/home", "key"))]
    for inside in (home, home / "ssh"):
        with pytest.raises(InvalidJob, match="keeps its own"):
            workdir.scan(inside, "--workdir", GIB, [home])


@pytest.mark.parametrize(
    ("folder", "said"),
    [("none", "there is no such folder"), ("file", "is not a folder"), ("/", "is the whole file system")],
)
def test_what_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(InvalidJob, match=said):
        workdir.scan(folder, "--workdir", GIB)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    folder = awkward(tmp_path / "from")
    (folder / "large").chmod(0)
    with pytest.raises(InvalidJob, match="'large' cannot be read: permission denied; make it readable"):
        _pack(folder, tmp_path)


def test_too_much_names_the_largest_files(tmp_path: Path) -> None:
    folder = awkward(tmp_path / "from")
    with pytest.raises(InvalidJob) as error:
        workdir.scan(folder, "--workdir", 1000)
    assert "RUNNER_MAX_WORKDIR_BYTES allows 1000 B. The largest files: 'large' (293.0 KiB)" in str(
        error.value
    )


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("*.pt", ["a.pt", ".pt"], ["b/a.pt", "a.ptx"]),
        ("**/*.pt", ["a.pt", "b/a.pt", "b/c/a.pt"], ["a.p"]),
        ("**", ["a", "b/c", ".x"], []),
        ("out", ["out", "out/a", "out/b/c"], ["outer", "b/out"]),
        ("./out/", ["out/a"], ["b/out/a"]),
        ("out/**", ["out/a", "out/b/c"], ["out", "b/out/a"]),
        ("a?[0-9]", ["ab1", "ac2"], ["ab", "a/1", "abx"]),
        ("[!a]*", ["b", "bc"], ["a", "ab", "/x"]),
        ("a[", ["a["], ["a"]),
        ("[]x]", ["]", "x"], ["a"]),
        ("[^]]", ["a"], ["]"]),
        ("[^]", ["[^]"], ["a"]),
        ("[z-a]", [], ["b", "z", "-"]),
        ("x.y", ["x.y"], ["xzy"]),
        ("ü*", ["ü", "üx"], ["u"]),
        ("n\nl", ["n\nl"], ["n"]),
    ],
)
def test_globs(glob: str, yes: list[str], no: list[str]) -> None:
    (test,) = matcher([glob])
    assert [path for path in yes if not test.match(path)] == []
    assert [path for path in no if test.match(path)] == []


@given(st.text(alphabet="ab./[]!*?-^\\{}()+|$", max_size=12))
def test_every_glob_can_be_read(glob: str) -> None:
    matcher([glob])[0].match("a/b")


@pytest.mark.parametrize("path", ["", "/a", "a/../b", "..", "a//b", "a/", "./a", "a\0b", "."])
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(Refused):
        check_path(path)


@given(st.lists(st.sampled_from(["a", "b", "..", ".", ""]), min_size=1, max_size=6))
def test_a_link_that_is_let_through_stays_inside(tmp_path_factory: Any, parts: list[str]) -> None:
    """Whatever it says, and whatever other links that are let through stand on its way."""
    target = "/".join(parts)
    try:
        check_link("a/b/link", target)
    except Refused:
        return
    assert os.path.normpath(f"a/b/{target}").split("/")[0] != ".."
    assert ".." not in target.lstrip("./").split("/"), "behind a name there is no way up"


@pytest.mark.parametrize(
    "entries",
    [
        [_file("../out")],
        [_file("/out")],
        [_link("d", "/tmp")],
        [_link("d", ".."), _file("d/x")],
        [_link("d", "e"), _file("d/x"), ["e", "d", 0o755, 0, 1, None, []]],
        [_file("x"), _file("x")],
        [["x", "c", 0o644, 0, 1, None, []]],
        [_file("x", 5, [[0, 0, 6]])],
        [_file("x", 6, [[0, 8, 6]])],
        [_file("x", 6, [[1, 0, 6]])],
        [_file("x", 6, [[0, -1, 6]])],
    ],
)
def test_a_tree_that_means_harm_writes_nothing_outside(tmp_path: Path, entries: list[Any]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").write_text("untouched")
    with pytest.raises(Refused), Folder(str(tmp_path / "in")) as folder:  # noqa: PT012
        writer = Writer(folder, entries, [10])
        writer.begin()
        writer.piece(0, b"0123456789")
        writer.finish()
    assert (tmp_path / "out").read_text() == "untouched"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_links_that_stand_in_the_folder_are_not_followed(tmp_path: Path) -> None:
    folder = awkward(tmp_path / "from")
    tree, store = _pack(folder, tmp_path)
    (tmp_path / "outside").mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "in plain").symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidJob, match="'in plain' is there already, and is no folder"):
        pull(store, tree, tmp_path / "to")
    assert list((tmp_path / "outside").iterdir()) == []
    (tmp_path / "to" / "in plain").unlink()
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "to" / "large").symlink_to(tmp_path / "victim")
    pull(store, tree, tmp_path / "to")
    assert (tmp_path / "victim").read_text() == "untouched"
    assert picture(tmp_path / "to") == picture(folder), "the link was replaced, not what it leads to"


def test_one_tree_over_another(tmp_path: Path) -> None:
    base, over = tmp_path / "base", tmp_path / "over"
    for path, text in ((base / "same", "old"), (base / "stays", "stays"), (base / "was" / "folder", "x")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    over.mkdir()
    (over / "same").write_text("new")
    (over / "was").write_text("a file now")
    store = Artifacts(str(tmp_path / "store"))
    trees = [
        workdir.pack(workdir.scan(folder, "x", GIB), store, tmp_path / "cache", "x")[1]
        for folder in (base, over)
    ]
    both = overlay(*trees)
    pull(store, both, tmp_path / "to")
    found = {path.name: path.read_text() for path in (tmp_path / "to").iterdir()}
    assert found == {"same": "new", "stays": "stays", "was": "a file now"}


@pytest.mark.parametrize("data", [b"", b"nonsense", Tree((), ()).dump()[:-4]])
def test_what_is_no_tree(data: bytes) -> None:
    with pytest.raises(UnreadableTree):
        load(data)


def test_a_piece_that_was_changed_is_noticed(tmp_path: Path) -> None:
    tree, store = _pack(awkward(tmp_path / "from"), tmp_path)
    piece = tree.pieces[0]
    path = tmp_path / "store" / piece.key
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match=r"does not hold pieces/.* as it was written"):
        store.piece(piece)


def _batch(raw: bytes, extents: Any = (), kept: Any = (), torn: Any = (), **odd: Any) -> Batch:
    values = {"data": raw, "size": len(raw), "sha256": portable.digest(raw), "encoding": "raw", **odd}
    return Batch(extents=list(extents), kept=list(kept), torn=list(torn), **values)


def _round(found: Collection, store: Artifacts, entries: Any, batches: list[Batch], **listed: Any) -> None:
    found.listed(
        [_file(path, size) for path, size in entries], listed.get("same", ()), listed.get("resumed", {})
    )
    for batch in batches:
        if batch.size:
            found.piece(store, batch)
        for number, mode, size, mtime in batch.kept:
            found.kept(number, mode, size, mtime)
        for number, _ in batch.torn:
            found.torn(number)


def test_a_copy_is_replaced_when_the_next_one_is_whole(tmp_path: Path) -> None:
    store = Artifacts(str(tmp_path / "store"))
    found = Collection("a" * 26)
    whole = [_batch(b"first", [(0, 0, 5)], [(0, 0o644, 5, 1)])]
    _round(found, store, [("x", 5)], whole)
    found.end()
    _round(found, store, [("x", 6)], [_batch(b"sec", [(0, 0, 3)])])
    pull(store, found.tree(), tmp_path / "one")
    assert (tmp_path / "one" / "x").read_text() == "first"
    # Somebody else goes on with it, at the byte where it was.
    other = Collection("a" * 26, load(found.part().dump()))
    assert other.known["x"] == (6, 1, 3)
    _round(other, store, [("x", 6)], [_batch(b"ond", [(0, 3, 3)], [(0, 0o600, 6, 2)])], resumed={0: 3})
    other.end()
    pull(store, other.tree(), tmp_path / "two")
    assert (tmp_path / "two" / "x").read_text() == "second"
    _round(other, store, [("y", 0)], [_batch(b"", kept=[(0, 0o644, 0, 1)])])
    other.end()
    assert list(other.known) == ["y"], "what is not there any more goes"


def test_what_is_whole_of_a_part(tmp_path: Path) -> None:
    """Who has only that gets the earlier copy of what was on its way, and no piece of the new one."""
    store = Artifacts(str(tmp_path / "store"))
    found = Collection("outputs/a/1")
    _round(found, store, [("x", 5)], [_batch(b"first", [(0, 0, 5)], [(0, 0o644, 5, 1)])])
    found.end()
    part = [_batch(b"newsec", [(0, 0, 3), (1, 0, 3)], [(0, 0o644, 3, 2)])]
    _round(found, store, [("new", 3), ("x", 6)], part)
    pull(store, load(found.part().dump()).whole(), tmp_path / "to")
    assert {path.name: path.read_text() for path in (tmp_path / "to").iterdir()} == {
        "new": "new",
        "x": "first",
    }


def test_a_link_in_the_place_of_a_folder(tmp_path: Path) -> None:
    """Also where the round in which that was seen came to no end."""
    store = Artifacts(str(tmp_path / "store"))
    found = Collection("outputs/a/1")
    _round(found, store, [("latest/x", 3)], [_batch(b"one", [(0, 0, 3)], [(0, 0o644, 3, 1)])])
    found.end()
    found.listed([_link("latest", "step-2"), _file("step-2/x", 3)], (), {})
    for tree in (found.tree(), found.part()):
        assert [entry[0] for entry in tree.entries] == ["latest"]
    pull(store, found.tree(), tmp_path / "to")


def test_what_is_said_to_be_here_and_is_not_has_to_come() -> None:
    found = Collection("outputs/a/1")
    assert found.listed([_file("x", 3), _file("y", 0)], (0,), {}) == ["x", "y"]


def test_a_torn_file_keeps_its_earlier_copy(tmp_path: Path) -> None:
    store = Artifacts(str(tmp_path / "store"))
    found = Collection("a" * 26)
    _round(found, store, [("x", 5)], [_batch(b"first", [(0, 0, 5)], [(0, 0o644, 5, 1)])])
    found.end()
    _round(found, store, [("x", 9)], [_batch(b"tor", [(0, 0, 3)]), _batch(b"", torn=[(0, "it changed")])])
    found.end()
    assert found.known["x"] == (5, 1, 5)


@pytest.mark.parametrize(
    "odd", [{"sha256": "0" * 64}, {"encoding": "zstd"}, {"encoding": "zlib"}, {"encoding": "x"}, {"size": 2}]
)
def test_a_piece_that_is_not_what_it_says_is_not_kept(tmp_path: Path, odd: dict[str, Any]) -> None:
    store = Artifacts(str(tmp_path / "store"))
    found = Collection("a" * 26)
    with pytest.raises(Corrupt):
        _round(found, store, [("x", 3)], [_batch(b"abc", [(0, 0, 3)], **odd)])
    assert not (tmp_path / "store").exists()


def test_a_file_whose_bytes_did_not_come_is_not_whole(tmp_path: Path) -> None:
    found = Collection("a" * 26)
    with pytest.raises(Corrupt, match="Not all bytes of 'x'"):
        _round(found, Artifacts(str(tmp_path)), [("x", 3)], [_batch(b"", kept=[(0, 0o644, 3, 1)])])


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    import zstandard

    packed = zstandard.ZstdCompressor().compress(bytes(50 << 20))
    piece = Piece("x", "0" * 64, 10, "zstd")
    from jobs.files.store import expand

    assert expand(piece, packed) is None


@pytest.mark.parametrize(
    "name", ["jobs/files/portable.py", "workers/supervisor/agent.py", "workers/supervisor/enter.py"]
)
def test_what_machines_run_is_python_3_8(name: str) -> None:
    text = (ROOT / name).read_text()
    found = ast.parse(text, feature_version=(3, 8))
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(found)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in (node.names if isinstance(node, ast.Import) else [ast.alias(node.module or "")])
    }
    standard = {"__future__", "bisect", "concurrent", "errno", "fcntl", "hashlib", "json", "os", "re"}
    standard |= {"shutil", "signal", "stat", "subprocess", "sys", "threading", "time", "typing", "zlib"}
    assert imported <= standard | {"jobs"}
