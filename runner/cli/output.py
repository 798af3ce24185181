"""What people and scripts see: tables and colours on a terminal, plain text elsewhere, one JSON document.

Text from outside (names, the service's words, a job's command) may hold control characters that would move
the cursor or change the screen; it is escaped here before it reaches a terminal.
"""

from __future__ import annotations

import errno
import json
import os
import select
import shutil
import stat
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, TextIO

_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")
"""Invisible, harmless, and part of emoji and of several scripts."""

GAP = 2
LEAST_COLUMN = 10
"""To how many columns a table's cell may be folded."""

STDOUT = "standard output"
"""How errors name it."""

_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "expired": "yellow",
    "cancelled": "yellow",
    "running": "cyan",
}


def clean(text: object) -> str:
    """*text* as one line without anything that a terminal would obey; what is escaped stays readable."""
    found = str(text)
    return found if found.isprintable() else "".join(map(_escape, found))


def clean_lines(text: object) -> str:
    """The same, but line ends stay."""
    return "\n".join(map(clean, str(text).split("\n")))


def line(text: object = "") -> None:
    """A line of the answer, on standard output."""
    _print(clean_lines(text))


def note(text: object) -> None:
    """A line for people, on standard error. Where nobody can see it, that is no reason to fail."""
    if sys.stderr is not None:  # closed: print would take standard output in its place
        with suppress(OSError):
            print(clean_lines(text), file=sys.stderr, flush=True)


def at_once(text: str) -> None:
    """The same from a signal's handler: past the stream's buffer, which may be in use, and never waiting."""
    with suppress(OSError, ValueError, AttributeError):
        number = sys.stderr.fileno()
        if select.select([], [number], [], 0)[1]:
            os.write(number, f"{clean_lines(text)}\n".encode())


def print_json(value: Any) -> None:
    """One JSON document on standard output. ASCII only, so that no terminal and no encoding is in its way."""
    _print(json.dumps(value, indent=2))


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Columns on standard output; those named in *right* are aligned there.

    On a terminal a cell that is too wide is folded. Elsewhere, and where folding would leave columns of a
    few letters, nothing is cut or wrapped.
    """
    lines = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(headers, *lines, strict=True)]
    if is_terminal(sys.stdout) and _columns(sys.stdout) >= widths[0] + sum(
        GAP + min(size, LEAST_COLUMN) for size in widths[1:]
    ):
        _rich_table(headers, lines, right)
        return
    for row in (list(headers), *lines):
        cells = [
            _padded(cell, size, header in right)
            for header, cell, size in zip(headers, row, widths, strict=True)
        ]
        _print((" " * GAP).join(cells).rstrip())


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person looks at *stream*, on something that understands more than lines."""
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # closed
        return False


def colours(stream: TextIO | None) -> bool:
    """Whether *stream* may be coloured (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def is_pipe(stream: TextIO) -> bool:
    """Whether another program reads what is written there."""
    try:
        return stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def same_terminal(one: TextIO, other: TextIO) -> bool:
    """Whether both streams end on the same terminal."""
    try:
        if not (one.isatty() and other.isatty()):
            return False
        return os.fstat(one.fileno()).st_rdev == os.fstat(other.fileno()).st_rdev
    except (OSError, ValueError):
        return False


def fit(line: str, stream: TextIO) -> str:
    """*line*, cut to one line of the terminal behind *stream*."""
    room = _columns(stream) - 1
    if width(line) <= room:
        return line
    kept, used = [], 1
    for character in line:
        used += width(character)
        if used > room:
            break
        kept.append(character)
    return "".join(kept) + "…"


def _columns(stream: TextIO) -> int:
    """How wide the terminal behind *stream* is."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return columns or shutil.get_terminal_size().columns


def width(text: str) -> int:
    """How many columns *text* takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


def raw(data: bytes, stream: TextIO) -> None:
    """The bytes of a log, as they are. Raises OSError, naming the stream."""
    rest = memoryview(data)
    with _named(stream):
        while rest:  # where Python does not buffer, a signal may cut a write short
            written = stream.buffer.write(rest)
            if written is None:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            rest = rest[written:]


def flush(stream: TextIO | None = None) -> None:
    """Write out what is still buffered, of standard output or *stream*. Raises OSError, naming it."""
    stream = sys.stdout if stream is None else stream
    with _named(stream):
        if stream is not None:
            stream.flush()


def _print(text: str) -> None:
    with _named():
        print(text)


@contextmanager
def _named(stream: TextIO | None = None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        name = "standard error" if stream is not None and stream is sys.stderr else STDOUT
        raise type(error)(error.errno, error.strerror, name) from None


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _escape(character: str) -> str:
    if unicodedata.category(character) not in _ESCAPED or character in _JOINERS:
        return character
    return character.encode("unicode_escape").decode("ascii")


def _padded(cell: str, size: int, right: bool) -> str:
    space = " " * (size - width(cell))
    return space + cell if right else cell + space


def _rich_table(headers: Sequence[str], lines: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for number, header in enumerate(headers):
        # The first column is what people copy: it stays whole.
        justify: Literal["left", "right"] = "right" if header in right else "left"
        drawn.add_column(header, overflow="fold", no_wrap=number == 0, justify=justify)
    for line in lines:
        drawn.add_row(*_styled(line))
    Console(highlight=False, color_system="auto" if colours(sys.stdout) else None).print(drawn)


def _styled(line: Sequence[str]) -> Iterator[Any]:
    from rich.text import Text

    for cell in line:
        word = cell.split(" ", 1)[0]
        yield Text(cell, style=_STYLES.get(word, ""))  # Text, so that brackets are no markup
