"""The table of states: what it does not hold is refused, and nothing in the code goes around it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from jobs import diagram
from jobs.states import (
    CAUSES,
    FINAL,
    LIVE,
    REASONS,
    TABLE,
    Event,
    IllegalMove,
    State,
    Who,
    final_event,
    next_state,
)

ROOT = Path(__file__).resolve().parents[2]
PAIRS = list(product([None, *State], Event, Who))
LEGAL = {(row.state, row.event, who) for row in TABLE for who in row.who}


def test_the_table_has_one_line_for_each_state_and_event() -> None:
    assert len({(row.state, row.event) for row in TABLE}) == len(TABLE)


def test_every_legal_move_leads_where_the_table_says() -> None:
    for row in TABLE:
        for who in row.who:
            assert next_state(row.state, row.event, who) is row.next


@pytest.mark.parametrize("state", [None, *State])
def test_every_other_move_is_illegal(state: State | None) -> None:
    illegal = [(s, event, who) for s, event, who in PAIRS if s is state and (s, event, who) not in LEGAL]
    assert illegal
    for _, event, who in illegal:
        with pytest.raises(IllegalMove, match=f"{who} may not"):
            next_state(state, event, who)


def test_nothing_leaves_a_final_state() -> None:
    assert not [row for row in TABLE if row.state in FINAL]


def test_every_state_can_be_reached_and_left() -> None:
    reached: set[State] = set()
    frontier: set[State | None] = {None}
    while frontier:
        new = {row.next for row in TABLE if row.state in frontier} - reached
        reached |= new
        frontier = set(new)
    assert reached == set(State)
    assert {row.state for row in TABLE} >= LIVE | {State.QUEUED}


def test_every_event_is_used() -> None:
    assert {row.event for row in TABLE} == set(Event)


def test_a_job_with_a_machine_ends_only_through_finishing() -> None:
    for row in TABLE:
        if row.next in FINAL and row.state is not State.QUEUED:
            assert row.state is State.FINISHING


@pytest.mark.parametrize("cause", sorted(CAUSES))
@pytest.mark.parametrize("code", [0, 1, 143, 255, None])
def test_each_cause_ends_in_the_state_that_has_it_as_a_reason(cause: str, code: int | None) -> None:
    end = next_state(State.FINISHING, final_event(cause, code), Who.OBSERVER)
    assert cause in REASONS[end]
    assert (end is State.SUCCEEDED) == (cause == "exit_code" and code == 0)


def test_the_page_shows_the_table_as_it_is() -> None:
    page = diagram.PAGE.read_text("utf-8")
    assert page == diagram.render(page), "run `python -m jobs.diagram`"
    for row in TABLE:
        assert f"| {row.event} | {row.next} |" in page


def test_a_page_without_a_place_for_the_diagram_is_refused() -> None:
    with pytest.raises(ValueError, match="must hold"):
        diagram.render("# The life of a job\n")


# Where states may be written: `transitions` moves them, and these two make the rows.
MAKERS = {"jobs/store/transitions.py", "jobs/store/submissions.py", "jobs/store/admission.py"}
GUARDED = {"Job", "Attempt"}


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for floor in ("jobs", "workers", "runner"):
        for path in sorted((ROOT / floor).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))


def test_only_transitions_writes_the_state_of_a_job_or_an_attempt() -> None:
    writes = [
        f"{path}:{line}"
        for path, tree in _sources()
        if path not in MAKERS and path.startswith("jobs/") and "migrations" not in path
        for line in _state_writes(tree)
    ]
    assert not writes


def test_nothing_above_the_store_writes_tables() -> None:
    """No statement that writes, and no row, is made outside of ``jobs.store``."""
    wrong = [
        f"{path}:{node.lineno}"
        for path, tree in _sources()
        if not path.startswith("jobs/")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module == "sqlalchemy" or (node.module or "").startswith(("sqlalchemy.", "jobs.models")))
    ]
    assert not wrong


def _state_writes(tree: ast.Module) -> Iterator[int]:
    """Lines that set a ``state``: as an attribute, in a Job or an Attempt, or in an update of one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in (leaf for whole in targets for leaf in ast.walk(whole)):
                if isinstance(target, ast.Attribute) and target.attr == "state" and not _is_row(target.value):
                    yield node.lineno
        elif isinstance(node, ast.Call):
            named = {keyword.arg for keyword in node.keywords}
            about = {name.id for name in ast.walk(node.func) if isinstance(name, ast.Name)} | {
                name.id for call in ast.walk(node) if isinstance(call, ast.Call) for name in _arguments(call)
            }
            makes = isinstance(node.func, ast.Name) and node.func.id in GUARDED
            updates = isinstance(node.func, ast.Attribute) and node.func.attr == "values" and about & GUARDED
            if "state" in named and (makes or updates):
                yield node.lineno
            if isinstance(node.func, ast.Name) and node.func.id == "setattr":
                yield node.lineno


def _arguments(call: ast.Call) -> list[ast.Name]:
    return [argument for argument in call.args if isinstance(argument, ast.Name)]


def _is_row(value: ast.expr) -> bool:
    """Instances have states of their own; their rows are called ``row`` wherever they are written."""
    return isinstance(value, ast.Name) and value.id == "row"


def test_the_search_for_writes_finds_them() -> None:
    found = list(
        _state_writes(
            ast.parse(
                "job.state = 'x'\n"
                "a, attempt.state = 1, 2\n"
                "update(Attempt).where(Attempt.id == 1).values(state='x')\n"
                "Job(state='x')\n"
                "setattr(job, 'state', 1)\n"
                "row.state = 'doomed'\n"
                "update(Instance).where(Instance.id == 1).values(state='gone')\n"
            )
        )
    )
    assert found == [1, 2, 3, 4, 5]
