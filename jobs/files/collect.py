"""What has come back of an attempt's outputs so far: files that are whole, and one that is on its way.

A file takes the place of its earlier copy when it is whole, never before. What was stored outlives whoever
stored it: another worker goes on from ``part()``, at the byte where the last one was.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jobs.errors import ArtifactError
from jobs.files.portable import EXTENTS, KIND, MODE, MTIME, PATH, SIZE, digest
from jobs.files.store import SUFFIXES, Artifacts, expand
from jobs.files.tree import Entry, Piece, Tree, held_bytes, in_folders, is_whole, pruned


def outputs_of(attempt_id: str) -> str:
    """Where in the store all is that an attempt brought back."""
    return f"outputs/{attempt_id}"


class Corrupt(ArtifactError):
    """A piece did not arrive as it was sent."""


@dataclass(frozen=True)
class Batch:
    """A piece and what is in it: ``extents`` are entry, byte in its file, length. The last one has no piece.

    ``kept``: files that are whole with it, with mode, size and time; ``torn``: files that will not come so.
    """

    data: bytes
    size: int
    sha256: str
    encoding: str
    extents: list[tuple[int, int, int]]
    kept: list[tuple[int, int, int, int]]
    torn: list[tuple[int, str]]


class Collection:
    """Outputs of one attempt, whose pieces go to below *prefix*. Not for several threads at once."""

    def __init__(self, prefix: str, tree: Tree | None = None) -> None:
        self._prefix = prefix
        self._pieces: list[Piece] = []
        self._starts = [0]  # of each piece, and of the next one, in the row of all pieces
        for piece in tree.pieces if tree is not None else ():
            self._add(piece)
        self._whole: dict[str, Entry] = {}
        self._open: dict[str, Entry] = {}
        for entry in tree.entries if tree is not None else ():
            (self._whole if is_whole(entry) else self._open)[entry[PATH]] = entry
        self._listed: list[Entry] = []
        self.came = 0
        self.wanted = 0

    @property
    def pieces(self) -> frozenset[str]:
        """The keys of the pieces that it knows."""
        return frozenset(piece.key for piece in self._pieces)

    @property
    def known(self) -> dict[str, tuple[int, int, int]]:
        """By the path of each file: its size, its time, and how many bytes of it are here."""
        files = [entry for entry in self._whole.values() if entry[KIND] == "f"]
        return {
            entry[PATH]: (entry[SIZE], entry[MTIME], held_bytes(entry))
            for entry in (*files, *self._open.values())
        }

    def listed(self, entries: list[Entry], same: Iterable[int], resumed: dict[int, int]) -> list[str]:
        """A round begins: this is what there is now, and what of it need not come again.

        Returns the paths of the files that have to come.
        """
        self._listed = entries
        here = {number for number in same if self._is_here(entries[number])}
        goes_on = {entries[number][PATH]: got for number, got in resumed.items()}
        self._open = {
            path: entry for path, entry in self._open.items() if goes_on.get(path) == held_bytes(entry)
        }
        for number, entry in enumerate(entries):
            if entry[KIND] != "f":
                self._whole[entry[PATH]] = entry
            elif number in here:
                self._whole[entry[PATH]][MODE] = entry[MODE]
        self.came = sum(held_bytes(entry) for entry in self._open.values())
        missing = [entry for number, entry in enumerate(entries) if entry[KIND] == "f" and number not in here]
        self.wanted = sum(entry[SIZE] for entry in missing)
        return [entry[PATH] for entry in missing]

    def _is_here(self, listed: Entry) -> bool:
        old = self._whole.get(listed[PATH])
        return old is not None and (old[SIZE], old[MTIME]) == (listed[SIZE], listed[MTIME])

    def piece(self, store: Artifacts, batch: Batch) -> str:
        """Keep a piece, once it is proved; returns its key. Raises Corrupt and ArtifactError."""
        if batch.encoding not in SUFFIXES:
            raise Corrupt(f"A piece of outputs is encoded as {batch.encoding!r}, which nobody knows.")
        key = f"{self._prefix}/{batch.sha256[:64]}{SUFFIXES[batch.encoding]}"
        piece = Piece(key, batch.sha256, batch.size, batch.encoding)
        raw = expand(piece, batch.data)
        if raw is None or len(raw) != batch.size or digest(raw) != batch.sha256:
            raise Corrupt("A piece of outputs did not arrive as it was sent.")
        store.put(piece.key, batch.data)
        at = 0
        for number, start, length in batch.extents:
            listed = self._listed[number]
            entry = self._open.get(listed[PATH])
            if entry is None or held_bytes(entry) != start:
                entry = self._open[listed[PATH]] = [*listed[:EXTENTS], []]
            self._extend(entry, at, length)
            at += length
        self._add(piece)
        self.came += batch.size
        return key

    def _add(self, piece: Piece) -> None:
        self._pieces.append(piece)
        self._starts.append(self._starts[-1] + piece.size)

    def _extend(self, entry: Entry, offset: int, length: int) -> None:
        """Add a run of bytes of the next piece; where it goes on with the last run, that one gets longer."""
        if entry[EXTENTS] and offset == 0:
            first, start, had = entry[EXTENTS][-1]
            if self._starts[first] + start + had == self._starts[-1]:
                entry[EXTENTS][-1][2] += length
                return
        entry[EXTENTS].append([len(self._pieces), offset, length])

    def kept(self, number: int, mode: int, size: int, mtime: int) -> str:
        """A file is whole; returns its path. Raises Corrupt where its bytes are not all here."""
        listed = self._listed[number]
        entry = self._open.pop(listed[PATH], None) or [*listed[:EXTENTS], []]
        entry[MODE], entry[SIZE], entry[MTIME] = mode, size, mtime
        path = str(entry[PATH])
        if not is_whole(entry):
            raise Corrupt(f"Not all bytes of {path!r} came that should have.")
        self._whole[path] = entry
        return path

    def torn(self, number: int) -> str:
        """A file does not come whole this time, and its earlier copy stays; returns its path."""
        path = str(self._listed[number][PATH])
        self._open.pop(path, None)
        return path

    def end(self) -> None:
        """The round is over: what is not there any more goes."""
        there = {entry[PATH] for entry in self._listed}
        self._whole = {path: entry for path, entry in self._whole.items() if path in there}
        self._open = {}

    def tree(self) -> Tree:
        """What is whole."""
        return pruned(in_folders(self._whole.values()), self._pieces)

    def part(self) -> Tree:
        """The same with what is on its way, for who goes on with it."""
        return pruned(in_folders([*self._whole.values(), *self._open.values()]), self._pieces)
