"""Keeping the computer awake, by what the database says of machines."""

from __future__ import annotations

import logging
from contextlib import ExitStack

import pytest

from runner import wake
from runner.wake import Wakefulness
from tests.conformance.store_kit import World
from tests.waiting import wait_until


def test_a_desktop_that_comes_later_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A service may begin before anybody has logged in, and be busy from then on."""
    caplog.set_level(logging.INFO, wake.log.name)
    answers = ["there is no desktop", "there is no desktop", ""]
    held: list[ExitStack] = []

    def enter(stack: ExitStack) -> str:
        if answers[0] == "":
            held.append(stack)
            return ""
        return answers.pop(0)

    monkeypatch.setattr(wake, "_enter", enter)
    monkeypatch.setattr(wake, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(wake, "LOOK_SECONDS", 0.01)
    world.boot()
    with Wakefulness(world.db):
        wait_until(lambda: held, what="that it is kept awake")
    assert len(held) == 1
    assert caplog.text.count("may fall asleep while machines are rented") == 1
