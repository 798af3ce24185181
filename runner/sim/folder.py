"""The folder of a running simulator, and what becomes of those whose simulator was killed.

A simulator that ends in order removes its own. One that is killed with SIGKILL leaves files and processes;
the next one to start finds them by a lock that nobody holds any more, and clears them away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from runner.sim import processes

PREFIX = "runner-sim-"
LOCK = "simulator.lock"


class Folder:
    """A folder in use. *given* is created if need be and kept; without it a temporary one is made."""

    def __init__(self, given: Path | None) -> None:
        self._temporary = given is None
        if given is None:
            sweep(Path(tempfile.gettempdir()))
            given = Path(tempfile.mkdtemp(prefix=PREFIX))
        else:
            given.mkdir(parents=True, exist_ok=True)
        self.path = given.resolve()
        self._lock = -1
        if self._temporary:  # locked before it has its name, so that nobody ever sees it unlocked
            new = self.path / f"{LOCK}.new"
            self._lock = os.open(new, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            new.rename(self.path / LOCK)

    def close(self) -> None:
        """Give the folder up: a temporary one is removed."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def sweep(place: Path) -> None:
    """Remove the temporary folders in *place* whose simulators are dead, and end what still runs in them."""
    for lock in place.glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError):  # removed meanwhile, in use, or another user's
            descriptor = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                folder = lock.parent
                if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                    continue
                folder = folder.resolve()
                machines = [processes.Marked(path.name) for path in (folder / "instances").glob("*")]
                processes.kill(machines)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
