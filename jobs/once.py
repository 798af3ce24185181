"""A private file that is made once, however many processes come at the same time: keys.

It is written whole beside its place and linked there, which fails if somebody was first: nobody ever reads
half a key, and no key is replaced after it was used.
"""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path


def make(path: Path, data: bytes) -> None:
    """Have a file at *path*, mode 0600: this one, unless somebody else was first. Raises OSError."""
    try:
        for above in reversed((path.parent, *path.parent.parents)):  # `parents=True` would leave them open
            if not above.is_dir():
                above.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, f"{path.parent} is not a folder") from None
    new = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _put(new, path)
    finally:
        new.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _put(new: Path, path: Path) -> None:
    """Give *new* the name *path*, unless somebody else was first."""
    try:
        os.link(new, path)
    except FileExistsError:
        return
    except OSError:
        # No hard links on this file system: the last one wins. Whoever reads later reads that one.
        if not path.exists():
            new.rename(path)
