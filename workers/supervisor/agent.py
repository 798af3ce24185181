"""The machine's end of a transfer of files: its source is sent with each call, for the machine's Python.

    receive FOLDER   build FOLDER/tree from a tree and its pieces, which come on standard input
    send FOLDER      send what matches of FOLDER/run/work, as pieces, on standard output

What is said is a line of JSON each; where it says ``size``, so many bytes follow; ``wait`` is a sign of life.
A transfer that was cut off is begun again with the same words, and goes on where it was. Like
``portable``, which comes along, this must do with Python 3.8 and its standard library.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
import threading
import time
import zlib
from concurrent.futures import Future, wait
from subprocess import PIPE, run
from typing import Any, Callable, Iterator, Sequence, TypeVar

from jobs.files import portable
from jobs.files.portable import KIND, MTIME, PATH, PIECE_BYTES, SIZE, Folder, Refused, Writer

READ_BYTES = 1 << 20
MOST_NEWS = 1000
"""Of how many files a word tells: also files that hold nothing have to be told of."""
SIGN_SECONDS = 5.0
QUIET_SECONDS = 1.0
"""While the command runs: a file that was written to so lately may not be whole."""

T = TypeVar("T")


class Left(Exception):
    """Who called is gone."""


def say(**words: Any) -> None:
    """One line of JSON."""
    sys.stdout.buffer.write(json.dumps(words, separators=(",", ":")).encode("ascii") + b"\n")
    sys.stdout.buffer.flush()


def hear() -> dict[str, Any]:
    """The next line of JSON. Raises Left."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        raise Left
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def take(size: int) -> bytes:
    """So many bytes. Raises Left."""
    data = sys.stdin.buffer.read(size)
    if len(data) != size:
        raise Left
    return data


def patiently(work: Callable[[], T]) -> T:
    """Do what may take long, and give a sign of life now and then."""
    done: Future[T] = Future()

    def do() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            done.set_exception(error)

    # A daemon, for who called may be gone meanwhile: then this process ends, whatever it is at.
    threading.Thread(target=do, daemon=True).start()
    while not wait([done], SIGN_SECONDS).done:
        say(wait=True)
    return done.result()


def receive(home: str) -> None:
    """Take a tree; a folder of another one, or of before a restart, is begun anew."""
    head = hear()
    found = json.loads(zlib.decompress(take(head["size"])))
    patiently(lambda: _alone(home))
    sizes = [piece[2] for piece in found["pieces"]]
    tree, new, mark = (os.path.join(home, name) for name in ("tree", "tree.new", "tree.mark"))
    this = [head["id"], _boot_id()]
    at = _mark(mark)
    if at == [*this, "complete"] and os.path.isdir(tree):
        say(complete=True)
        return
    if at[:2] != this or at[2] == "complete" or not os.path.isdir(new):
        for path in (tree, new):
            patiently(lambda path=path: _remove(path))  # type: ignore[misc]
        os.mkdir(new, 0o700)
        at = [*this, 0]
    done = int(at[2])
    facts = os.statvfs(home)
    zstd = shutil.which("zstd")
    say(have=done, zstd=zstd is not None, free=facts.f_bavail * facts.f_frsize)
    with Folder(new) as folder:
        writer = Writer(folder, found["entries"], sizes)
        if done == 0:
            writer.begin()
        while "end" not in (head := hear()):
            index = head["piece"]
            raw = _expand(head["encoding"], take(head["size"]), sizes[index], zstd)
            if raw is None or len(raw) != sizes[index] or portable.digest(raw) != found["pieces"][index][1]:
                raise Refused(f"piece {index} did not arrive as it was sent")
            writer.piece(index, raw)
            _set_mark(mark, [*this, index + 1])
            say(done=index + 1)
        writer.finish()
    patiently(os.sync)
    os.rename(new, tree)
    _set_mark(mark, [*this, "complete"])
    say(complete=True)


def _alone(home: str) -> None:
    """Be the only one that receives: an earlier one's connection was given up, and that one is ended.

    Raises Left where a later one came meanwhile.
    """
    lock, turn = os.path.join(home, "tree.lock"), os.path.join(home, "tree.turn")
    mine = [os.getpid(), time.time(), 0]
    _set_mark(turn, mine)
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # open until this process ends
    while True:
        if _mark(turn) != mine:
            raise Left
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            _end_receiver(os.pread(fd, 20, 0), home)
            time.sleep(0.05)
    os.ftruncate(fd, 0)
    os.pwrite(fd, b"%d" % os.getpid(), 0)


