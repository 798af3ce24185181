"""What a worker says: each line in the form that was asked for, whoever says it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

FALLS = """
import sys, threading
from runner.cli.logging import LogFormat, to_stderr
to_stderr(LogFormat(sys.argv[1]))
def fall():
    raise {what}
thread = threading.Thread(target=fall, name="leases")
thread.start()
thread.join()
"""


def _said(form: str, what: str) -> str:
    words = [sys.executable, "-P", "-c", FALLS.format(what=what), form]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stderr


def test_a_thread_that_falls_does_so_in_json() -> None:
    (line,) = _said("json", "ValueError('odd')").splitlines()
    said = json.loads(line)
    assert (said["level"], said["message"], said["job"]) == ("CRITICAL", "the thread leases has fallen", None)
    assert "ValueError: odd" in said["exc_info"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_one_that_ends_itself_is_not_told_of(form: str) -> None:
    assert _said(form, "SystemExit(3)") == ""
