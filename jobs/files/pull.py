"""A tree from the artifact store, made into a folder of a person."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jobs.errors import InvalidJob
from jobs.files import portable
from jobs.files.ahead import ahead
from jobs.files.portable import KIND, MODE, MTIME, PATH, SIZE, Folder, Refused, Writer
from jobs.files.store import Artifacts
from jobs.files.tree import Entry, Tree

Progress = Callable[[int, int], None]
"""Hears of bytes that are done, and of how many there are."""


def pull(store: Artifacts, tree: Tree, folder: Path, progress: Progress | None = None) -> int:
    """Write *tree* into *folder*, which is made where it is not there; returns how many bytes were written.

    Files that are there already, of the same size and time, are left alone, so that a pull that was cut off
    goes on where it was. Others of the same name are replaced, each when it is whole. *progress* hears
    how many bytes of how many have been read. Raises InvalidJob for a folder that cannot be written to, and
    ArtifactError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Folder(str(folder)) as opened:
            entries = [entry for entry in tree.entries if not _is_there(opened, entry)]
            writer = Writer(opened, entries, [piece.size for piece in tree.pieces])
            writer.begin()
            wanted = sorted(writer.wanted)
            total = sum(tree.pieces[number].size for number in wanted)
            done = 0
            for number, raw in ahead(lambda index: store.piece(tree.pieces[index]), wanted):
                writer.piece(number, raw)
                done += len(raw)
                if progress is not None:
                    progress(done, total)
            writer.finish()
    except Refused as error:
        raise InvalidJob(f"{folder}: {error}; name another folder.") from None
    except OSError as error:
        said = (error.strerror or "it failed").lower()
        raise InvalidJob(
            f"{folder} cannot be written to: {said}. Another pull goes on from what is there by now."
        ) from None
    except (ValueError, OverflowError) as error:
        raise InvalidJob(f"{folder}: what was brought back cannot be a folder here: {error}.") from None
    return sum(entry[SIZE] for entry in entries)


def _is_there(folder: Folder, entry: Entry) -> bool:
    """Whether a file is there as it should be."""
    if entry[KIND] != "f":
        return False
    try:
        parent, name = folder.place(entry[PATH])
        facts = portable.look(name, parent)
    except (Refused, OSError):
        return False
    looks = (facts.st_size, facts.st_mtime_ns, facts.st_mode & 0o777)
    return portable.kind_of(facts.st_mode) == "f" and looks == (entry[SIZE], entry[MTIME], entry[MODE])
