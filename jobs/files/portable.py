"""What a machine and we do alike: write a tree into a folder, read one, and never leave that folder.

The source of this module is sent to machines as it stands: the standard library and Python 3.8 are all that
it may use. Folders are entered one name at a time, by descriptor and never through a link, so whatever is in
the way, or is put there meanwhile, nothing outside is read or written.

An *entry* is ``[path, kind, mode, size, mtime_ns, target, extents]``: kind is ``f`` for a file, ``d`` for a
folder, ``l`` for a symbolic link; paths are relative, with ``/``; names that are no UTF-8 are kept by
surrogates. ``extents`` says where the bytes are: ``[piece, offset, length]`` each, and may run on into the
pieces that follow.
"""

from __future__ import annotations

import bisect
import errno
import hashlib
import os
import re
import stat
import subprocess
import zlib
from typing import Any, Iterable, Iterator, Sequence

PIECE_BYTES = 8 << 20
SAMPLE_BYTES = 64 << 10
WORTH = 0.9
"""What compresses to less than this part of its size is sent compressed."""
KINDS = ("f", "d", "l")

PATH, KIND, MODE, SIZE, MTIME, TARGET, EXTENTS = range(7)
DEEPEST = 200
LONGEST_PATH = 4096
LONGEST_REASON = 300


class Refused(Exception):
    """What may not, or cannot, be read or written, as a sentence about one path."""


def encode(path: str) -> bytes:
    """The name as the system knows it, whatever the locale is."""
    return path.encode("utf-8", "surrogateescape")


def decode(path: bytes) -> str:
    """The opposite."""
    return path.decode("utf-8", "surrogateescape")


def check_path(path: str) -> None:
    """Raise Refused for a path that is not one inside of a folder."""
    if not _is_name(path) or any(part in ("", ".", "..") for part in path.split("/")):
        raise Refused(f"{path[:100]!r} is not the path of a file inside of the folder")


def _is_name(path: str) -> bool:
    """Whether a system could know this name."""
    try:
        return 0 < len(encode(path)) <= LONGEST_PATH and "\0" not in path
    except UnicodeEncodeError:
        return False


def check_link(path: str, target: str) -> None:
    """Raise Refused for a symbolic link that leads, or could lead, out of the folder.

    ``..`` may stand at the front only, and not for more folders than the link is deep in. So no chain of such
    links leads out either: behind a name there is no way up any more.
    """
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    if not _is_name(target) or target.startswith("/"):
        raise Refused(f"{path!r} is a link to {target[:100]!r}, which is outside of the folder")
    if ups > path.count("/") or ".." in parts[ups:]:
        raise Refused(f"{path!r} is a link to {target!r}, which leads, or may lead, out of the folder")


