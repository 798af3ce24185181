"""Trees: which files there are, and in which pieces their bytes stand. Read and written here only."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from jobs.files.portable import EXTENTS, KIND, PATH, SIZE, digest

VERSION = 1
LARGEST_DUMP = 1 << 30

Entry: TypeAlias = list[Any]


@dataclass(frozen=True)
class Piece:
    """A run of bytes of files. ``key``: where the artifact store has it, ``size``: its bytes as they are.

    ``sha256`` is that of the bytes, ``encoding`` (``zstd``, ``zlib`` or ``raw``) how they are stored.
    """

    key: str
    sha256: str
    size: int
    encoding: str


class UnreadableTree(Exception):
    """What was taken for a tree is none, or one of a later version."""


@dataclass(frozen=True)
class Tree:
    """Entries (see ``portable``) and the pieces that they refer to, in order."""

    entries: tuple[Entry, ...]
    pieces: tuple[Piece, ...]

    @property
    def files(self) -> int:
        """How many files and links there are."""
        return sum(entry[KIND] != "d" for entry in self.entries)

    @property
    def size(self) -> int:
        """How large all files are together, in bytes."""
        return sum(entry[SIZE] for entry in self.entries)

    def whole(self) -> Tree:
        """The same without files of which a part is missing."""
        return pruned([entry for entry in self.entries if is_whole(entry)], self.pieces)

    def dump(self) -> bytes:
        """As it is stored and sent."""
        pieces = [[piece.key, piece.sha256, piece.size, piece.encoding] for piece in self.pieces]
        text = json.dumps(
            {"version": VERSION, "pieces": pieces, "entries": self.entries}, separators=(",", ":")
        )
        return zlib.compress(text.encode("ascii"), 6)


def load(data: bytes) -> Tree:
    """What ``dump`` wrote. Raises UnreadableTree."""
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(data, LARGEST_DUMP)
        if not unpacker.eof:
            raise UnreadableTree("it is not whole")
        found = json.loads(text)
        if found["version"] != VERSION:
            raise UnreadableTree(f"it is of version {found['version']!r}")
        pieces = tuple(
            Piece(str(key), str(sha), int(size), str(how)) for key, sha, size, how in found["pieces"]
        )
        return Tree(tuple(list(entry) for entry in found["entries"]), pieces)
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise UnreadableTree("it makes no sense") from error


def tree_key(dump: bytes) -> str:
    """Where a tree is kept: under what it holds."""
    name = digest(dump)
    return f"trees/{name[:2]}/{name}"


def pruned(entries: Iterable[Entry], pieces: Sequence[Piece]) -> Tree:
    """A tree of these entries with those of *pieces* that they refer to."""
    entries = sorted(entries, key=lambda entry: entry[PATH])
    starts = [0]
    for piece in pieces:
        starts.append(starts[-1] + piece.size)
    used = [False] * len(pieces)
    for entry in entries:
        for piece, offset, length in entry[EXTENTS]:
            end = starts[piece] + offset + length
            while piece < len(pieces) and starts[piece] < end:
                used[piece], piece = True, piece + 1
    place: dict[int, int] = {}
    kept: list[Piece] = []
    for number, piece in enumerate(pieces):
        if used[number]:
            place[number] = len(kept)
            kept.append(piece)
    moved = [
        [*entry[:EXTENTS], [[place[piece], offset, length] for piece, offset, length in entry[EXTENTS]]]
        for entry in entries
    ]
    return Tree(tuple(moved), tuple(kept))


def overlay(base: Tree, over: Tree) -> Tree:
    """*base* with what is in *over* in the place of what it had by the same path."""
    shift = len(base.pieces)
    replaced = {entry[PATH] for entry in over.entries}
    above = {path[:at] for path in replaced for at, char in enumerate(path) if char == "/"}
    kept = [
        entry
        for entry in base.entries
        if entry[PATH] not in replaced and not (entry[PATH] in above and entry[KIND] != "d")
    ]
    added = [
        [*entry[:EXTENTS], [[piece + shift, offset, length] for piece, offset, length in entry[EXTENTS]]]
        for entry in over.entries
    ]
    return pruned(in_folders([*kept, *added]), [*base.pieces, *over.pieces])


def in_folders(entries: Iterable[Entry]) -> list[Entry]:
    """Without those below what is no folder: a link in the place of a folder takes all in it along."""
    entries = list(entries)
    leaves = {entry[PATH] for entry in entries if entry[KIND] != "d"}

    def stays(path: str) -> bool:
        return not any(path[:at] in leaves for at, char in enumerate(path) if char == "/")

    return [entry for entry in entries if stays(entry[PATH])]


def held_bytes(entry: Entry) -> int:
    """How many bytes of a file are there."""
    return sum(extent[2] for extent in entry[EXTENTS])


def is_whole(entry: Entry) -> bool:
    """Whether nothing of it is missing."""
    return bool(entry[KIND] != "f" or held_bytes(entry) == entry[SIZE])
