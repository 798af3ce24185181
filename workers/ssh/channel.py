"""One command on a machine: what it reads, what it says, how it ends.

A wait here is for a condition: paramiko's buffers ring one bell when something arrives or the connection is
gone. Whoever opens a channel gives a deadline; when it passes, the connection is closed, which ends every
wait that paramiko may be in.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from workers.ssh.errors import BadAnswer, Unreachable, mapped
from workers.ssh.wire import Wire

UNKNOWN_STATUS = -1
PIECE_BYTES = 32 * 1024 - 64  # what fits into one packet
WINDOW_BYTES = 4 << 20  # more than paramiko ever buffers of one channel
MOST_ANSWER_BYTES = 1 << 20


@dataclass(frozen=True)
class Answer:
    """How a command ended and what it said. ``status`` is its exit status, 0 to 255."""

    status: int
    stdout: bytes
    stderr: bytes


class Bell(threading.Event):
    """An event shared by two of paramiko's buffers: cleared by who looks into both, and by nobody else."""

    def clear(self) -> None:
        """Do nothing: one buffer is empty, which says nothing of the other."""

    def rearm(self) -> None:
        """Clear it; to be done before looking."""
        super().clear()


@contextlib.contextmanager
def deadline(wire: Wire, where: str, seconds: float) -> Iterator[None]:
    """Close the connection if what is inside takes longer. Raises Unreachable then."""
    passed = threading.Event()

    def give_up() -> None:
        passed.set()
        wire.close()

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Unreachable as error:
        if passed.is_set():
            raise Unreachable(f"{where}: no answer within {seconds:.0f} s") from error
        raise
    finally:
        timer.cancel()
        timer.join()


class Channel:
    """A command that runs. Leaving the context closes the channel, and with it the command's input."""

    def __init__(self, wire: Wire, where: str, line: str) -> None:
        self.bell = Bell()
        self._where = where
        with mapped(where):
            self._channel = wire.open_session()
        try:
            with mapped(where):
                self._channel.in_buffer.set_event(self.bell)
                self._channel.in_stderr_buffer.set_event(self.bell)
                self._channel.exec_command(line)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the command; it finds its pipes closed."""
        with contextlib.suppress(Unreachable), mapped(self._where):
            self._channel.close()

    def feed(self, data: bytes) -> None:
        """Send *data* and the end of input. A command that ends without reading it all is no error here."""
        with mapped(self._where):
            with contextlib.suppress(OSError):  # the channel was closed: its status tells why
                for start in range(0, len(data), PIECE_BYTES):
                    self._channel.sendall(data[start : start + PIECE_BYTES])
            self._channel.shutdown_write()

    def send(self, data: bytes, seconds: float) -> None:
        """Send *data*, which fits into a packet; *seconds*: how long the other end may take nothing."""
        with mapped(self._where):
            self._channel.settimeout(seconds)
            self._channel.sendall(data)

    def stdout(self) -> bytes | None:
        """What has come; None: nothing yet; empty: nothing will come any more."""
        return self._take(self._channel.recv)

    def stderr(self) -> bytes | None:
        """As ``stdout``."""
        return self._take(self._channel.recv_stderr)

    def status(self) -> int:
        """Wait for the exit status. Raises Unreachable where the connection ended before it was known."""
        status = self._channel.recv_exit_status()
        if status == UNKNOWN_STATUS:
            raise Unreachable(f"{self._where}: the connection was dropped, or the command was killed")
        return status

    def _take(self, receive: Callable[[int], bytes]) -> bytes | None:
        self._channel.settimeout(0.0)
        with mapped(self._where):
            try:
                return receive(WINDOW_BYTES)
            except TimeoutError:
                return None


def run(wire: Wire, where: str, line: str, *, stdin: bytes = b"", seconds: float) -> Answer:
    """Run a small command to its end. *seconds* is for all of it.

    Raises Unreachable, after which the connection may be closed, and BadAnswer for one that talks too much.
    """
    with deadline(wire, where, seconds), Channel(wire, where, line) as channel:
        channel.feed(stdin)
        out, err = bytearray(), bytearray()
        ended = False
        while not ended:
            channel.bell.wait()
            channel.bell.rearm()
            # Both to the last byte: the bell has rung for all that stands there, and will not again.
            ended = _drain(channel.stdout, out) & _drain(channel.stderr, err)
            if len(out) + len(err) > MOST_ANSWER_BYTES:
                raise BadAnswer(f"{where}: an answer of more than {MOST_ANSWER_BYTES} bytes")
        return Answer(channel.status(), bytes(out), bytes(err))


def _drain(take: Callable[[], bytes | None], found: bytearray) -> bool:
    """Add what has come to *found*; whether that was the end."""
    while data := take():
        found += data
        if len(found) > MOST_ANSWER_BYTES:
            return False
    return data is not None
