"""Folders for tests, and what they are: names, kinds, modes, links and contents."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

NAMES = (
    "plain",
    "with space",
    "ünï cödé",
    "new\nline",
    "-dash",
    "quo'te\"s",
    "日本",
    "#hash",
    "$HOME",
    "a*b",
)


def awkward(folder: Path, *, large: int = 300_000) -> Path:
    """A folder with every kind of name, an executable, links, an empty folder and a file of *large* bytes."""
    folder.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        inner = folder / f"in {name}"
        inner.mkdir()
        (inner / name).write_bytes(name.encode() * number)
        (inner / "empty").touch()
    with open(os.fsencode(folder) + b"/not utf-8 \xff", "wb") as file:  # noqa: PTH123
        file.write(b"bytes")
    (folder / "run me.sh").write_text("#!/bin/sh\necho it ran\n")
    (folder / "run me.sh").chmod(0o755)
    (folder / "read only").write_text("read only")
    (folder / "read only").chmod(0o444)
    (folder / "no files").mkdir()
    (folder / "in plain" / "link").symlink_to("../run me.sh")
    (folder / "dangling").symlink_to("no files/nowhere")
    (folder / "large").write_bytes(os.urandom(large))
    os.utime(folder / "large", ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
    return folder


def picture(folder: Path, *, times: bool = True) -> dict[str, Any]:
    """What a folder holds, to be compared with another one's."""
    found: dict[str, Any] = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent) / name
            facts = path.lstat()
            what: Any = stat.S_IMODE(facts.st_mode)
            if path.is_symlink():
                what = ("link", str(path.readlink()))
            elif path.is_file():
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                what = (what, digest, facts.st_mtime_ns if times else None)
            found[str(path.relative_to(folder))] = what
    return found
