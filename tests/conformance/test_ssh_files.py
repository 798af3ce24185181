"""Files over a connection, there and back, against the simulator's SSH server and OpenSSH's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.files import workdir
from jobs.files.collect import Collection
from jobs.files.portable import squeeze
from jobs.files.pull import pull
from jobs.files.store import Artifacts, expand
from jobs.files.tree import Tree
from runner.sim import SimConfig
from runner.sim.sshd import find_sshd
from tests.conformance.sim_client import Account, simulated
from tests.conformance.ssh_host import Host, proxy
from tests.disks import fill, small_disk
from tests.trees import awkward, picture
from workers.ssh import files as transfers
from workers.ssh.connect import Machine
from workers.ssh.errors import BadAnswer, Unreachable
from workers.ssh.files import Broken, FilesRefused, Listing, Request, bring, fetch

NO_SSHD = pytest.mark.skipif(not find_sshd(), reason="NOT TESTED AGAINST OpenSSH: sshd is not installed")


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=NO_SSHD)], ids=["sim", "openssh"])
def account(request: pytest.FixtureRequest) -> Iterator[Account]:
    with simulated(SimConfig(boot_seconds=0.01, openssh=request.param)) as account:
        yield account


@pytest.fixture
def host(account: Account, tmp_path: Path) -> Iterator[Host]:
    host = Host(account, tmp_path)
    yield host
    account.terminate(host.uuid)


@pytest.fixture
def store(tmp_path: Path) -> Artifacts:
    return Artifacts(str(tmp_path / "store"))


def _home(host: Host) -> Path:
    return host.home / ".gpu-job-runner" / host.attempt_id


def _packed(folder: Path, store: Artifacts, tmp_path: Path) -> Tree:
    return workdir.pack(workdir.scan(folder, "x", 1 << 30), store, tmp_path / "cache", "x")[1]


def _bring(
    host: Host, machine: Machine, tree: Tree, store: Artifacts, *, zstd: bool = True, key: str = "one"
) -> list[int]:
    """Send a tree; how many pieces the machine said to have, each time."""
    told: list[int] = []

    def pieces(first: int, has_zstd: bool) -> Iterator[tuple[str, bytes]]:
        for piece in tree.pieces[first:]:
            data = store.get(piece.key)
            if piece.encoding == "zstd" and not (zstd and has_zstd):
                raw = expand(piece, data)
                assert raw is not None
                yield squeeze(raw, None)
            else:
                yield piece.encoding, data

    bring(machine, host.attempt_id, tree, key, pieces, interrupted=lambda: False, progress=told.append)
    return told


def _fetch(host: Host, machine: Machine, found: Collection, store: Artifacts, *globs: str) -> Listing:
    listings: list[Listing] = []

    def listed(listing: Listing) -> None:
        listings.append(listing)
        found.listed(listing.entries, listing.same, listing.resumed)

    request = Request(globs, found.known)
    for batch in fetch(machine, host.attempt_id, request, listed, interrupted=lambda: False):
        if batch.size:
            found.piece(store, batch)
        for number, mode, size, mtime in batch.kept:
            found.kept(number, mode, size, mtime)
        for number, _ in batch.torn:
            found.torn(number)
    found.end()
    return listings[0]


@pytest.mark.parametrize("zstd", [True, False], ids=["zstd", "without"])
def test_there_and_back(host: Host, store: Artifacts, tmp_path: Path, zstd: bool) -> None:
    folder = awkward(tmp_path / "from", large=20_000_000)
    (folder / "text").write_text("the same words over and over\n" * 100_000)
    tree = _packed(folder, store, tmp_path)
    with host.connect() as machine:
        assert _bring(host, machine, tree, store, zstd=zstd)[-1] == len(tree.pieces)
        assert picture(_home(host) / "tree") == picture(folder)
        assert _bring(host, machine, tree, store, zstd=zstd) == [], "it has all of it"
        (_home(host) / "run").mkdir()
        (_home(host) / "tree").rename(_home(host) / "run" / "work")
        found = Collection(host.attempt_id)
        assert _fetch(host, machine, found, store, "**", "none/*").unmatched == ["none/*"]
        pull(store, found.tree(), tmp_path / "to")
        assert picture(tmp_path / "to") == picture(folder)
        assert len(_fetch(host, machine, found, store, "**").same) == len(
            [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        ), "and now nothing need come again"


def test_cut_again_and_again(host: Host, store: Artifacts, tmp_path: Path) -> None:
    """Each connection passes some megabytes and breaks; no byte that was taken is sent twice."""
    folder = awkward(tmp_path / "from", large=60_000_000)
    tree = _packed(folder, store, tmp_path)
    began: list[int] = []
    while True:
        try:
            with proxy(host.address.port) as between, host.connect(port=between.port) as machine:
                sent = _cutting(machine, between, after=17_000_000 if len(began) < 3 else None)
                told = _bring(host, sent, tree, store)
                began.append(told[0])
                break
        except Unreachable:
            began.append(-1)
    assert began[-1] > 0, "the last one went on where the others were"
    assert picture(_home(host) / "tree") == picture(folder)
    (_home(host) / "run").mkdir()
    (_home(host) / "tree").rename(_home(host) / "run" / "work")
    found, here = Collection(host.attempt_id), list[int]()
    for cut_after in (20_000_000, 20_000_000, None):
        try:
            with (
                proxy(host.address.port, cut_after=cut_after) as between,
                host.connect(port=between.port) as machine,
            ):
                _fetch(host, machine, found, store, "**")
        except Unreachable:
            assert cut_after is not None
            here.append(found.known["large"][2])
    assert 0 < here[0] < here[1] < 60_000_000, "each went on where the one before was"
    pull(store, found.tree(), tmp_path / "to")
    assert picture(tmp_path / "to") == picture(folder)


def _cutting(machine: Machine, between: object, *, after: int | None) -> Machine:
    """Break the connection once so many bytes have gone to the machine."""
    if after is None:
        return machine
    send, sent = machine.wire.packetizer.send_message, 0  # type: ignore[attr-defined]

    def counting(data: object) -> None:
        nonlocal sent
        sent += len(data.asbytes())  # type: ignore[attr-defined]
        if sent > after:
            between.cut()  # type: ignore[attr-defined]
        send(data)

    machine.wire.packetizer.send_message = counting  # type: ignore[attr-defined]
    return machine


def test_a_machine_whose_disk_is_too_small(host: Host, store: Artifacts, tmp_path: Path) -> None:
    tree = _packed(awkward(tmp_path / "from"), store, tmp_path)
    huge = replace(tree.pieces[0], size=1 << 55)
    entry = ["huge", "f", 0o644, 1 << 55, 0, None, [[0, 0, 1 << 55]]]
    with (
        host.connect() as machine,
        pytest.raises(FilesRefused, match="bytes of disk left, and the files take"),
    ):
        _bring(host, machine, Tree((entry,), (huge,)), store)


def test_a_machine_whose_disk_fills_up_meanwhile(host: Host, store: Artifacts, tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "noise").write_bytes(os.urandom(30_000_000))
    tree = _packed(tmp_path / "from", store, tmp_path)
    with small_disk(_home(host), "40m") as disk, host.connect() as machine:
        get, ballast = store.get, []

        def filling(key: str) -> bytes:
            if key == tree.pieces[2].key:  # the first may be written by then, or not
                ballast.append(fill(disk))
            return get(key)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "get", filling)
            with pytest.raises(FilesRefused, match="no space left"):
                _bring(host, machine, tree, store)
        assert not (_home(host) / "tree").exists()
        ballast[0].unlink()
        assert _bring(host, machine, tree, store)[-1] == len(tree.pieces)
        assert picture(_home(host) / "tree") == picture(tmp_path / "from")


def test_what_the_machine_refuses_is_said(host: Host, store: Artifacts, tmp_path: Path) -> None:
    tree = _packed(awkward(tmp_path / "from"), store, tmp_path)
    harmful = replace(tree, entries=(*tree.entries, ["../out", "f", 0o644, 0, 0, None, []]))
    with host.connect() as machine:
        with pytest.raises(FilesRefused, match=r"'\.\./out' is not the path of a file inside"):
            _bring(host, machine, harmful, store)
        wrong = replace(tree, pieces=(replace(tree.pieces[0], sha256="0" * 64), *tree.pieces[1:]))
        with pytest.raises(FilesRefused, match="piece 0 did not arrive as it was sent"):
            _bring(host, machine, wrong, store, key="two")
    assert not (_home(host) / "tree").exists()


def test_without_python_there_is_a_sentence(
    host: Host, store: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = _packed(awkward(tmp_path / "from"), store, tmp_path)
    line = transfers.transfer
    monkeypatch.setattr(
        transfers, "transfer", lambda *words: line(*words).replace("python", "no-such-python")
    )
    with (
        host.connect() as machine,
        pytest.raises(FilesRefused, match="there is no no-such-python3 on the machine"),
    ):
        _bring(host, machine, tree, store)


def test_who_interrupts_it_is_heard(host: Host, store: Artifacts, tmp_path: Path) -> None:
    tree = _packed(awkward(tmp_path / "from"), store, tmp_path)
    with host.connect() as machine, pytest.raises(Broken):
        bring(
            machine,
            host.attempt_id,
            tree,
            "one",
            lambda *_: iter(()),
            interrupted=lambda: True,
            progress=lambda _: None,
        )


def test_what_cannot_come_is_named(host: Host, store: Artifacts) -> None:
    work = _home(host) / "run" / "work"
    work.mkdir(parents=True)
    (work / "good").write_text("good")
    (work / "out").symlink_to("/etc/passwd")
    os.mkfifo(work / "pipe")
    found = Collection(host.attempt_id)
    with host.connect() as machine:
        listing = _fetch(host, machine, found, store, "*")
    assert [why.split("'")[1] for why in listing.refused] == ["out", "pipe"]
    assert [entry[0] for entry in found.tree().entries] == ["good"]


def test_a_machine_that_talks_nonsense(host: Host, store: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "agent_source", lambda: b'print(\'{"size": "many"}\', flush=True)')
    with host.connect() as machine, pytest.raises(BadAnswer):
        _fetch(host, machine, Collection(host.attempt_id), store, "*")


def test_a_python_that_cannot_is_not_asked_for_ever(
    host: Host, store: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "agent_source", lambda: b"import what_came_later")
    with host.connect() as machine, pytest.raises(FilesRefused, match="No module named 'what_came_later'"):
        _fetch(host, machine, Collection(host.attempt_id), store, "*")


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_hundred_thousand_files(host: Host, store: Artifacts, tmp_path: Path) -> None:
    work = _home(host) / "run" / "work"
    for number in range(100):
        (work / f"{number}").mkdir(parents=True)
        for name in range(1000):
            (work / f"{number}" / f"{name}").write_bytes(b"%d" % name)
    found = Collection(host.attempt_id)
    with host.connect() as machine:
        _fetch(host, machine, found, store, "**")
    tree = found.tree()
    assert tree.files == 100_000
    pull(store, tree, tmp_path / "to")
    assert (tmp_path / "to" / "99" / "999").read_bytes() == b"999"
