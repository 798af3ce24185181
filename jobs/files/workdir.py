"""A person's folder, made into a tree: what goes, what stays, and each piece stored once.

``.gitignore`` and ``.runnerignore`` say what stays, in each folder for what is below it, as git reads them;
``.git``, ``.venv``, ``__pycache__`` and what is the runner's own always do. Pieces are cut by names and sizes
alone, so that a changed file changes its own piece and no other, and one whose files look as they did is not
even read again.
"""

from __future__ import annotations

import json
import os
import stat
import time
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pathspec
import zstandard

from jobs.errors import InvalidJob
from jobs.files import portable
from jobs.files.ahead import ahead
from jobs.files.portable import PIECE_BYTES, Folder, Refused
from jobs.files.store import SUFFIXES, Artifacts
from jobs.files.tree import Entry, Piece, Tree, tree_key
from jobs.values import size_text

ALWAYS = frozenset({".git", ".venv", "__pycache__"})
IGNORE_FILES = (".gitignore", ".runnerignore")
MOST_ENTRIES = 1_000_000
LARGEST_IGNORE = 1 << 20
ALONE_BYTES = 2 << 20
"""A file of this size has pieces of its own: a change of it, or of its neighbours, costs no others."""
LEAST_PIECE = 512 << 10
"""A piece may end behind a file from here on; which names it ends behind, their checksums say."""
SETTLED_SECONDS = 2.0
"""A file that was changed so lately may change again and look the same: it is read again next time."""
NAMED = 5
"""How many of the largest files a refusal names."""


@dataclass(frozen=True)
class Workdir:
    """What of a folder would go. ``files``: paths with their facts; ``others``: folders and links."""

    path: Path
    files: tuple[tuple[str, os.stat_result], ...]
    others: tuple[Entry, ...]
    looked_at: float

    @property
    def size(self) -> int:
        """How large all files are together, in bytes."""
        return sum(facts.st_size for _, facts in self.files)


@dataclass(frozen=True)
class Slice:
    """A part of a file: from byte ``start``, ``length`` bytes."""

    path: str
    facts: os.stat_result
    start: int
    length: int


@dataclass(frozen=True)
class Place:
    """Where a folder is stored: below ``prefix``; what has a ``condemned`` name, below ``apart``."""

    prefix: str = ""
    condemned: frozenset[str] = frozenset()
    apart: str = "again/0/"

    def key(self, name: str) -> str:
        """Where to keep what would be called *name* by what it holds."""
        key = self.prefix + name
        return f"{self.prefix}{self.apart}{name}" if key in self.condemned else key


ANYWHERE = Place()


def scan(folder: str | os.PathLike[str], what: str, most_bytes: int, ours: Collection[Path] = ()) -> Workdir:
    """Look through a folder. *what*: the option, for messages; *most_bytes*: what may go at most.

    *ours*: the runner's own files and folders, which never go. Raises InvalidJob: it is no folder, holds what
    cannot be sent, or too much.
    """
    path = _checked(folder, what)
    never = {own.resolve() for own in ours}
    for own in never:
        if path.is_relative_to(own):
            raise InvalidJob(
                f"{what} {path} is in {own}, where the runner keeps its own; name another folder."
            )
    rules = _Rules(path, what, never)
    files: list[tuple[str, os.stat_result]] = []
    others: list[Entry] = []
    began = time.time()
    try:
        with Folder(str(path)) as opened:
            for name, facts, target in portable.walk(opened.fd, rules.wants):
                match portable.kind_of(facts.st_mode):
                    case "f":
                        files.append((name, facts))
                    case "d":
                        others.append(_entry(name, "d", facts, None))
                    case "l":
                        portable.check_link(name, target or "")
                        others.append(_entry(name, "l", facts, target))
                    case _:
                        raise Refused(f"{name!r} is {portable.what_is(facts.st_mode)}, which cannot be sent")
                if len(files) + len(others) > MOST_ENTRIES:
                    raise Refused(f"it holds more than {MOST_ENTRIES} files")
    except Refused as error:
        raise InvalidJob(f"{what} {path}: {error}; remove it, or name it in .runnerignore.") from None
    except OSError as error:
        raise _unreadable(what, path, error) from None
    found = Workdir(path, tuple(files), tuple(others), began)
    if found.size > most_bytes:
        largest = sorted(files, key=lambda item: -item[1].st_size)[:NAMED]
        names = ", ".join(f"{name!r} ({size_text(facts.st_size)})" for name, facts in largest)
        raise InvalidJob(
            f"{what} {path} holds {size_text(found.size)}, and RUNNER_MAX_WORKDIR_BYTES allows "
            f"{size_text(most_bytes)}. The largest files: {names}. Name what need not go in .runnerignore."
        )
    return found


