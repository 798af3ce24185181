"""The machine's end of a transfer, as a process of its own that we talk to over its pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from jobs.files import portable, workdir
from jobs.files.store import Artifacts
from jobs.files.tree import Tree
from tests.trees import picture
from workers.ssh.files import LARGEST_LINE, _listing
from workers.supervisor import agent_source, transfer

ATTEMPT = "a" * 26


class Agent:
    """One call; the folder of the attempt is below *home*."""

    def __init__(self, home: Path, verb: Any) -> None:
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {transfer(ATTEMPT, verb)}"],
            env={**os.environ, "HOME": str(home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.input, self.output = self.process.stdin, self.process.stdout
        source = agent_source()
        self.input.write(b"%d\n%s" % (len(source), source))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self.input, self.output):
            pipe.close()
        self.process.kill()
        self.process.wait()

    def say(self, word: dict[str, Any], data: bytes = b"") -> None:
        self.input.write(json.dumps(word).encode() + b"\n" + data)
        self.input.flush()

    def hear(self) -> dict[str, Any]:
        while True:
            line = self.output.readline()
            assert len(line) <= LARGEST_LINE
            word = json.loads(line)
            if not word.get("wait"):
                assert isinstance(word, dict)
                return word

    def asked(self, *globs: str, running: bool = False) -> list[list[Any]]:
        """Ask for what matches; the lines of the listing."""
        known = zlib.compress(b"{}")
        self.say({"globs": globs, "size": len(known), "running": running}, known)
        listing = zlib.decompress(self.output.read(self.hear()["size"]))
        return [json.loads(line) for line in listing.splitlines()]

    def words(self) -> Iterator[dict[str, Any]]:
        """What it says of files after that, without their bytes."""
        while not (word := self.hear()).get("end"):
            self.output.read(word["size"])
            yield word
        yield word

    def offered(self, tree: Tree) -> dict[str, Any]:
        """Offer a tree; what it says to that."""
        dump = tree.dump()
        self.say({"size": len(dump), "id": "one"}, dump)
        return self.hear()

    def given(self, store: Artifacts, tree: Tree, index: int) -> None:
        raw = store.piece(tree.pieces[index])
        self.say({"piece": index, "size": len(raw), "encoding": "raw"}, raw)
        assert self.hear() == {"done": index + 1}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The folder in which the command ran."""
    folder = tmp_path / ".gpu-job-runner" / ATTEMPT / "run" / "work"
    folder.mkdir(parents=True)
    return folder


def _old(path: Path) -> None:
    """Long enough ago not to be taken for being written."""
    os.utime(path, (time.time() - 60,) * 2)


def _told(agent: Agent) -> tuple[list[int], list[list[Any]]]:
    """The numbers of the files that are whole, and what is said of those that are not."""
    words = list(agent.words())
    kept = [number for word in words for number, *_ in word["kept"]]
    return kept, [item for word in words for item in word["torn"]]


