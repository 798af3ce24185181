"""Ids, and the grammar by which our machines are told from strangers'."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jobs import ids
from jobs.ids import InstanceName, parse_instance_name
from tests.properties import examples

fleets = st.from_regex(r"[a-z0-9][a-z0-9-]{0,23}", fullmatch=True).filter(str.isascii)
attempts = st.text(ids.ALPHABET, min_size=26, max_size=26)
expiries = st.integers(1, 36**8 - 1)
names = st.builds(InstanceName, fleets, attempts, expiries)

ATTEMPT = "abc123" + "0123456789abcdefghij"


@examples
@given(names)
def test_a_name_of_ours_always_comes_back_whole(name: InstanceName) -> None:
    text = str(name)
    assert parse_instance_name(text) == name
    assert len(text) <= 63
    assert re.fullmatch(r"[a-z0-9-]+", text)
    assert name.installation == name.attempt_id[:6]


@examples
@given(st.text(max_size=80) | st.from_regex(r"rn-[a-z0-9-]{1,30}-[0-9a-z]{24,28}-[0-9a-z]{0,10}.?"))
def test_what_parses_is_written_exactly_so(text: str) -> None:
    parsed = parse_instance_name(text)
    assert parsed is None or str(parsed) == text


@examples
@given(names, st.data())
def test_a_name_with_one_character_changed_never_becomes_another_spelling(
    name: InstanceName, data: st.DataObject
) -> None:
    text = str(name)
    at = data.draw(st.integers(0, len(text)))
    other = data.draw(st.characters())
    for changed in (text[:at] + other + text[at:], text[:at] + other + text[at + 1 :]):
        assume(changed != text)
        parsed = parse_instance_name(changed)
        assert parsed is None or str(parsed) == changed
        if not re.fullmatch(r"[a-z0-9-]", other):
            assert parsed is None


@pytest.mark.parametrize(
    "stranger",
    [
        None,
        7,
        "",
        "rn",
        "rn-",
        "rn-default",
        "my-machine",
        f"rn-default-{ATTEMPT}",
        f"rn-default-{ATTEMPT}-",
        f"rn-default-{ATTEMPT}-0",
        f"rn-default-{ATTEMPT}-0tlpwu8",
        f"rn-default-{ATTEMPT}-TLPWU8",
        f"rn-default-{ATTEMPT}-tlpwu8\n",
        f" rn-default-{ATTEMPT}-tlpwu8",
        f"RN-default-{ATTEMPT}-tlpwu8",
        f"rn-Default-{ATTEMPT}-tlpwu8",
        f"rn--default-{ATTEMPT}-tlpwu8",
        f"rn-{ATTEMPT}-tlpwu8",
        f"rn-default-{ATTEMPT[1:]}-tlpwu8",
        f"rn-default-{ATTEMPT}x-tlpwu8",
        f"rn-default_{ATTEMPT}-tlpwu8",
        f"rn-{'f' * 25}-{ATTEMPT}-tlpwu8",
        f"rn-default-{ATTEMPT}-{'z' * 9}",
        f"rn-default-{ATTEMPT}-٣٤٥",
        f"xrn-default-{ATTEMPT}-tlpwu8",
        "r" * 1_000_000,
    ],
)
def test_strangers_never_parse(stranger: str | None) -> None:
    assert parse_instance_name(stranger) is None


def test_the_fleet_may_hold_dashes_because_names_are_split_from_the_right() -> None:
    inner = f"rn-a-{ATTEMPT}-tlpwu8"
    assert parse_instance_name(inner) == InstanceName("a", ATTEMPT, int("tlpwu8", 36))
    assert parse_instance_name(f"rn-a-b--{ATTEMPT}-tlpwu8") == InstanceName(
        "a-b-", ATTEMPT, int("tlpwu8", 36)
    )


@pytest.mark.parametrize(
    ("fleet", "attempt", "expiry"),
    [
        ("", ATTEMPT, 1),
        ("Upper", ATTEMPT, 1),
        ("-a", ATTEMPT, 1),
        ("f" * 25, ATTEMPT, 1),
        ("a", ATTEMPT[1:], 1),
        ("a", ATTEMPT.upper(), 1),
        ("a", ATTEMPT, 0),
        ("a", ATTEMPT, -5),
        ("a", ATTEMPT, 36**8),
    ],
)
def test_a_name_that_would_be_a_stranger_cannot_be_made(fleet: str, attempt: str, expiry: int) -> None:
    with pytest.raises(ValueError, match="no instance name"):
        InstanceName(fleet, attempt, expiry)


def test_new_ids_have_their_shapes() -> None:
    installation = ids.new_installation_id()
    assert re.fullmatch(r"[0-9a-z]{6}", installation)
    assert re.fullmatch(r"[0-9a-z]{12}", ids.new_job_id())
    attempt = ids.new_attempt_id(installation)
    assert re.fullmatch(r"[0-9a-z]{26}", attempt)
    assert ids.installation_of(attempt) == installation
    with pytest.raises(ValueError, match="installation"):
        ids.new_attempt_id("ABCDEF")


def test_ids_differ_in_their_first_characters() -> None:
    assert len({ids.new_job_id()[:4] for _ in range(200)}) > 190