def check_readable(workdir: Workdir, what: str) -> None:
    """Raise InvalidJob for a file that cannot be read, without reading any."""
    with Folder(str(workdir.path)) as folder:
        for name, _ in workdir.files:
            try:
                os.close(folder.open_file(name))
            except OSError as error:
                raise _unreadable(what, workdir.path, error, name) from None
            except Refused as error:
                raise InvalidJob(f"{what} {workdir.path}: {error}.") from None


def pack(
    workdir: Workdir,
    store: Artifacts,
    cache: Path,
    what: str,
    progress: Callable[[int], None] | None = None,
    place: Place = ANYWHERE,
) -> tuple[str, Tree]:
    """Store what is not stored yet; returns the key of the tree, and the tree.

    *cache*: a folder for what was seen last time. *progress* hears of bytes that are done. Raises InvalidJob
    where a file cannot be read or changes meanwhile, and ArtifactError.
    """
    seen = _Seen(cache, workdir, store, place)
    pieces: list[Piece] = []
    extents: dict[str, list[list[int]]] = {}
    for parts, piece in ahead(lambda parts: _piece(workdir, parts, store, seen, what, place), plan(workdir)):
        at = 0
        for part in parts:
            places = extents.setdefault(part.path, [])
            if places and part.start:
                places[-1][2] += part.length  # it goes on where the piece before ended
            else:
                places.append([len(pieces), at, part.length])
            at += part.length
        pieces.append(piece)
        if progress is not None:
            progress(at)
    entries = [_entry(name, "f", facts, None, extents.get(name, [])) for name, facts in workdir.files]
    tree = Tree(tuple(sorted([*entries, *workdir.others], key=lambda entry: str(entry[0]))), tuple(pieces))
    dump = tree.dump()
    key = place.key(tree_key(dump))
    store.put(key, dump)
    seen.keep()
    return key, tree


def plan(workdir: Workdir) -> Iterator[list[Slice]]:
    """Which parts of which files make up each piece."""
    group: list[Slice] = []
    size = 0
    for name, facts in workdir.files:
        if facts.st_size >= ALONE_BYTES:
            if group:
                yield group
                group, size = [], 0
            for start in range(0, facts.st_size, PIECE_BYTES):
                yield [Slice(name, facts, start, min(PIECE_BYTES, facts.st_size - start))]
            continue
        if not facts.st_size:
            continue
        if size + facts.st_size > PIECE_BYTES:
            yield group
            group, size = [], 0
        group.append(Slice(name, facts, 0, facts.st_size))
        size += facts.st_size
        if size >= LEAST_PIECE and zlib.crc32(portable.encode(name)) % 8 == 0:
            yield group
            group, size = [], 0
    if group:
        yield group


def _piece(
    workdir: Workdir, parts: list[Slice], store: Artifacts, seen: _Seen, what: str, place: Place
) -> Piece:
    known = seen.piece(parts)
    if known is not None and known.key not in place.condemned and store.has(known.key):
        seen.remember(parts, known)
        return known
    raw = _read(workdir.path, parts, what)
    name = portable.digest(raw)
    sample = raw[: portable.SAMPLE_BYTES]
    encoding, data = "raw", raw
    if len(zlib.compress(sample, 1)) <= portable.WORTH * len(sample):
        encoding, data = "zstd", zstandard.ZstdCompressor(level=3).compress(raw)
    key = place.key(f"pieces/{name[:2]}/{name}{SUFFIXES[encoding]}")
    store.put(key, data)
    piece = Piece(key, name, len(raw), encoding)
    seen.remember(parts, piece)
    return piece


def _read(path: Path, parts: list[Slice], what: str) -> bytes:
    """The bytes of these parts; with a descriptor of its own, for several threads read at once."""
    found = bytearray()
    with Folder(str(path)) as folder:
        for part in parts:
            try:
                fd = folder.open_file(part.path)
                try:
                    before, length = os.fstat(fd), len(found)
                    while len(found) - length < part.length:
                        data = os.pread(
                            fd, part.length - (len(found) - length), part.start + len(found) - length
                        )
                        if not data:
                            break
                        found += data
                    after = os.fstat(fd)
                finally:
                    os.close(fd)
            except (OSError, Refused) as error:
                if isinstance(error, OSError):
                    raise _unreadable(what, path, error, part.path) from None
                raise InvalidJob(f"{what} {path}: {error}.") from None
            if _look(before) != _look(part.facts) or _look(after) != _look(part.facts):
                raise InvalidJob(f"{what} {path}: {part.path!r} changed while it was read; try again.")
    return bytes(found)


def _look(facts: os.stat_result) -> tuple[int, ...]:
    """By which a change of a file is seen without reading it."""
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_mode