def test_what_cannot_be_looked_into_takes_nothing_else_along(work: Path, tmp_path: Path) -> None:
    (work / "result").write_text("good")
    deep = work.joinpath("data", *["d"] * (portable.DEEPEST + 5))
    deep.mkdir(parents=True)
    for globs, told in ((("result",), 0), (("result", "data/**"), 1), (("**",), 1)):
        with Agent(tmp_path, "send") as agent:
            listing = agent.asked(*globs)
            assert sum(line[0] == "not" and "deeper than" in line[1] for line in listing) == told
            kept, _ = _told(agent)
        names = [line[1] for line in listing if line[0] == "entry"]
        assert "result" in names
        assert kept == [names.index("result")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root looks into everything")
def test_a_folder_of_somebody_else(work: Path, tmp_path: Path) -> None:
    (work / "result").write_text("good")
    (work / "theirs").mkdir(mode=0)
    with Agent(tmp_path, "send") as agent:
        listing = agent.asked("**")
    assert ["not", "'theirs' cannot be read: permission denied"] in listing
    assert [line[1] for line in listing if line[0] == "entry"] == ["result", "theirs"]


@pytest.mark.parametrize("running", [True, False])
def test_a_file_that_is_written_anew_after_it_was_listed(work: Path, tmp_path: Path, running: bool) -> None:
    """While the command runs, its earlier copy is better than what is half written."""
    (work / "a large one").write_bytes(os.urandom(portable.PIECE_BYTES + 1_000_000))
    (work / "metrics").write_text("good")
    for path in work.iterdir():
        _old(path)
    with Agent(tmp_path, "send") as agent:
        agent.asked("*", running=running)  # and now it waits until we read of the large one
        (work / "metrics").write_text("")
        kept, torn = _told(agent)
    assert kept == ([0] if running else [0, 1])
    assert torn == ([[1, "it changed while it was read"]] if running else [])


@pytest.mark.parametrize("running", [True, False])
def test_many_that_hold_nothing_are_told_of_in_many_words(work: Path, tmp_path: Path, running: bool) -> None:
    for number in range(3500):
        (work / f"{number:04}").touch()  # while the command runs, those of just now may not be whole
    with Agent(tmp_path, "send") as agent:
        agent.asked("*", running=running)
        words = list(agent.words())
    told = [len(word["torn"]) + len(word["kept"]) for word in words]
    assert sum(told) == 3500
    assert max(told) <= 1000


def test_whoever_comes_later_is_the_only_one_that_receives(tmp_path: Path) -> None:
    folder = tmp_path / "from"
    folder.mkdir()
    (folder / "large").write_bytes(os.urandom(3 * portable.PIECE_BYTES))
    store = Artifacts(str(tmp_path / "store"))
    _, tree = workdir.pack(workdir.scan(folder, "x", 1 << 30), store, tmp_path / "cache", "x")
    home = tmp_path / ".gpu-job-runner" / ATTEMPT
    home.mkdir(parents=True)
    with Agent(tmp_path, "receive") as first, Agent(tmp_path, "receive") as second:
        assert first.offered(tree)["have"] == 0
        first.given(store, tree, 0)
        assert second.offered(tree)["have"] == 1, "it goes on where the other one was"
        assert first.process.wait() == -signal.SIGKILL
        for index in range(1, len(tree.pieces)):
            second.given(store, tree, index)
        second.say({"end": True})
        assert second.hear() == {"complete": True}
        assert picture(home / "tree") == picture(folder)
    with Agent(tmp_path, "receive") as third:
        assert third.offered(tree) == {"complete": True}
    # Its command took the folder: what comes then begins anew, and finds nothing that it could go on with.
    (home / "tree").rename(home / "run")
    with Agent(tmp_path, "receive") as fourth:
        assert fourth.offered(tree)["have"] == 0


@pytest.mark.parametrize(
    "lines",
    [
        b'["entry", "../x", "f", 420, 1, 1, null]',
        b'["entry", "' + b"x" * 5000 + b'", "f", 420, 1, 1, null]',
        b'["entry", "\\ud800", "f", 420, 1, 1, null]',
        b'["entry", "x", "f", 420, 1' + b"0" * 30 + b", 1, null]",
        b'["entry", "x", "f", 420, 1, -1' + b"0" * 30 + b", null]",
        b'["entry", "x", "f", 420, 1, 1.5, null]',
        b'["entry", "x", "f", 420, 1, Infinity, null]',
        b'["entry", "x", "p", 420, 1, 1, null]',
        b'["entry", "x", "l", 420, 0, 1, "/etc"]',
        b'["entry"]',
        b'["same", 0]',
        b'["glob", 7]',
        b'["glob", "0"]',
        b'["from", 0, 1]',
        b"[" * 100_000,
        b'{"entry": 1}',
        b'["x"]',
    ],
)
def test_a_list_that_makes_no_sense(lines: bytes) -> None:
    from workers.ssh.errors import BadAnswer
    from workers.ssh.files import _sensible

    class Somewhere:
        where, discreet = "somewhere", False

    with pytest.raises(BadAnswer), _sensible(Somewhere()):  # type: ignore[arg-type]
        _listing(zlib.compress(lines + b"\n"), ["*"])


@pytest.mark.parametrize("cut", [1, 50])
def test_a_list_that_is_cut_short(cut: int) -> None:
    whole = zlib.compress(b'["entry", "x", "d", 420, 0, 1, null]\n' * 1000)
    with pytest.raises(ValueError, match="not whole"):
        _listing(whole[:-cut], ["*"])
    assert len(_listing(whole, ["*"]).entries) == 1000


def test_a_long_list_is_never_unpacked_as_a_whole() -> None:
    """Of a small message that unpacks to a large one, only the first lines are ever there."""
    bomb = zlib.compress(b"[],\n" * (64 << 20), 9)
    code = f"""
import resource, sys
from workers.ssh.files import _listing
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    _listing(data, [])
except ValueError:
    sys.exit(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > {32 << 10})
"""
    assert len(bomb) < 1 << 20
    subprocess.run([sys.executable, "-P", "-c", code], input=bomb, check=True)
