"""What reaches a terminal, a pipe and a script."""

from __future__ import annotations

import io
import json
import os
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.cli import output
from tests.properties import examples
from tests.terminal import Terminal

ESCAPE = "\x1b"


@examples
@given(st.text())
def test_nothing_that_a_terminal_would_obey_comes_through(text: str) -> None:
    shown = output.clean(text)
    for character in shown:
        assert unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp"), shown
        assert unicodedata.bidirectional(character) not in (
            "LRE",
            "RLE",
            "LRO",
            "RLO",
            "PDF",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        )
    assert output.clean(shown) == shown
    shown.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("größe 日本 👩\u200d🔬", "größe 日本 👩\u200d🔬"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\rb\nc\td", r"a\rb\nc\td"),
        ("\x9b31m", r"\x9b31m"),
        ("\x7f\x00", r"\x7f\x00"),
        ("evil\u202etxt.exe", r"evil\u202etxt.exe"),
        ("line\u2028two", r"line\u2028two"),
        ("\udcff", r"\udcff"),
    ],
)
def test_what_is_escaped_stays_readable(text: str, shown: str) -> None:
    assert output.clean(text) == shown


def test_a_note_keeps_its_lines_and_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    output.note("one\ntwo \x1b[31m")
    assert capsys.readouterr() == ("", "one\ntwo \\x1b[31m\n")


def test_json_is_one_document_of_plain_characters(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name": "ü\x1b[31m\u202e😀", "none": None, "list": [1, "2"]}
    output.print_json(value)
    text = capsys.readouterr().out
    assert json.loads(text) == value
    assert text.isascii()
    assert ESCAPE not in text
    output.print_json([])
    assert capsys.readouterr().out == "[]\n"


def test_columns_are_aligned_and_never_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    output.table(("job", "cost"), [("日本", "$1"), ("x" * 50, "$22")], right=("cost",))
    lines = capsys.readouterr().out.splitlines()
    assert [output.width(line) for line in lines] == [56, 56, 56]
    assert lines[1].startswith("日本" + " " * 48)
    assert lines[2] == "x" * 50 + "   $22"


def test_a_table_without_rows_is_its_heading(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("a", "b"), [])
    assert capsys.readouterr().out == "a  b\n"


@pytest.mark.parametrize(
    ("text", "columns"), [("", 0), ("abc", 3), ("日本", 4), ("e\u0301", 1), ("👩\u200d", 2)]
)
def test_width(text: str, columns: int) -> None:
    assert output.width(text) == columns


@examples
@given(st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=120))
def test_a_fitted_line_fits(line: str) -> None:
    with io.StringIO() as stream, pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        shown = output.fit(line, stream)  # no terminal: as wide as the environment says
    assert output.width(shown) <= 79
    assert shown == line or shown.endswith("…")


def test_what_is_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "file").open("w") as file:
        assert not output.is_terminal(file)
        assert not output.same_terminal(file, file)
    assert not output.is_terminal(file), "closed"
    assert not output.is_terminal(None)
    master, slave = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(slave, "w") as terminal, (tmp_path / "file").open("w") as file:
        assert output.is_terminal(terminal)
        assert output.colours(terminal)
        assert output.same_terminal(terminal, terminal)
        assert not output.same_terminal(terminal, file)
        monkeypatch.setenv("NO_COLOR", "1")
        assert output.is_terminal(terminal)
        assert not output.colours(terminal)
        monkeypatch.setenv("TERM", "dumb")
        assert not output.is_terminal(terminal)
    os.close(master)


def test_a_write_that_is_cut_short_is_gone_on_with() -> None:
    class Short(io.BytesIO):
        """What a signal leaves of a write where Python does not buffer."""

        def write(self, data: object) -> int:
            return super().write(bytes(data)[:3])  # type: ignore[call-overload]

    class Stream(io.StringIO):
        buffer = Short()

    output.raw(b"0123456789", Stream())
    assert Stream.buffer.getvalue() == b"0123456789"


TABLE = (
    "from runner.cli import output\n"
    "output.table(('job', 'state', 'command'),"
    " [('0123456789' * 2, 'failed (7)', '[bold]x[/bold] \\x1b[2J ' + 'word ' * 20)])\n"
)


def test_on_a_terminal_a_wide_cell_is_folded_and_the_first_column_stays_whole() -> None:
    environ = {**os.environ, "TERM": "xterm"}
    environ.pop("NO_COLOR", None)
    with Terminal([sys.executable, "-P", "-c", TABLE], environ, columns=60) as terminal:
        assert terminal.end() == 0
        shown = terminal.shown.decode()
    assert "0123456789" * 2 in shown
    assert shown.count("word") == 20
    assert "\x1b[31mfailed" in shown, "red"
    assert "\x1b[2J" not in shown
    assert "[bold]x[/bold]" in shown, "brackets are no markup"


def test_on_a_narrow_terminal_no_cell_is_folded_to_a_few_letters() -> None:
    environ = {**os.environ, "TERM": "xterm"}
    with Terminal([sys.executable, "-P", "-c", TABLE], environ, columns=35) as terminal:
        assert terminal.end() == 0
        assert "word " * 19 + "word" in terminal.shown.decode()


def test_without_colours_a_terminal_gets_plain_text() -> None:
    environ = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    with Terminal([sys.executable, "-P", "-c", TABLE], environ, columns=60) as terminal:
        assert terminal.end() == 0
        assert ESCAPE.encode() not in terminal.shown