class _Seen:
    """What was stored of this folder last time, by how its files looked. A lost or broken one costs time."""

    def __init__(self, cache: Path, workdir: Workdir, store: Artifacts, place: Place) -> None:
        what = f"{workdir.path}\0{store.shown}\0{place.prefix}"
        name = portable.digest(what.encode("utf-8", "surrogateescape"))
        self._file = cache / f"{name}.json"
        self._settled = workdir.looked_at - SETTLED_SECONDS
        self._new: dict[str, list[Any]] = {}
        try:
            found = json.loads(self._file.read_bytes())
            self._old: dict[str, Any] = found if isinstance(found, dict) else {}
        except (OSError, ValueError):
            self._old = {}

    def piece(self, parts: list[Slice]) -> Piece | None:
        try:
            return Piece(*self._old[_sign(parts)])
        except (KeyError, TypeError):
            return None

    def remember(self, parts: list[Slice], piece: Piece) -> None:
        if all(max(part.facts.st_mtime, part.facts.st_ctime) < self._settled for part in parts):
            self._new[_sign(parts)] = [piece.key, piece.sha256, piece.size, piece.encoding]

    def keep(self) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            new = self._file.with_name(f".{self._file.name}.{os.getpid()}")
            new.write_text(json.dumps(self._new))
            new.replace(self._file)
        except OSError:
            return  # it is read again next time


def _sign(parts: list[Slice]) -> str:
    looks = [[part.path, *_look(part.facts), part.start, part.length] for part in parts]
    return portable.digest(json.dumps(looks).encode())


class _Rules:
    """What the ignore files say, each for its own folder and all below; the deeper one is heard last."""

    def __init__(self, path: Path, what: str, never: Collection[Path]) -> None:
        self._path, self._what = path, what
        self._never = {own.relative_to(path).as_posix() for own in never if own.is_relative_to(path)}
        self._specs: dict[str, list[pathspec.GitIgnoreSpec]] = {}

    def wants(self, path: str, folder: bool) -> bool:
        parent, _, name = path.rpartition("/")
        if name in ALWAYS or path in self._never:
            return False
        ignored = False
        parts = parent.split("/") if parent else []
        for depth in range(len(parts) + 1):
            above = "/".join(parts[:depth])
            inside = path[len(above) + 1 :] if above else path
            for spec in self._of(above):
                said = spec.check_file(inside + "/" if folder else inside).include
                ignored = ignored if said is None else said
        return not ignored

    def _of(self, folder: str) -> list[pathspec.GitIgnoreSpec]:
        if folder not in self._specs:
            self._specs[folder] = [
                spec for name in IGNORE_FILES if (spec := self._read(folder, name)) is not None
            ]
        return self._specs[folder]

    def _read(self, folder: str, name: str) -> pathspec.GitIgnoreSpec | None:
        where = f"{folder}/{name}" if folder else name
        with Folder(str(self._path)) as top:
            try:
                fd = top.open_file(where)
            except (FileNotFoundError, Refused):
                return None
            with os.fdopen(fd, "rb") as file:
                text = file.read(LARGEST_IGNORE + 1)
        if len(text) > LARGEST_IGNORE:
            raise InvalidJob(f"{self._what} {self._path}: {where!r} is larger than 1 MiB.")
        try:
            return pathspec.GitIgnoreSpec.from_lines(text.decode("utf-8", "surrogateescape").splitlines())
        except ValueError as error:
            raise InvalidJob(f"{self._what} {self._path}: {where!r} makes no sense: {error}.") from None


def _checked(folder: str | os.PathLike[str], what: str) -> Path:
    try:
        path = Path(folder).expanduser().resolve()
        facts = path.stat()
    except FileNotFoundError:
        raise InvalidJob(f"{what} {folder}: there is no such folder.") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidJob(f"{what} {str(folder)!r} cannot be used: {error}.") from None
    if not stat.S_ISDIR(facts.st_mode):
        raise InvalidJob(f"{what} {folder} is not a folder; name the folder that the command needs.")
    if path == Path(path.anchor):
        raise InvalidJob(f"{what} {folder} is the whole file system; name the folder that the command needs.")
    return path


def _entry(
    name: str, kind: str, facts: os.stat_result, target: str | None, extents: list[list[int]] | None = None
) -> Entry:
    size = facts.st_size if kind == "f" else 0
    mode = stat.S_IMODE(facts.st_mode) & 0o777
    return [name, kind, mode, size, facts.st_mtime_ns, target, extents or []]


def _unreadable(what: str, path: Path, error: OSError, name: str | None = None) -> InvalidJob:
    which = name or (error.filename if isinstance(error.filename, str) else None)
    said = (error.strerror or "it failed").lower()
    inside = (
        f"{which!r} cannot be read: {said}; make it readable, or name it in .runnerignore" if which else said
    )
    return InvalidJob(f"{what} {path}: {inside}.")
