"""Trouble that lasts is said when it begins, when its reason changes, and now and then."""

from __future__ import annotations

import logging

import pytest

from workers import complaint
from workers.complaint import Complaint


def test_once_and_again_after_a_while(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    trouble = Complaint(logging.getLogger("x"), "nothing works", "it works")
    for reason in ("full", "full", "away", "away"):
        trouble.say(OSError(reason))
    assert caplog.messages == ["nothing works: full", "nothing works: away"]
    now = complaint.time.monotonic()
    monkeypatch.setattr(complaint.time, "monotonic", lambda: now + complaint.AGAIN_SECONDS)
    trouble.say(OSError("away"))
    trouble.over()
    trouble.over()
    trouble.say(OSError("away"))
    assert caplog.messages[2:] == ["nothing works: away", "it works", "nothing works: away"]
