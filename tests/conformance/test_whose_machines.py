"""Whatever an account lists: ended are what is ours and unclaimed, after the grace, and what is overdue."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from jobs import ids
from jobs.models import Instance
from jobs.store import sightings
from jobs.store.schema import installation_id
from runner.cli import cloud as commands
from tests.conformance.store_kit import FLEET, ON_SQLITE, World
from tests.properties import examples
from workers import observer
from workers.cloud import shapes
from workers.cloud.shapes import Listing

LETTERS = frozenset("0123456789abcdefghijklmnopqrstuvwxyz")
OURS = "abc123"
"""Stands for our installation's id, which differs from run to run."""


def _mostly(often: st.SearchStrategy[Any], seldom: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 3).flatmap(lambda number: often if number else seldom)


fleets = _mostly(
    st.sampled_from([FLEET, FLEET, FLEET, f"{FLEET}-2", "a", "rn"]),
    st.from_regex(r"\A[a-z0-9][a-z0-9-]{0,23}\Z"),
)
installations = st.sampled_from([OURS, OURS, "zzzzzz", "abc124"])
near = st.integers(-200, 200).map(lambda seconds: ("near", seconds))
expiries = _mostly(near, st.integers(1, 36**8 - 1).map(lambda epoch: ("at", epoch)))
parts = st.tuples(fleets, installations, st.text(ids.ALPHABET, min_size=20, max_size=20), expiries)


@dataclass(frozen=True)
class Drawn:
    """A name to be, once the time and our installation are known, and what is done to its spelling."""

    parts: tuple[str, str, str, tuple[str, int]]
    edit: tuple[str, int, str]

    def spell(self, now: int, ours: str) -> str:
        fleet, installation, rest, (kind, number) = self.parts
        expiry = number if kind == "at" else now + number
        name = f"rn-{fleet}-{installation.replace(OURS, ours)}{rest}-{_base36(expiry)}"
        how, at, what = self.edit
        at %= len(name) + 1
        match how:
            case "insert":
                return name[:at] + what + name[at:]
            case "replace":
                return name[:at] + what + name[at + 1 :]
            case "append":
                return name + what
            case "prepend":
                return what + name
            case "cut":
                return name[:at]
            case "upper":
                return name.upper()
            case _:
                return name


EDITS = ("", "", "append", "append", "prepend", "insert", "replace", "cut", "upper")
SPACES = (" ", "\n", "\t", "\x1f", "\u200b", "\xa0")
characters = st.sampled_from([*SPACES, "-", "0", "z", "\x00", "é", "\uff10", "\uff52", "_", "Z"])
edits = st.tuples(st.sampled_from(EDITS), st.integers(0, 80), characters)
others = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80) | st.lists(st.text())
names = _mostly(st.builds(Drawn, parts, edits), others)
statuses = st.sampled_from(["running", "running", "booting", "?", "terminated", "deleted"])
machines = st.lists(st.tuples(names, statuses), min_size=4, max_size=12)


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = ids.ALPHABET[digit] + digits
    return digits


def _verdict(name: object, now: int, ours: str) -> str:
    """By the rule as it is written down, in other words than the product's: 'ours', 'overdue' or 'never'."""
    if not isinstance(name, str) or len(name) > 63 or not name.startswith("rn-"):
        return "never"
    head, _, expiry = name.rpartition("-")
    head, _, attempt = head.rpartition("-")
    fleet = head[len("rn-") :]
    well_formed = (
        fleet == FLEET
        and len(attempt) == 26
        and LETTERS.issuperset(attempt)
        and 1 <= len(expiry) <= 8
        and LETTERS.issuperset(expiry)
        and expiry[0] != "0"
    )
    if not well_formed:
        return "never"
    if int(expiry, 36) < now:
        return "overdue"
    return "ours" if attempt.startswith(ours) else "never"


def _listing(world: World, drawn: list[tuple[Any, str]]) -> tuple[Listing, dict[str, object]]:
    """The account's answer, read as the client reads it; and the names by uuid, as they were sent."""
    now, ours = int(world.clock.now.timestamp()), _installation(world)
    sent: dict[str, object] = {}
    items = []
    for number, (name, status) in enumerate(drawn):
        key = str(uuid.UUID(int=number + (4 << 76) + (8 << 60)))
        sent[key] = name.spell(now, ours) if isinstance(name, Drawn) else name
        items.append({"uuid": key, "name": sent[key], "status": status})
    found = shapes.instances({"runningInstances": items})
    assert found is not None
    assert len(found[0]) == len(sent)
    return Listing(found[0], world.clock.now, found[1]), sent


def _installation(world: World) -> str:
    with world.db.read() as session:
        return installation_id(session)


def _apply(world: World, listing: Listing) -> set[str]:
    """One tick of the leader; what is doomed by now."""
    world.heartbeat()
    listed = observer._listed(listing, world.clock.now)
    world.list(sightings=list(listed.sightings))
    return {row.uuid or "" for row in world.machines() if row.doomed_at is not None}


@ON_SQLITE
@settings(examples, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=machines)
def test_nothing_else_is_ended(world: World, drawn: list[tuple[Any, str]]) -> None:
    listing, sent = _listing(world, drawn)
    began, ours = int(world.clock.now.timestamp()), _installation(world)
    live = {
        key for key, (_, status) in zip(sent, drawn, strict=True) if status not in ("terminated", "deleted")
    }

    def expected(now: int, *, unclaimed: bool) -> set[str]:
        judged = {key: _verdict(sent[key], now, ours) for key in live}
        return {key for key, word in judged.items() if word == "overdue" or (unclaimed and word == "ours")}

    try:
        world.first_seen.clear()
        assert _apply(world, listing) == expected(began, unclaimed=False), "the grace"
        reaped = {machine.uuid for machine, _ in commands._overdue(listing, FLEET)}
        assert reaped == expected(began, unclaimed=False)
        world.clock.advance(sightings.GRACE.total_seconds())
        later = Listing(listing.instances, world.clock.now, listing.complete)
        now = int(world.clock.now.timestamp())
        assert _apply(world, later) == expected(now, unclaimed=True)
        assert {machine.uuid for machine, _ in commands._overdue(later, FLEET)} == expected(
            now, unclaimed=False
        )
    finally:
        with world.db.write() as session:
            session.execute(delete(Instance))
