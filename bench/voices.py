"""What many commands say: a pipe for each, into which the bench writes a line a second, one after another.

So a command is quiet, talks, or ends when the bench wants it to, and costs the computer nothing of its own: a
loop with `sleep` in each of 400 shells would start 400 processes a second.
"""

from __future__ import annotations

import os
import shlex
import threading
import time
from pathlib import Path
from types import TracebackType

LINE_BYTES = 80
SHORT = 0.0005


class Voices:
    """*count* pipes in *folder*. Each line is as long as the others, so that bytes tell lines."""

    def __init__(self, folder: Path, count: int) -> None:
        self._paths = [folder / f"voice {number}" for number in range(count)]
        self._pipes: list[int] = []
        self.said = [0] * count
        self._talking = threading.Event()
        self._closing = threading.Event()
        self._speaking = threading.Lock()
        self._count = 0
        self.failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="voices")

    def __enter__(self) -> Voices:
        for path in self._paths:
            os.mkfifo(path)
            # For both ends: nobody waits for the other one to open it, and no pipe ends before we close it.
            self._pipes.append(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._talking.set()
        self._thread.join()
        for pipe in self._pipes:
            os.close(pipe)

    def command(self, number: int) -> str:
        """The command that says what voice *number* says."""
        return f"exec cat {shlex.quote(str(self._paths[number]))}"

    def talk(self, count: int) -> None:
        """From now on each of the first *count* says a line a second, spread evenly over the second."""
        self._count = count
        self._talking.set()

    def hush(self) -> None:
        """Say nothing more. Raises what kept a voice from being heard."""
        self._talking.clear()
        with self._speaking:  # who had begun a line has ended it
            pass
        if self.failed is not None:
            raise self.failed

    @property
    def lines(self) -> int:
        """How many lines have been said in all."""
        return sum(self.said)

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._talking.wait()
                self._second()
        except BaseException as error:  # noqa: BLE001 - told to the thread that asked us to talk
            self.failed = error

    def _second(self) -> None:
        """One line of each, each at its own moment; who is late makes up for it."""
        began = time.monotonic()
        count = self._count
        for number in range(count):
            pause = began + number / count - time.monotonic()
            if pause > SHORT and self._closing.wait(pause):
                return
            with self._speaking:
                if not self._talking.is_set():
                    return
                line = f"line {self.said[number]} of voice {number}".ljust(LINE_BYTES - 1) + "\n"
                os.write(self._pipes[number], line.encode())
                self.said[number] += 1
        self._closing.wait(max(0.0, began + 1.0 - time.monotonic()))
