"""The table of states as a diagram: `python -m jobs.diagram` writes it into ``docs/lifecycle.md``.

A diagram that is drawn by hand drifts from the table; a test shows that this one has not.
"""

from __future__ import annotations

from pathlib import Path

from jobs.states import FINAL, TABLE, Row, State

PAGE = Path(__file__).resolve().parent.parent / "docs" / "lifecycle.md"
BEGIN = "<!-- python -m jobs.diagram writes what follows -->"
END = "<!-- python -m jobs.diagram wrote what precedes -->"


def diagram() -> str:
    """The table in Mermaid's notation."""
    edges: dict[tuple[State | None, State], list[Row]] = {}
    for row in TABLE:
        edges.setdefault((row.state, row.next), []).append(row)
    lines = ["stateDiagram-v2"]
    for (state, next_), rows in edges.items():
        lines.append(f"    {state or '[*]'} --> {next_}: {', '.join(row.event for row in rows)}")
    lines += [f"    {state} --> [*]" for state in State if state in FINAL]
    return "\n".join(lines)


def table() -> str:
    """The table as people read it: who may make which move."""
    lines = ["| state | event | next | who |", "|---|---|---|---|"]
    for row in TABLE:
        who = ", ".join(sorted(row.who))
        lines.append(f"| {row.state or '–'} | {row.event} | {row.next} | {who} |")  # noqa: RUF001
    return "\n".join(lines)


def render(page: str) -> str:
    """*page* with the diagram and the table as they are now. Raises ValueError where it has no place."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page must hold {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n```mermaid\n{diagram()}\n```\n\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text("utf-8")), "utf-8")
