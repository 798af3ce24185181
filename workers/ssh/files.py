"""Files over a connection that is there: a tree to a machine, and outputs from it, in any number of sittings.

The other end is ``workers/supervisor/agent.py``. What a machine says is checked before it is believed: its
command was somebody's, and may have said anything.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

from jobs.files.collect import Batch
from jobs.files.portable import KINDS, PIECE_BYTES, Refused, check_link, check_path
from jobs.files.tree import Entry, Tree
from workers.ssh.channel import PIECE_BYTES as PACKET_BYTES
from workers.ssh.channel import Channel, deadline
from workers.ssh.errors import BadAnswer, SshError, Unreachable, printable
from workers.ssh.machine import QUESTION_SECONDS, UNSAID, Machine
from workers.supervisor import agent_source, transfer

STALL_SECONDS = 60.0
"""After so long without a byte in either direction a transfer counts as cut off."""
LOOK_SECONDS = 0.5
FAILED, NOT_RUN, NO_PYTHON = 1, 126, 127
"""How the agent's Python ends where it stumbles, and the shell where there is none."""
LARGEST_LINE = 4 << 20
LARGEST_LISTING = 64 << 20
UNPACKED_BYTES = 256 << 10
MOST_ENTRIES = 1_000_000
LARGEST_NUMBER = 1 << 63

Interrupted = Callable[[], bool]


class FilesRefused(Exception):
    """The machine cannot take or give the files: a full disk, no Python. Another connection does not help.

    ``elsewhere``: whether another machine may help.
    """

    def __init__(self, why: str, *, elsewhere: bool = True) -> None:
        super().__init__(why)
        self.elsewhere = elsewhere


class Broken(Exception):
    """A transfer that was interrupted by who began it."""


@dataclass(frozen=True)
class Listing:
    """What matches on the machine. ``same``: numbers of entries that need not come again.

    ``resumed``: from which byte on the rest of a file comes; ``refused``: what does not come, and why;
    ``unmatched``: globs.
    """

    entries: list[Entry] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    same: list[int] = field(default_factory=list)
    resumed: dict[int, int] = field(default_factory=dict)


@dataclass
class Request:
    """What is wanted back. ``known``: path to size, time in ns, and how many bytes are there already."""

    globs: Sequence[str]
    known: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    running: bool = False


def bring(
    machine: Machine,
    attempt_id: str,
    tree: Tree,
    key: str,
    pieces: Callable[[int, bool], Iterator[tuple[str, bytes]]],
    *,
    interrupted: Interrupted,
    progress: Callable[[int], None],
) -> None:
    """Send a tree; *progress* hears of how many pieces are there.

    ``pieces(first, zstd)`` gives them from *first* on as they travel, compressed by zstd where that is known.

    Raises FilesRefused, Broken, and Unreachable, after which the same call goes on where this one ended.
    """
    dump = tree.dump()
    with _Talk(machine, attempt_id, "receive", interrupted) as talk:
        talk.say({"size": len(dump), "id": key}, dump)
        answer = talk.hear()
        if answer.get("complete"):
            return
        have, free = _number(answer.get("have")), _number(answer.get("free"))
        left = sum(item.size for item in tree.pieces[have:])
        if left > free:
            raise FilesRefused(f"the machine has {free} bytes of disk left, and the files take {left}")
        progress(have)
        for index, (encoding, data) in enumerate(pieces(have, bool(answer.get("zstd"))), have):
            talk.say({"piece": index, "size": len(data), "encoding": encoding}, data)
            for word in talk.waiting():
                progress(_number(word.get("done")))
        talk.say({"end": True})
        while not (word := talk.hear()).get("complete"):
            progress(_number(word.get("done")))


