"""A terminal for tests: a program whose streams are one, as a person would see it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class Terminal:
    """One program on a terminal of *columns*. ``shown`` is all that has appeared on it."""

    def __init__(
        self,
        words: Sequence[str | Path],
        environ: Mapping[str, str],
        *,
        columns: int = 80,
        cwd: Path | None = None,
    ) -> None:
        self.shown = b""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        try:
            self.process = subprocess.Popen(
                list(words),
                env=environ,
                cwd=cwd,
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
            )
        finally:
            os.close(slave)

    def read_until(self, part: bytes, timeout: float = 60.0) -> bytes:
        """Wait until *part* has appeared."""
        end = time.monotonic() + timeout
        while part not in self.shown:
            assert time.monotonic() < end, self.shown
            assert self._read(1.0) or self.process.poll() is None, self.shown
        return self.shown

    def type(self, data: bytes) -> None:
        """Press keys."""
        os.write(self._master, data)

    def end(self, timeout: float = 60.0) -> int:
        """Wait for the program's end; its exit status."""
        end = time.monotonic() + timeout
        while self._read(0.2) or self.process.poll() is None:
            assert time.monotonic() < end, self.shown
        return self.process.wait()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    def _read(self, timeout: float) -> bytes:
        if not select.select([self._master], [], [], timeout)[0]:
            return b""
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # Linux says so when the other side is closed
            return b""
        self.shown += data
        return data
