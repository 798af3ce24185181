"""A tree from the artifact store, made into a folder of a person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import InvalidJob
from jobs.files import portable
from jobs.files.ahead import ahead
from jobs.files.portable import KIND, MODE, MTIME, PATH, SIZE, Folder, Refused, Writer
from jobs.files.store import Artifacts
from jobs.files.tree import Entry, Tree

Progress = Callable[[int, int], None]
"""Hears of bytes that are done, and of how many there are."""


@dataclass(frozen=True)
class Pulled:
    """What a pull did. ``written``: bytes; ``newer``: files that were left, for they are newer here."""

    written: int
    newer: tuple[str, ...] = ()


def pull(
    store: Artifacts, tree: Tree, folder: Path, progress: Progress | None = None, *, force: bool = False
) -> Pulled:
    """Write *tree* into *folder*, which is made where it is not there.

    Files that are there already, of the same size and time, are left alone, so that a pull that was cut off
    goes on where it was. Others of the same name are replaced, each when it is whole, but for those that were
    changed here since: these stay, unless *force*. *progress* hears how many bytes of how many have been
    read. Raises InvalidJob for a folder that cannot be written to, and ArtifactError.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise InvalidJob(f"{folder} is a file; name a folder to pull into.")
        folder.mkdir(parents=True, exist_ok=True)
        with Folder(str(folder)) as opened:
            states = {entry[PATH]: _state(opened, entry) for entry in tree.entries}
            newer = () if force else tuple(path for path, state in states.items() if state == "newer")
            left = {path for path, state in states.items() if state == "same"}.union(newer)
            entries = [entry for entry in tree.entries if entry[PATH] not in left]
            writer = Writer(opened, entries, [piece.size for piece in tree.pieces])
            wanted = sorted(writer.wanted)
            done, total = 0, sum(tree.pieces[number].size for number in wanted)
            if progress is not None:
                progress(done, total)
            writer.begin()
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
    return Pulled(sum(entry[SIZE] for entry in entries), newer)


def _state(folder: Folder, entry: Entry) -> str:
    """Of a file: whether the ``same`` is there already, or a ``newer`` one, or neither: ``""``."""
    if entry[KIND] != "f":
        return ""
    try:
        parent, name = folder.place(entry[PATH])
        facts = portable.look(name, parent)
    except (Refused, OSError):
        return ""
    if portable.kind_of(facts.st_mode) != "f":
        return ""
    looks = (facts.st_size, facts.st_mtime_ns, facts.st_mode & 0o777)
    if looks == (entry[SIZE], entry[MTIME], entry[MODE]):
        return "same"
    return "newer" if facts.st_mtime_ns > entry[MTIME] else ""