def fetch(
    machine: Machine,
    attempt_id: str,
    request: Request,
    listed: Callable[[Listing], None],
    *,
    interrupted: Interrupted,
) -> Iterator[Batch]:
    """What matches, a piece at a time, after *listed* has heard what there is.

    Raises FilesRefused, Broken, Unreachable and BadAnswer.
    """
    with _Talk(machine, attempt_id, "send", interrupted) as talk:
        known = zlib.compress(json.dumps(request.known).encode("ascii"), 1)
        head = {"globs": list(request.globs), "size": len(known), "running": request.running}
        talk.say(head, known)
        size = _number(talk.hear().get("size"))
        if size > LARGEST_LISTING:
            raise BadAnswer(f"{machine.where}: it lists too many files")
        with _sensible(machine):
            listing = _listing(talk.take(size), request.globs)
        listed(listing)
        count = len(listing.entries)
        while True:
            word = talk.hear()
            with _sensible(machine):
                batch = _batch(word, count)
            if not word.get("end") and batch.size > PIECE_BYTES:
                raise BadAnswer(f"{machine.where}: a piece of {batch.size} bytes")
            size = 0 if word.get("end") else _number(word.get("size"))
            if size > PIECE_BYTES + LARGEST_LINE:
                raise BadAnswer(f"{machine.where}: a piece of {size} bytes")
            data = talk.take(size)
            yield Batch(data, batch.size, batch.sha256, batch.encoding, batch.extents, batch.kept, batch.torn)
            if word.get("end"):
                return


class _Talk:
    """One call of the agent."""

    def __init__(self, machine: Machine, attempt_id: str, verb: Any, interrupted: Interrupted) -> None:
        self._machine, self._where, self._interrupted = machine, machine.where, interrupted
        with deadline(machine.wire, machine.where, QUESTION_SECONDS):
            self._channel = Channel(machine.wire, machine.where, transfer(attempt_id, verb))
        self._in = bytearray()
        self._words = bytearray()
        self._over = False
        source = agent_source()
        self._source = b"%d\n%s" % (len(source), source)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def say(self, word: Mapping[str, Any], data: bytes = b"") -> None:
        line = json.dumps(word, separators=(",", ":")).encode("ascii") + b"\n"
        head, self._source = self._source + line, b""
        for part in (head, data):
            for start in range(0, len(part), PACKET_BYTES):
                if self._interrupted():
                    raise Broken
                try:
                    self._channel.send(part[start : start + PACKET_BYTES], STALL_SECONDS)
                except SshError:
                    self._last_words()
                    raise

    def hear(self) -> dict[str, Any]:
        """The next word. Raises FilesRefused where the machine cannot."""
        while True:
            while (at := self._in.find(b"\n")) < 0:
                if len(self._in) > LARGEST_LINE:
                    raise BadAnswer(f"{self._where}: a word of more than {LARGEST_LINE} bytes")
                self._more()
            word = self._word(at)
            if not word.get("wait"):
                return word
            if self._interrupted():
                raise Broken

    def waiting(self) -> Iterator[dict[str, Any]]:
        """The words that have come, without waiting for more."""
        while not self._over and (data := self._channel.stdout()):
            self._in += data
        while (at := self._in.find(b"\n")) >= 0:
            word = self._word(at)
            if not word.get("wait"):
                yield word

    def take(self, size: int) -> bytes:
        """So many bytes."""
        while len(self._in) < size:
            self._more()
        data = bytes(self._in[:size])
        del self._in[:size]
        return data

    def _word(self, at: int) -> dict[str, Any]:
        line = bytes(self._in[:at])
        del self._in[: at + 1]
        try:
            word = json.loads(line)
        except (ValueError, RecursionError):
            word = None
        if not isinstance(word, dict):
            raise BadAnswer(f"{self._where}: {self._said(line)}")
        if "error" in word:
            raise FilesRefused(printable(str(word["error"])))
        return word

    def _said(self, words: bytes) -> str:
        return UNSAID if self._machine.discreet else printable(words)

    def _more(self) -> None:
        """Wait for more, and end where nothing more comes."""
        end = time.monotonic() + STALL_SECONDS
        while True:
            self._channel.bell.rearm()
            while said := self._channel.stderr():
                self._words = (self._words + said)[-LARGEST_LINE:]
            data = self._channel.stdout()
            if data:
                self._in += data
                return
            if data == b"":
                self._over = True
                self._end()
            if self._interrupted():
                raise Broken
            if time.monotonic() > end:
                raise Unreachable(f"{self._where}: nothing has come for {STALL_SECONDS:.0f} s")
            self._channel.bell.wait(LOOK_SECONDS)

    def _end(self) -> None:
        """The agent has ended too early: say why, by what the system and Python said."""
        with deadline(self._machine.wire, self._where, QUESTION_SECONDS):
            status = self._channel.status()
        while said := self._channel.stderr():
            self._words += said
        words = bytes(self._words).strip().splitlines()
        why = self._said(words[-1]) if words else f"the transfer ended with status {status}"
        if status in (NO_PYTHON, NOT_RUN, FAILED):  # by itself: it would do the same once more
            raise FilesRefused(why, elsewhere=status == FAILED)
        raise Unreachable(f"{self._where}: {why}")

    def _last_words(self) -> None:
        """Whoever ends while we send has said why before."""
        with suppress(SshError):
            for _ in self.waiting():
                pass


