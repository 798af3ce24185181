"""What happens inside one SSH channel of a simulated machine: a command, a shell, a terminal, or SFTP.

The channel is joined to real pipes of a real process, read only as fast as the client takes it. Ends follow
OpenSSH: the exit status is sent when the command's own process has ended, after what it wrote if the client
takes that; the channel stays open while a background child holds the output; and a client that leaves does
not kill the command, which only finds its pipes closed (or its terminal hung up).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias, cast

import asyncssh
from asyncssh.channel import SSHChannel
from asyncssh.packet import Boolean, String, UInt32
from asyncssh.stream import SSHServerStreamSession

from runner.sim import terminal
from runner.sim.processes import Child
from runner.sim.sftp import HomeSFTPServer

if TYPE_CHECKING:
    from runner.sim.ssh import Door

Channel: TypeAlias = asyncssh.SSHServerChannel[bytes]
CHUNK = 256 * 1024
# The signals that OpenSSH names in its exit message; for others it says "SIG@openssh.com".
NAMED_SIGNALS = frozenset("ABRT ALRM FPE HUP ILL INT KILL PIPE QUIT SEGV TERM USR1 USR2".split())  # noqa: SIM905


class Session(SSHServerStreamSession[bytes]):
    """One channel. SFTP is served by the base class; everything else by a process."""

    def __init__(self, door: Door, user: str) -> None:
        super().__init__(
            None, lambda channel: HomeSFTPServer(cast(Channel, channel), door.machine.home), sftp_version=3
        )
        self._door = door
        self._user = user
        self._events = asyncio.get_running_loop()
        self._channel: Channel | None = None
        self._sftp = False
        self._terminal: terminal.Wanted | None = None
        self._pid = 0
        self._stdin = -1
        self._pending = bytearray()  # what the process has not taken yet
        self._eof = False
        self._outputs: dict[int, int | None] = {}  # file descriptor -> SSH data type
        self._held = False  # the client takes no more for now
        self._reading = False
        self._exit: int | None = None
        self._reported = False

    # What the channel asks for, in its order

    def connection_made(self, chan: SSHChannel[bytes]) -> None:
        """The channel is open."""
        super().connection_made(chan)
        self._channel = cast(Channel, chan)
        chan.set_write_buffer_limits(high=CHUNK)
        self._door.sessions.add(self)

    def pty_requested(self, term_type: str, term_size: terminal.Size, term_modes: Mapping[int, int]) -> bool:
        """A terminal, please: always granted."""
        self._terminal = terminal.Wanted(term_type, term_size, dict(term_modes))
        return True

    def shell_requested(self) -> bool:
        """A login shell: granted."""
        return True

    def exec_requested(self, command: str) -> bool:
        """A command: granted."""
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        """Only SFTP is a subsystem here."""
        self._sftp = subsystem == "sftp"
        return self._sftp

    def session_started(self) -> None:
        """Everything has been asked for: start it."""
        if self._sftp:
            super().session_started()
            return
        channel = self._channel
        if channel is None:
            return
        try:
            child = self._start(channel)
        except (OSError, ValueError) as error:  # not up, out of processes, an argument too long, a NUL
            channel.write_stderr(f"{error}\n".encode())
            channel.exit(255)
            return
        self._pid = child.pid
        self._door.machine.keep(self._watch(child))
        self._update_reading()

    def _start(self, channel: Channel) -> Child:
        machine = self._door.machine
        command = channel.get_command()
        argv = [machine.shell, "-l"] if command is None else [machine.shell, "-c", command]
        env = machine.environment(self._user)
        for name, value in channel.get_environment().items():
            if name == "LANG" or name.startswith("LC_"):  # as OpenSSH is configured on Ubuntu
                env[name] = value
        peer = channel.get_extra_info("peername") or ("127.0.0.1", 0)
        env["SSH_CLIENT"] = f"{peer[0]} {peer[1]} {machine.port}"
        env["SSH_CONNECTION"] = f"{peer[0]} {peer[1]} 127.0.0.1 {machine.port}"
        if self._terminal is None:
            return self._start_on_pipes(argv, env)
        return self._start_on_terminal(argv, env, self._terminal)

    def _start_on_pipes(self, argv: list[str], env: dict[str, str]) -> Child:
        (stdin, to_stdin), (from_stdout, stdout), (from_stderr, stderr) = (os.pipe() for _ in range(3))
        ours = (to_stdin, from_stdout, from_stderr)
        try:
            child = self._door.machine.spawn(argv, env, stdin, stdout, stderr)
        except (OSError, ValueError):
            for end in ours:
                os.close(end)
            raise
        finally:
            for end in (stdin, stdout, stderr):
                os.close(end)
        for end in ours:
            os.set_blocking(end, False)
        self._stdin = to_stdin
        self._outputs = {from_stdout: None, from_stderr: asyncssh.EXTENDED_DATA_STDERR}
        return child

    def _start_on_terminal(self, argv: list[str], env: dict[str, str], wanted: terminal.Wanted) -> Child:
        ours, theirs, path = terminal.opened(wanted)
        env |= {"TERM": wanted.name, "SSH_TTY": path}
        try:
            child = self._door.machine.spawn(terminal.controlling(argv), env, theirs, theirs, theirs)
        except (OSError, ValueError):
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        os.set_blocking(ours, False)
        self._stdin = os.dup(ours)
        self._outputs = {ours: None}
        return child

    # From the process to the client

    def _update_reading(self) -> None:
        """Read from the process exactly while the client takes what comes."""
        reading = not (self._held or self._door.frozen)
        if reading != self._reading:
            self._reading = reading
            for output in self._outputs:
                if reading:
                    self._events.add_reader(output, self._forward, output)
                else:
                    self._events.remove_reader(output)

    def _forward(self, output: int) -> bool:
        """Send what can be read at once; whether there may be more."""
        channel = self._channel
        if channel is None or output not in self._outputs:
            return False
        try:
            data = os.read(output, CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # EIO: nobody has the terminal open any more
            data = b""
        if not data or channel.is_closing():
            self._close_output(output)
            self._advance()
            return False
        channel.write(data, self._outputs[output])
        self._door.count(len(data))
        return True

    def _close_output(self, output: int) -> None:
        del self._outputs[output]
        if self._reading:
            self._events.remove_reader(output)
        os.close(output)

    def pause_writing(self) -> None:
        """The client is slow: leave the output in the pipe."""
        super().pause_writing()
        self._held = True
        self._update_reading()

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        self._held = False
        self._update_reading()

    def freeze(self) -> None:
        """The network has gone silent, or talks again, as the door says."""
        self._update_reading()
        self._drain()
        self._advance()

    # From the client to the process

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Standard input for the process; the client is held up while the process does not read."""
        if self._sftp:
            super().data_received(data, datatype)
            return
        if self._stdin < 0:
            return  # nobody reads it any more: discarded, as OpenSSH does
        first = not self._pending
        self._pending += data
        if first:
            self._write_stdin()

    def _write_stdin(self) -> None:
        channel = self._channel
        try:
            written = os.write(self._stdin, self._pending)
        except BlockingIOError:
            written = 0
        except OSError:  # EPIPE: the process has closed its input
            self._close_stdin()
            return
        del self._pending[:written]
        if self._pending:
            self._events.add_writer(self._stdin, self._write_stdin)
            if channel is not None:
                channel.pause_reading()
            return
        self._events.remove_writer(self._stdin)
        if channel is not None:
            channel.resume_reading()
        if self._eof and not self._pending:
            self._close_stdin()

    def eof_received(self) -> bool:
        """End of input: passed on once everything before it was. The other direction stays open."""
        if self._sftp:
            return bool(super().eof_received())
        if self._terminal is None:  # a terminal has no end that could be passed on
            self._eof = True
            if not self._pending:
                self._close_stdin()
        return True

    def _close_stdin(self) -> None:
        self._pending.clear()
        if self._stdin >= 0:
            self._events.remove_writer(self._stdin)
            os.close(self._stdin)
            self._stdin = -1
            if self._channel is not None:
                self._channel.resume_reading()

    def signal_received(self, signal: str) -> None:
        """A signal for the command's process group."""
        self._signal(signal)

    def break_received(self, msec: int) -> bool:
        """A break is an interrupt here."""
        self._signal("INT")
        return True

    def _signal(self, name: str) -> None:
        number = getattr(signal, f"SIG{name}", None)
        if self._pid and self._exit is None and number is not None:
            with contextlib.suppress(OSError):
                os.killpg(self._pid, number)

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """The client's window was resized."""
        if self._terminal is not None and self._stdin >= 0:
            terminal.set_size(self._stdin, (width, height, pixwidth, pixheight))

    # The end

    async def _watch(self, child: Child) -> None:
        self._exit = await child.wait()
        self._close_stdin()
        self._drain()
        if self._terminal is not None and not self._held:  # what else has the terminal open is hung up
            for output in list(self._outputs):
                self._close_output(output)
        self._advance()

    def _drain(self) -> None:
        """Once the command has ended: send all that it wrote, as far as the client takes it."""
        if self._exit is not None:
            for output in list(self._outputs):
                while self._reading and self._forward(output):
                    pass

    def _advance(self) -> None:
        """Send what is due of: end of file, exit status, close."""
        channel = self._channel
        if channel is None or self._door.frozen:
            return
        if not self._outputs:
            channel.write_eof()
        if self._exit is not None and not self._reported:
            self._reported = True
            _send_exit(channel, self._exit)
        if self._reported and not self._outputs:
            channel.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone: the process finds its pipes closed, or its terminal hung up."""
        super().connection_lost(exc)
        self._channel = None
        self._door.sessions.discard(self)
        self._close_stdin()
        for output in list(self._outputs):
            self._close_output(output)


def _send_exit(channel: Channel, code: int) -> None:
    """Send the exit and leave the channel open, for which asyncssh has no public call."""
    if code >= 0:
        channel._send_request(b"exit-status", UInt32(code & 0xFF))
        return
    name = signal.Signals(-code).name.removeprefix("SIG") if -code in set(signal.Signals) else ""
    name = name if name in NAMED_SIGNALS else "SIG@openssh.com"
    channel._send_request(b"exit-signal", String(name), Boolean(False), String(""), String(""))
