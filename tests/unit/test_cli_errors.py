"""Every error becomes an exit code of the interface and one sentence, never a traceback."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest

from jobs import errors as tree
from jobs.ids import new_attempt_id
from runner.cli import errors, main

EXIT_CODES: tuple[tuple[BaseException, int], ...] = (
    (tree.InvalidJob("said"), 2),
    (tree.InvalidSettings("said"), 2),
    (tree.JobNotFound("said"), 4),
    (tree.AmbiguousJob("said"), 2),
    (tree.JobCancelled("said"), 1),
    (tree.JobExpired("said"), 1),
    (tree.ServiceUnavailable("said"), 3),
    (tree.DatabaseError("said"), 3),
    (tree.InvalidToken("said"), 3),
    (tree.RateLimited("said"), 3),
    (tree.NoAnswer("said"), 3),
    (OSError(errno.EACCES, "said"), 1),
    (KeyError("said"), 1),
    (RuntimeError("said"), 1),
)


@pytest.mark.parametrize(("error", "code"), EXIT_CODES, ids=lambda value: type(value).__name__)
def test_one_sentence_and_the_code_of_the_interface(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert errors.report(error) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("runner: ")
    assert "said" in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_what_should_not_have_happened_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="installation") as caught:
        new_attempt_id("No\n\x1b[31mSuch")
    assert errors.report(caught.value) == 1
    text = capsys.readouterr().err
    assert "ValueError: not the id of an installation" in text
    assert "(jobs/ids.py:" in text
    assert "Please report this line" in text
    assert "\x1b" not in text


def test_an_error_from_outside_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    errors.report(tree.BadRequest("refused: \x1b[2J\r\x9b1A"))
    assert capsys.readouterr().err == "runner: refused: \\x1b[2J\\r\\x9b1A\n"


def test_an_error_of_the_system_names_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    errors.report(FileNotFoundError(errno.ENOENT, "No such file or directory", "/srv/x\ny"))
    errors.report(OSError(errno.ENOSPC, "No space left on device", "/srv/x"))
    assert capsys.readouterr().err == (
        "runner: /srv/x\\ny: no such file or directory.\nrunner: /srv/x: the disk is full.\n"
    )


def test_an_interruption_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert errors.report(KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("option", ["--max-cost", "--nope"])
def test_wrong_usage_of_an_option_says_where_its_help_is(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["runner", "submit", "--gpu", "a", option])
    assert main._run() == 2
    assert capsys.readouterr().err.endswith(". See `runner submit --help`.\n")


def test_wrong_usage_says_where_help_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert errors.report_usage("No such option: --x.", "runner submit") == 2
    assert errors.report_usage("There is no command 'x'", None) == 2
    assert capsys.readouterr().err == (
        "runner: No such option: --x. See `runner submit --help`.\n"
        "runner: There is no command 'x'. See `runner --help`.\n"
    )