@contextmanager
def _sensible(machine: Machine) -> Iterator[None]:
    """Turn what comes of reading nonsense into a BadAnswer."""
    try:
        yield
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        raise _nonsense(machine, error) from error
    except (RecursionError, zlib.error, Refused) as error:
        raise _nonsense(machine, error) from error


def _nonsense(machine: Machine, error: Exception) -> BadAnswer:
    said = UNSAID if machine.discreet else printable(str(error))
    return BadAnswer(f"{machine.where}: what it says of its files makes no sense: {said}")


def _listing(data: bytes, globs: Sequence[str]) -> Listing:
    """What the machine lists, checked line by line: what it claims is never all in memory unchecked."""
    found = Listing()
    for count, line in enumerate(_lines(data)):
        if count > 2 * MOST_ENTRIES:
            raise ValueError("it lists too many files")
        match json.loads(line):
            case ["entry", *values]:
                found.entries.append(_entry(values))
            case ["same", number]:
                found.same.append(_below(number, len(found.entries)))
            case ["from", number, got]:
                found.resumed[_below(number, len(found.entries))] = _number(got)
            case ["not", why]:
                found.refused.append(printable(str(why)))
            case ["glob", number]:
                found.unmatched.append(globs[_below(number, len(globs))])
            case _:
                raise ValueError("a line of no known kind")
    return found


def _lines(data: bytes) -> Iterator[bytes]:
    """The lines that were compressed, unpacked a little at a time."""
    unpacker, rest, left = zlib.decompressobj(), b"", data
    while True:
        more = unpacker.decompress(left, UNPACKED_BYTES)
        left = unpacker.unconsumed_tail
        *lines, rest = (rest + more).split(b"\n")
        yield from lines
        if len(rest) > LARGEST_LINE:
            raise ValueError("a line that is too long")
        if not more or (unpacker.eof and not left):
            break
    if rest or not unpacker.eof:
        raise ValueError("a list that is not whole")


def _entry(value: Sequence[Any]) -> Entry:
    path, kind, mode, size, mtime, target = value[:6]
    check_path(path)
    if kind not in KINDS:
        raise ValueError("an entry of no known kind")
    if kind == "l":
        check_link(path, target)
    return [
        path,
        kind,
        _number(mode) & 0o777,
        _number(size),
        _time(mtime),
        target if kind == "l" else None,
        [],
    ]


def _batch(word: Mapping[str, Any], count: int) -> Batch:
    extents = [(_below(n, count), _number(at), _number(size)) for n, at, size in word.get("extents", ())]
    size = _number(word.get("raw", 0))
    if sum(extent[2] for extent in extents) != size or not all(extent[2] for extent in extents):
        raise ValueError("a piece that holds more or less than it says")
    kept = [
        (_below(n, count), _number(mode) & 0o777, _number(length), _time(at))
        for n, mode, length, at in word["kept"]
    ]
    torn = [(_below(n, count), printable(str(why))) for n, why in word["torn"]]
    return Batch(
        b"", size, str(word.get("sha256", "")), str(word.get("encoding", "raw")), extents, kept, torn
    )


def _below(value: object, count: int) -> int:
    number = _number(value)
    if number >= count:
        raise BadAnswer(f"there is no entry {number}")
    return number


def _time(value: int) -> int:
    """In ns since 1970, or before."""
    _number(abs(value))
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < LARGEST_NUMBER:
        raise BadAnswer("what should be a number of bytes is none")
    return value