class Folder:
    """An open folder, in which names are looked up and nothing else is. Close it after use."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._held: tuple[str, int] | None = None

    def close(self) -> None:
        self._let_go()
        os.close(self.fd)

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def place(self, path: str, make: bool = False) -> tuple[int, bytes]:
        """The descriptor of the folder that *path* is in, and its name there; *make* folders on the way.

        The descriptor is good until the next call. Raises OSError, and Refused where a link is in the way.
        """
        check_path(path)
        parent, _, name = path.rpartition("/")
        if not parent:
            return self.fd, encode(name)
        if self._held is None or self._held[0] != parent:
            self._let_go()
            self._held = (parent, self._enter(parent, make))
        return self._held[1], encode(name)

    def _let_go(self) -> None:
        if self._held is not None:
            os.close(self._held[1])
            self._held = None

    def _enter(self, path: str, make: bool) -> int:
        at = os.dup(self.fd)
        for part in path.split("/"):
            name = encode(part)
            try:
                if make:
                    try:
                        os.mkdir(name, dir_fd=at)  # no entry says its mode, so that of any new folder
                    except FileExistsError:
                        pass
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    above = "" if part == path else f"{path!r}: "
                    raise Refused(f"{above}{part!r} is there already, and is no folder") from None
                raise
            finally:
                os.close(at)
            at = inner
        return at

    def open_file(self, path: str) -> int:
        """Open a regular file to read; a pipe or a device is not even touched. Raises Refused and OSError."""
        parent, name = self.place(path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | getattr(os, "O_NOCTTY", 0)
        try:
            if not stat.S_ISREG(look(name, parent).st_mode):
                raise Refused(f"{path!r} is no regular file any more")
            return os.open(name, flags, dir_fd=parent)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise Refused(f"{path!r} is a link now") from None
            raise


def look(name: bytes, parent: int) -> os.stat_result:
    """What is under a name, itself and not what it leads to. Raises OSError."""
    return os.stat(name, dir_fd=parent, follow_symlinks=False)


def kind_of(mode: int) -> str | None:
    """``f``, ``d``, ``l``, or None for a socket, a pipe or a device."""
    if stat.S_ISREG(mode):
        return "f"
    if stat.S_ISDIR(mode):
        return "d"
    return "l" if stat.S_ISLNK(mode) else None


def what_is(mode: int) -> str:
    """A word for what is none of these."""
    for test, word in ((stat.S_ISSOCK, "a socket"), (stat.S_ISFIFO, "a named pipe")):
        if test(mode):
            return word
    return "a device"


def walk(
    fd: int, enter: Any = None, refused: Any = None, prefix: str = ""
) -> Iterator[tuple[str, os.stat_result, str | None]]:
    """All that is in an open folder, folders before what they hold: path, facts, target of a link.

    ``enter(path, is_folder)`` says whether something is of interest at all. What cannot be looked into is
    told to ``refused(path, why)``, and left out; without that, Refused or OSError is raised.
    """
    try:
        names = sorted(os.fsencode(name) for name in os.listdir(fd))
        if prefix.count("/") > DEEPEST:
            raise Refused(f"{prefix[:80]!r}… lies deeper than {DEEPEST} folders")
    except (OSError, Refused) as error:
        _refuse(refused, prefix[:-1], error)
        return
    for raw in names:
        path = prefix + decode(raw)
        try:
            facts = look(raw, fd)
        except FileNotFoundError:
            continue  # it went meanwhile
        except OSError as error:
            _refuse(refused, path, error)
            continue
        folder = stat.S_ISDIR(facts.st_mode)
        if enter is not None and not enter(path, folder):
            continue
        try:
            target = decode(os.readlink(raw, dir_fd=fd)) if stat.S_ISLNK(facts.st_mode) else None
            yield path, facts, target
            if not folder:
                continue
            inner = os.open(raw, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        except FileNotFoundError:
            continue
        except OSError as error:
            _refuse(refused, path, error)
            continue
        try:
            yield from walk(inner, enter, refused, path + "/")
        finally:
            os.close(inner)


def _refuse(refused: Any, path: str, error: Exception) -> None:
    if refused is None:
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, path) from None
        raise error
    refused(path, reason(error))


def reason(error: Exception) -> str:
    """Why something did not work, in a few words."""
    said = (error.strerror or "it failed").lower() if isinstance(error, OSError) else str(error)
    return said[:LONGEST_REASON]


def may_lead(globs: Sequence[str]) -> Any:
    """A test of folders: whether something in there can match one of *globs*, by how they begin."""
    begins = []
    for glob in globs:
        parts = [part for part in glob.split("/") if part not in ("", ".")]
        plain = 0
        while plain < len(parts) and not set(parts[plain]) & set("*?["):
            plain += 1
        begins.append(parts[:plain])

    def test(path: str) -> bool:
        parts = path.split("/")
        return any(parts[: len(begin)] == begin[: len(parts)] for begin in begins)

    return test


def matcher(globs: Sequence[str]) -> list[Any]:
    """A test for each glob: ``*`` and ``?`` stay within a folder, ``**`` crosses, ``[a-z]`` is a class.

    A path matches also where a folder above it does.
    """
    return [re.compile(_pattern(glob) + r"(?:/.*)?\Z", re.DOTALL) for glob in globs]


def _pattern(glob: str) -> str:
    glob = "/".join(part for part in glob.split("/") if part not in ("", "."))
    found, at = "", 0
    while at < len(glob):
        char = glob[at]
        begin = at + (2 if glob[at + 1 : at + 2] in ("!", "^") else 1)
        if glob.startswith("**/", at) and (at == 0 or glob[at - 1] == "/"):
            found, at = found + "(?:.*/)?", at + 3
        elif glob.startswith("**", at):
            found, at = found + ".*", at + 2
        elif char == "[" and (end := glob.find("]", begin + 1)) > 0:
            found, at = found + _class(glob[begin:end], begin == at + 2), end + 1
        else:
            found, at = found + {"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char)), at + 1
    return found


def _class(inside: str, others: bool) -> str:
    """What stands in brackets: characters, and ranges of them; nothing in there has another meaning."""
    found, at = "", 0
    while at < len(inside):
        last = inside[at + 2 : at + 3]
        if inside[at + 1 : at + 2] == "-" and last:
            if inside[at] <= last:
                found += f"{re.escape(inside[at])}-{re.escape(last)}"
            at += 3
        else:
            found, at = found + re.escape(inside[at]), at + 1
    if not found:
        return "[^/]" if others else "(?!)"
    return f"(?!/)[{'^' if others else ''}{found}]"


def digest(raw: Any) -> str:
    """The name of a piece: the SHA-256 of its bytes, in hex."""
    return hashlib.sha256(raw).hexdigest()


def squeeze(raw: bytes, zstd: str | None) -> tuple[str, bytes]:
    """A piece as it travels: ``raw`` where compressing does not pay, else ``zstd`` or ``zlib``."""
    sample = raw[:SAMPLE_BYTES]
    if len(zlib.compress(sample, 1)) > WORTH * len(sample):
        return "raw", raw
    if zstd is not None:
        done = subprocess.run([zstd, "-1", "-q", "-c"], input=raw, stdout=subprocess.PIPE, check=False)
        if done.returncode == 0:
            return "zstd", done.stdout
    return "zlib", zlib.compress(raw, 1)


class Writer:
    """Writes a tree into a folder, piece by piece and in as many sittings as it takes.

    A file appears under its name when it is whole: whatever ends this in between leaves no half file there,
    and a piece that is written twice does no harm. *pieces*: how many bytes each has.
    """

    def __init__(self, folder: Folder, entries: Iterable[list[Any]], pieces: Sequence[int]) -> None:
        self._folder = folder
        self._entries = list(entries)
        starts, total = [], 0
        for size in pieces:
            starts.append(total)
            total += size
        self._starts, self._total = starts, total
        self._check(len(pieces))
        self._runs: list[tuple[int, int, int, int]] = []  # from, to, where in the file, which entry
        self._ends: dict[int, int] = {}
        for number, entry in enumerate(self._entries):
            at = 0
            for piece, offset, length in entry[EXTENTS] if entry[KIND] == "f" else ():
                start = starts[piece] + offset
                self._runs.append((start, start + length, at, number))
                at += length
                self._ends[number] = max(self._ends.get(number, 0), start + length)
        self._runs.sort()
        self._froms = [run[0] for run in self._runs]
        self.wanted = {piece for run in self._runs for piece in self._pieces_of(run[0], run[1])}

    def _check(self, pieces: int) -> None:
        seen = set()
        for entry in self._entries:
            path, kind, _, size, _, target, extents = entry
            check_path(path)
            if path in seen or kind not in KINDS:
                raise Refused(f"{path!r} stands there twice, or is of no known kind")
            seen.add(path)
            if kind == "l":
                check_link(path, target)
            if kind == "f":
                sound = all(
                    0 <= piece < pieces
                    and offset >= 0
                    and 0 < length <= self._total - self._starts[piece] - offset
                    for piece, offset, length in extents
                )
                if not sound or sum(extent[2] for extent in extents) != size:
                    raise Refused(f"{path!r} has not the bytes that it should have")

    def _pieces_of(self, start: int, end: int) -> range:
        first = bisect.bisect_right(self._starts, start) - 1
        return range(first, bisect.bisect_left(self._starts, end))

    def begin(self) -> None:
        """Make the folders, and the files that hold nothing. Raises Refused and OSError."""
        for entry in self._entries:
            if entry[KIND] == "d":
                parent, name = self._folder.place(entry[PATH], make=True)
                try:
                    os.mkdir(name, 0o700, dir_fd=parent)
                except FileExistsError:
                    facts = look(name, parent)
                    if not stat.S_ISDIR(facts.st_mode):
                        raise Refused(f"{entry[PATH]!r} is there already, and is no folder") from None
            elif entry[KIND] == "f" and not entry[EXTENTS]:
                self._write(entry, 0, b"", True)

    def piece(self, index: int, raw: bytes) -> None:
        """Write all that is in one piece; they come in their order. Raises Refused and OSError."""
        start = self._starts[index]
        end = start + len(raw)
        view = memoryview(raw)
        first = bisect.bisect_right(self._froms, start)
        while first > 0 and self._runs[first - 1][1] > start:
            first -= 1
        for run in range(first, bisect.bisect_left(self._froms, end)):
            begins, ends, at, number = self._runs[run]
            inside, stops = max(begins, start), min(ends, end)
            if inside < stops:
                whole = stops == self._ends[number]
                self._write(
                    self._entries[number], at + inside - begins, view[inside - start : stops - start], whole
                )

    def finish(self) -> None:
        """Make the links, and give folders their modes and times. Raises Refused and OSError."""
        for entry in self._entries:
            if entry[KIND] == "l":
                parent, name = self._folder.place(entry[PATH], make=True)
                if _links_to(name, parent) == encode(entry[TARGET]):
                    continue  # also where its folder has got the mode in which nothing can be made any more
                new = _part(entry[PATH])
                _unlink(new, parent)
                os.symlink(encode(entry[TARGET]), new, dir_fd=parent)
                _replace(new, name, parent, entry[PATH])
        for entry in sorted(
            (e for e in self._entries if e[KIND] == "d"), key=lambda e: e[PATH], reverse=True
        ):
            parent, name = self._folder.place(entry[PATH])
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                os.fchmod(fd, entry[MODE] & 0o777)
                os.utime(fd, ns=(entry[MTIME], entry[MTIME]))
            finally:
                os.close(fd)

    def _write(self, entry: list[Any], at: int, data: Any, whole: bool) -> None:
        parent, name = self._folder.place(entry[PATH], make=True)
        new = _part(entry[PATH])
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)
        try:
            while len(data):
                written = os.pwrite(fd, data, at)
                data, at = data[written:], at + written
            if whole:
                os.ftruncate(fd, entry[SIZE])
                os.fchmod(fd, entry[MODE] & 0o777)
                os.utime(fd, ns=(entry[MTIME], entry[MTIME]))
        finally:
            os.close(fd)
        if whole:
            _replace(new, name, parent, entry[PATH])


def _part(path: str) -> bytes:
    """The name that a file has beside its place until it is whole."""
    return b".runner-" + hashlib.sha256(encode(path)).hexdigest()[:24].encode() + b".part"


def _links_to(name: bytes, parent: int) -> bytes | None:
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError:
        return None


def _unlink(name: bytes, parent: int) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass


def _replace(new: bytes, name: bytes, parent: int, path: str) -> None:
    try:
        os.replace(new, name, src_dir_fd=parent, dst_dir_fd=parent)
    except (IsADirectoryError, FileExistsError, NotADirectoryError):
        _unlink(new, parent)
        raise Refused(f"{path!r} is a folder there already") from None
