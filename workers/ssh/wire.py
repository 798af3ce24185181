"""paramiko's transport, made fit for connections of hours that nobody watches.

Its keepalives ask for no answer, so a peer whose packets are dropped is never noticed; its handshake keeps a
thread that delays our exit; its timers follow the wall clock, which may jump; its log goes to standard error;
a peer's last words in an exchange of keys make it wait for itself; and it may speak on a channel after it has
closed it, for which a peer ends the connection. All of that is repaired here, mostly in the packet reader
that paramiko lets us choose. Time is counted in the ticks of paramiko's own thread: a process that was
suspended for an hour has not waited for its peer so long.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable

import paramiko
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_WINDOW_ADJUST,
    cMSG_GLOBAL_REQUEST,
)
from paramiko.message import Message
from paramiko.packet import Packetizer

LOG_NAME = "workers.ssh.wire"

# What paramiko tells of broken connections reaches its callers as exceptions; its log is for debugging only.
_quiet = logging.getLogger(LOG_NAME)
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False
_quiet.setLevel(logging.CRITICAL)

TICK_SECONDS = 1.0
"""How often a quiet connection wakes up. Data wakes it at once; this is only for counting silence."""

FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""Asked for first: no separate hash of each packet in Python, half the CPU time for the same log."""


class Silent(paramiko.SSHException):
    """Nothing was heard from the peer for too long, though it was asked."""


class Packets(Packetizer):
    """Reads and writes packets, asks a quiet peer for a sign of life, and gives up a silent one."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._socket = sock
        self._ask: Callable[[], None] | None = None
        self._interval = self._patience = self._longest_tick = 0.0
        self._silence = self._next_question = 0.0
        self._ticked = time.monotonic()

    def watch(self, interval: float, patience: float, ask: Callable[[], None]) -> None:
        """From now on call *ask* every *interval* seconds of silence, and end after *patience* seconds."""
        tick = min(TICK_SECONDS, interval / 4)
        self._socket.settimeout(tick)
        self._interval, self._patience, self._longest_tick = interval, patience, 2 * tick
        self._heard()
        self._ask = ask

    def read_message(self) -> tuple[int, Message]:
        """One packet, as paramiko reads it; the peer is alive."""
        found = super().read_message()
        self._heard()
        return found

    def write_all(self, out: bytes) -> None:  # type: ignore[override]  # bytes is all that paramiko gives
        """Send all of *out*; EOFError where the peer takes nothing for too long."""
        rest = memoryview(out)
        stalled, before = 0.0, time.monotonic()
        while rest:
            try:
                sent = self._socket.send(rest)
            except TimeoutError:
                now = time.monotonic()
                stalled, before = stalled + min(now - before, self._longest_tick), now
                if self.closed or (self._ask is not None and stalled > self._patience - self._interval):
                    raise EOFError from None
            except OSError:
                raise EOFError from None
            else:
                rest = rest[sent:]
                stalled, before = 0.0, time.monotonic()

    # The handshake's deadline is kept by who connects: it closes the socket. No timer of its own then.

    def start_handshake(self, timeout: float) -> None:
        """Nothing to do."""

    def handshake_timed_out(self) -> bool:
        """Never."""
        return False

    def complete_handshake(self) -> None:
        """Nothing to do."""

    def _heard(self) -> None:
        self._silence, self._next_question = 0.0, self._interval
        self._ticked = time.monotonic()

    def _check_keepalive(self) -> None:
        """Called by paramiko's thread after each tick in which nothing came."""
        if self._ask is None:
            return
        now = time.monotonic()
        self._silence += min(now - self._ticked, self._longest_tick)
        self._ticked = now
        if self._silence > self._patience:
            raise Silent(f"nothing was heard from it for {self._silence:.0f} s")
        if self._silence >= self._next_question and not self.need_rekey():
            self._next_question += self._interval
            self._ask()


class Wire(paramiko.Transport):
    """One SSH connection. ``close`` may be called by any thread, and wakes all that wait on it."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, packetizer_class=Packets)
        self._socket = sock
        self._postponed: list[Message] = []
        self._closed_channels: set[bytes] = set()  # as the peer numbers them
        self.set_log_channel(LOG_NAME)
        options = self.get_security_options()
        options.ciphers = sorted(options.ciphers, key=lambda name: name not in FAST_CIPHERS)

    def keep_alive(self, interval: float, patience: float) -> None:
        """Ask the peer after each *interval* seconds of silence; the connection ends after *patience*."""
        packets = self.packetizer
        if isinstance(packets, Packets):
            packets.watch(interval, patience, self._question)

    def close(self) -> None:
        """End the connection and its thread; all that waits on it fails at once. Any number of times."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # its thread reads the end, and cleans up by itself
        if self.is_alive():
            self.join(2.0)
        super().close()
        self._socket.close()

    def _question(self) -> None:
        # An unknown request is answered with a failure, which is all that is wanted.
        question = Message()
        question.add_byte(cMSG_GLOBAL_REQUEST)
        question.add_string("keepalive@openssh.com")
        question.add_boolean(True)
        self._send_user_message(question)  # no public way asks and does not wait

    # While keys are exchanged only the exchange may speak, and all others wait for its end. This thread must
    # not: it is the one that reads that end. It has something to say where the peer closed a channel before
    # it learned of the exchange (github.com/paramiko/paramiko/issues/822): that is said afterwards.

    def _send_user_message(self, data: Message) -> None:
        if threading.current_thread() is self and not self.clear_to_send.is_set():
            self._postponed.append(data)
        else:
            super()._send_user_message(data)  # type: ignore[misc]  # not in the stubs

    def _parse_newkeys(self, m: Message) -> None:
        super()._parse_newkeys(m)  # type: ignore[misc]  # not in the stubs
        postponed, self._postponed = self._postponed, []
        for message in postponed:
            self._send_user_message(message)

    # Whoever sends on a channel lets go of its lock before. Meanwhile this thread may have heard that the
    # peer closes it, and have closed it too: then nothing more may be said, and the sender learns of the end
    # by its next call.

    def _send_message(self, data: Message) -> None:
        packet = data.asbytes()
        kind, number = packet[0], packet[1:5]
        if MSG_CHANNEL_WINDOW_ADJUST <= kind <= MSG_CHANNEL_FAILURE:  # all that is said on an open channel
            if number in self._closed_channels:
                return
            if kind == MSG_CHANNEL_CLOSE:
                self._closed_channels.add(number)
        super()._send_message(data)  # type: ignore[misc]  # not in the stubs

    def _parse_channel_open_success(self, m: Message) -> None:
        m.get_int()  # our number
        self._closed_channels.discard(m.get_bytes(4))  # a number is used again
        m.rewind()
        super()._parse_channel_open_success(m)  # type: ignore[misc]  # not in the stubs
