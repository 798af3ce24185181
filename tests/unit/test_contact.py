"""Since when heartbeats come through: what decides whether an expired lease proves anybody dead."""

from __future__ import annotations

import pytest

from jobs.store import contact
from jobs.store.contact import GAP_SECONDS, Contact


class Ticks:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(contact, "ticks", lambda: self.now)


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    return Ticks(monkeypatch)


def test_nothing_was_heard_yet(ticks: Ticks) -> None:
    assert Contact().seconds() == 0


def test_they_come_through_all_the_time(ticks: Ticks) -> None:
    found = Contact()
    for _ in range(20):
        found.made()
        ticks.now += 5
    assert found.seconds() == 100


def test_a_gap_begins_it_anew(ticks: Ticks) -> None:
    found = Contact()
    found.made()
    ticks.now += 5
    found.made()
    ticks.now += GAP_SECONDS + 0.1
    assert found.seconds() == 0, "none comes through at present"
    found.made()
    assert found.seconds() == 0
    ticks.now += 3
    assert found.seconds() == 3
