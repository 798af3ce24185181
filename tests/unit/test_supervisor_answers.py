"""What a machine says is read whole, or not at all."""

from __future__ import annotations

import pytest

from jobs.errors import RunnerError
from workers.supervisor import (
    ExitRecord,
    GoAnswer,
    MachineState,
    UnreadableAnswer,
    parse_attestations,
    parse_go,
    parse_state,
    parse_stop,
)

SHA = "0123456789abcdef" * 4
RECORD = f"exited 7 exit_code 12 {SHA} 0 -"


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("none", MachineState("none")),
        (b"starting\n", MachineState("starting")),
        ("running 12", MachineState("running", pid=12)),
        ("running 12 unattended", MachineState("running", pid=12, unattended=True)),
        ("lost", MachineState("lost")),
        (RECORD, MachineState("exited", ExitRecord(7, "exit_code", 12, SHA))),
        (f"exited 7 exit_code 12 {SHA}", MachineState("exited", ExitRecord(7, "exit_code", 12, SHA))),
        (f"exited - lost 0 {SHA} 0 -", MachineState("exited", ExitRecord(None, "lost", 0, SHA))),
        (
            f"exited 255 max_cost 10 {SHA} 99 5",
            MachineState("exited", ExitRecord(255, "max_cost", 10, SHA, 99, 5)),
        ),
    ],
)
def test_states(line: bytes | str, state: MachineState) -> None:
    assert parse_state(line) == state
    assert state.over is (state.kind in ("exited", "lost"))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "running",
        "running x",
        "exited",
        "exited 7 exit_code 12",
        RECORD[:-4][: len("exited 7 exit_code 12 ") + 63],
        f"exited 1000 exit_code 12 {SHA} 0 -",
        f"exited 7 exit_code -1 {SHA} 0 -",
        RECORD + " more",
        "none\nnone",
        "Last login: today",
        b"\xff\xfe",
    ],
)
def test_nonsense_and_half_answers_are_errors(line: bytes | str) -> None:
    with pytest.raises(UnreadableAnswer) as caught:
        parse_state(line)
    assert isinstance(caught.value, RunnerError)
    assert "\n" not in str(caught.value)


def test_go() -> None:
    assert parse_go(b"accepted\n") == GoAnswer(True, MachineState("starting"))
    assert parse_go(f"refused {RECORD}") == GoAnswer(False, parse_state(RECORD))
    for nonsense in ("", "refused", "accepted accepted", "refused maybe"):
        with pytest.raises(UnreadableAnswer):
            parse_go(nonsense)


def test_stop() -> None:
    assert parse_stop("stopping\n") is None
    assert parse_stop("lost\n") == MachineState("lost")
    with pytest.raises(UnreadableAnswer):
        parse_stop("")


def test_attestations() -> None:
    assert parse_attestations(f"ssh-ed25519 {SHA}\nssh-rsa {SHA}\n") == {"ssh-ed25519": SHA, "ssh-rsa": SHA}
    assert parse_attestations(b"") == {}
    for nonsense in (f"ssh-rsa {SHA[:-1]}", "motd", f"{SHA}"):
        with pytest.raises(UnreadableAnswer):
            parse_attestations(nonsense)
