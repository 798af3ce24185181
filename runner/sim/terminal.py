"""Pseudo-terminals for the SSH sessions of simulated machines: their size, their modes, who controls them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# A process gets a controlling terminal by asking for it itself; `setsid` has been called for it by then.
TAKE_TERMINAL = (
    "import fcntl,os,sys,termios;fcntl.ioctl(0,termios.TIOCSCTTY,0);os.execvp(sys.argv[1],sys.argv[1:])"
)
# RFC 4254's number of a terminal mode -> where termios keeps it (0 input, 1 output, 3 local), as which flag
MODES = {
    36: (0, termios.ICRNL),
    38: (0, termios.IXON),
    50: (3, termios.ISIG),
    51: (3, termios.ICANON),
    53: (3, termios.ECHO),
    54: (3, termios.ECHOE),
    59: (3, termios.IEXTEN),
    70: (1, termios.OPOST),
    72: (1, termios.ONLCR),
}
Size = tuple[int, int, int, int]


@dataclass(frozen=True)
class Wanted:
    """The terminal that a client asks for. *size* is columns, rows, and the same in pixels."""

    name: str
    size: Size
    modes: Mapping[int, int]


def opened(wanted: Wanted) -> tuple[int, int, str]:
    """A new pseudo-terminal: our end, the process's end (both to be closed by the caller), its path."""
    ours, theirs = pty.openpty()
    set_size(ours, wanted.size)
    attributes = termios.tcgetattr(theirs)
    for opcode, (field, flag) in MODES.items():
        if opcode in wanted.modes:
            on = wanted.modes[opcode]
            attributes[field] = attributes[field] | flag if on else attributes[field] & ~flag
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    return ours, theirs, os.ttyname(theirs)


def controlling(argv: Sequence[str]) -> list[str]:
    """*argv* so that its standard input, a terminal, becomes its controlling one."""
    return [sys.executable, "-I", "-S", "-c", TAKE_TERMINAL, *argv]


def set_size(terminal: int, size: Size) -> None:
    """Tell the terminal its size; whoever runs in it gets SIGWINCH."""
    columns, rows, width, height = (value & 0xFFFF for value in size)
    with contextlib.suppress(OSError):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, width, height))