def _end_receiver(pid: bytes, home: str) -> None:
    if not pid.isdigit():
        return
    try:
        with open(f"/proc/{int(pid)}/cmdline", "rb") as file:
            if file.read().endswith(b"\0receive\0" + os.fsencode(home) + b"\0"):
                os.kill(int(pid), signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return


def _remove(path: str) -> None:
    """Remove a folder, also where folders in it are read-only."""
    if not os.path.isdir(path):
        return
    for folder, names, _ in os.walk(path):
        for name in names:
            inner = os.path.join(folder, name)
            if not os.path.islink(inner):
                os.chmod(inner, 0o700)
    shutil.rmtree(path)


def _expand(encoding: str, data: bytes, size: int, zstd: str | None) -> bytes | None:
    if encoding == "zlib":
        return zlib.decompressobj().decompress(data, size + 1)
    if encoding == "zstd" and zstd is not None:
        return run([zstd, "-d", "-q", "-c"], input=data, stdout=PIPE, check=False).stdout
    return data


def _boot_id() -> str:
    """What is new after a restart, in which writes that nobody synced may have been lost."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "-"


def _mark(path: str) -> list[Any]:
    try:
        with open(path, encoding="ascii") as file:
            found = json.load(file)
        return found if isinstance(found, list) and len(found) == 3 else [None, None, 0]
    except (OSError, ValueError):
        return [None, None, 0]


def _set_mark(path: str, mark: list[Any]) -> None:
    new = f"{path}.{os.getpid()}"
    with open(new, "w", encoding="ascii") as file:
        json.dump(mark, file)
    os.replace(new, path)


def send(home: str) -> None:
    """Send what matches and is not there yet, a piece at a time; say of each file whether it was whole."""
    head = hear()
    known = json.loads(zlib.decompress(take(head["size"])))
    work = os.path.join(home, "run", "work")
    try:
        folder = Folder(work)
    except FileNotFoundError:
        _list([["glob", number] for number in range(len(head["globs"]))])
        say(end=True, kept=[], torn=[])
        return
    running = bool(head["running"])
    with folder:
        entries, news = patiently(lambda: _matched(folder, head["globs"]))
        busy = patiently(lambda: _busy(folder, entries)) if running else set()
        torn, first, rest = [], [], []
        for number, entry in enumerate(entries):
            size, mtime, got = known.get(entry[PATH], (None, None, 0))
            if entry[KIND] != "f":
                continue
            looks_the_same = (size, mtime) == (entry[SIZE], entry[MTIME])
            if looks_the_same and got == size:
                news.append(["same", number])
            elif number in busy:
                torn.append([number, "it is being written"])
            elif looks_the_same and got:
                news.append(["from", number, got])
                first.append((number, got))
            else:
                rest.append((number, 0))
        _list([["entry", *entry[:-1]] for entry in entries] + news)
        _Sender(folder, entries, torn, running).all(first + rest)


def _list(news: list[Any]) -> None:
    """What there is: a line for each entry, and for what is to be said of it.

    ``entry``; ``same``: it need not come again; ``from``: which byte on the rest of it comes; ``not``: what
    does not come, and why; ``glob``: which one nothing matches.
    """
    lines = "".join(json.dumps(item, separators=(",", ":")) + "\n" for item in news)
    data = zlib.compress(lines.encode("ascii"), 1)
    say(size=len(data))
    sys.stdout.buffer.write(data)


def _matched(folder: Folder, globs: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """What matches, and news of what cannot come and of globs without a match."""
    tests = portable.matcher(globs)
    leads = portable.may_lead(globs)
    hit = [False] * len(tests)
    entries: list[Any] = []
    news: list[Any] = []

    def unread(path: str, why: str) -> None:
        news.append(["not", f"{path!r} cannot be read: {why}"])

    for path, facts, target in portable.walk(folder.fd, lambda path, _: leads(path), unread):
        matches = [number for number, test in enumerate(tests) if test.match(path)]
        if not matches:
            continue
        for number in matches:
            hit[number] = True
        kind = portable.kind_of(facts.st_mode)
        try:
            portable.check_path(path)
            if kind is None:
                raise Refused(f"{path!r} is {portable.what_is(facts.st_mode)}")
            if kind == "l":
                portable.check_link(path, target or "")
        except Refused as error:
            news.append(["not", portable.reason(error)])
            continue
        size = facts.st_size if kind == "f" else 0
        entries.append([path, kind, facts.st_mode & 0o777, size, facts.st_mtime_ns, target, []])
    news += [["glob", number] for number, was in enumerate(hit) if not was]
    return entries, news


def _busy(folder: Folder, entries: list[Any]) -> set[int]:
    """Which files somebody may be in the middle of writing."""
    now = time.time()
    by_inode: dict[tuple[int, int], int] = {}
    found: set[int] = set()
    for number, entry in enumerate(entries):
        if entry[KIND] != "f":
            continue
        if -QUIET_SECONDS < now - entry[MTIME] / 1e9 < QUIET_SECONDS:
            found.add(number)
        try:
            parent, name = folder.place(entry[PATH])
            facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except (OSError, Refused):
            continue
        by_inode[facts.st_dev, facts.st_ino] = number
    for pid in os.listdir("/proc") if os.path.isdir("/proc/self/fd") else ():
        if pid.isdigit():
            found.update(by_inode[inode] for inode in _written_by(pid) if inode in by_inode)
    return found


def _written_by(pid: str) -> Iterator[tuple[int, int]]:
    try:
        numbers = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return  # it ended, or is somebody else's
    for number in numbers:
        try:
            facts = os.stat(f"/proc/{pid}/fd/{number}")
            with open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii") as file:
                flags = [line.split()[1] for line in file if line.startswith("flags:")]
        except (OSError, IndexError):
            continue
        if flags and int(flags[0], 8) & (os.O_WRONLY | os.O_RDWR):
            yield facts.st_dev, facts.st_ino


class _Sender:
    """Fills pieces with files, and tells of each file how it went with the piece that holds its end."""

    def __init__(self, folder: Folder, entries: list[Any], torn: list[Any], running: bool) -> None:
        self._folder, self._entries, self._running = folder, entries, running
        self._zstd = shutil.which("zstd")
        self._raw = bytearray()
        self._extents: list[list[int]] = []
        self._kept: list[list[int]] = []
        self._torn: list[list[Any]] = []
        for at in range(0, len(torn), MOST_NEWS):
            self._torn = torn[at : at + MOST_NEWS]
            self._flush()

    def all(self, files: list[tuple[int, int]]) -> None:
        for number, start in files:
            try:
                self._file(number, start)
            except BrokenPipeError:
                raise
            except (OSError, Refused) as error:
                self._torn.append([number, portable.reason(error)])
            if len(self._raw) >= PIECE_BYTES or len(self._kept) + len(self._torn) >= MOST_NEWS:
                self._flush()
        self._flush()
        say(end=True, kept=self._kept, torn=self._torn)

    def _file(self, number: int, start: int) -> None:
        entry = self._entries[number]
        fd = self._folder.open_file(entry[PATH])
        try:
            before = os.fstat(fd)
            listed = (before.st_size, before.st_mtime_ns) == (entry[SIZE], entry[MTIME])
            # While the command runs, only what was looked at is known not to be in the middle of a write.
            if (start or self._running) and not listed:
                raise Refused("it changed while it was read")
            at = start
            while at < before.st_size:
                data = os.pread(fd, min(READ_BYTES, before.st_size - at, PIECE_BYTES - len(self._raw)), at)
                if not data:
                    break
                if self._extents and self._extents[-1][0] == number:
                    self._extents[-1][2] += len(data)
                else:
                    self._extents.append([number, at, len(data)])
                self._raw += data
                at += len(data)
                if len(self._raw) >= PIECE_BYTES and at < before.st_size:
                    self._flush()
            after = os.fstat(fd)
        finally:
            os.close(fd)
        looks = (before.st_size, before.st_mtime_ns, before.st_ctime_ns)
        if at != before.st_size or looks != (after.st_size, after.st_mtime_ns, after.st_ctime_ns):
            raise Refused("it changed while it was read")
        self._kept.append([number, before.st_mode & 0o777, before.st_size, before.st_mtime_ns])

    def _flush(self) -> None:
        if not self._raw and not self._kept and not self._torn:
            return
        raw = bytes(self._raw)
        encoding, data = portable.squeeze(raw, self._zstd)
        say(
            size=len(data),
            raw=len(raw),
            sha256=portable.digest(raw),
            encoding=encoding,
            extents=self._extents,
            kept=self._kept,
            torn=self._torn,
        )
        sys.stdout.buffer.write(data)
        self._raw = bytearray()
        self._extents, self._kept, self._torn = [], [], []


def main() -> int:
    """Do what the arguments say; what goes wrong is said in a word of the protocol."""
    verb, home = sys.argv[1:3]
    os.umask(0o077)
    try:
        {"receive": receive, "send": send}[verb](home)
    except Left:
        return 3
    except BrokenPipeError:
        os._exit(3)  # without the interpreter's own complaint about what was not flushed
    except Refused as error:
        say(error=str(error))
        return 1
    except OSError as error:
        name = f"{error.filename!r}: " if isinstance(error.filename, (str, bytes)) else ""
        say(error=f"{name}{(error.strerror or str(error)).lower()}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
