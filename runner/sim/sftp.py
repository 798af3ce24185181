"""SFTP into a simulated machine: relative paths start in its home, absolute ones are as its commands see."""

from __future__ import annotations

import os
from pathlib import Path

import asyncssh


class HomeSFTPServer(asyncssh.SFTPServer):
    """asyncssh's SFTP server as a login user of the machine meets it: not confined, at home in the home."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], home: Path) -> None:
        super().__init__(channel)
        self._home = os.fsencode(home)

    def map_path(self, path: bytes) -> bytes:
        """The local path that the client means."""
        return os.path.join(self._home, path)  # noqa: PTH118 - bytes, which pathlib does not take
