"""The commands about jobs, called in this process: what they say where nothing needs to run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from jobs import forecast
from jobs.errors import DatabaseError, InvalidJob
from jobs.spec import JobSpec
from runner.cli import jobs as commands
from runner.cli import main, output, watch
from runner.client import Client

GPU = "gpu_1x_l40"
LONG = "for n in 1 2 3; do echo " + "x" * 300 + "; done\necho second line"


@pytest.mark.parametrize(
    "words",
    [
        ("--name", "a", "--name=b"),
        ("--max-cost", "5", "--max-cost", "50"),
        ("--max-runtime", "1h", "--gpu", "a", "--max-runtime", "2h"),
        ("--env-file", "a", "--env-file", "b"),
    ],
)
def test_an_option_that_counts_once_is_given_once(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "argv", ["runner", "submit", *words, "--", "true"])
    assert main._run() == 2
    option = words[0]
    assert (
        capsys.readouterr().err == f"runner: {option} may be given only once. See `runner submit --help`.\n"
    )
    assert not list(home.iterdir())


def test_what_collects_values_is_repeated(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--gpu", GPU, "--env", "A=1", "--env", "B=2", "--json", "--json", "--", "--gpu", "--gpu"]
    monkeypatch.setattr(sys, "argv", ["runner", "submit", *words])
    assert main._run() == 0
    assert json.loads(capsys.readouterr().out)["command"] == "--gpu --gpu"


def test_a_table_cuts_commands_on_a_terminal_only(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client() as client:
        for command in ("short", "  two\nlines", LONG):
            client.submit(command, gpu=GPU)
    commands.ls()
    cells = [line.partition("$25.00   ")[2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert cells == [LONG.replace("\n", "\\n"), "  two\\nlines", "short"]
    with monkeypatch.context() as patch:
        patch.setattr(output, "is_terminal", lambda stream: stream is sys.stdout)
        patch.setattr(
            output, "_rich_table", lambda headers, lines, right: cells.extend(line[-1] for line in lines)
        )
        cells.clear()
        commands.ls()
    assert cells == [f"{LONG[:59]}…", "two…", "short"]


def test_the_job_that_has_the_key_keeps_its_ceilings_and_they_are_said(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.submit(["true"], gpu=GPU, max_cost="1", max_runtime="1h", key="k")
    job_id, first = capsys.readouterr()
    commands.submit(["true"], gpu=GPU, max_cost="99", key="k")
    again, second = capsys.readouterr()
    assert again == job_id
    ceilings = f"job {job_id.strip()} · ceiling $1.00 (--max-cost) · max runtime 1h00m (--max-runtime)"
    assert ceilings in first
    assert ceilings in second
    assert "$99" not in second


def test_a_job_that_was_submitted_is_never_said_not_to_be(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """3 would say so: 125 is what `run` says where there is no code."""

    def unreadable(_: object) -> None:
        raise DatabaseError("It cannot be read any more.")

    monkeypatch.setattr(watch, "ensure_service", lambda client: None)
    monkeypatch.setattr(watch.LogReader, "look", unreadable)
    with pytest.raises(SystemExit) as ended:
        commands.run(["true"], gpu=GPU)
    assert ended.value.code == 125
    with Client() as client:
        (job,) = client.jobs()
    said = capsys.readouterr().err
    assert "runner: It cannot be read any more.\n" in said
    assert f"job {job.id} goes on; `runner cancel {job.id}` ends it\n" in said


def test_no_job_in_the_states_that_were_asked_for(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands.ls(["running", "finishing"])
    commands.ls()
    assert capsys.readouterr().err == (
        "No job is running or finishing.\n"
        "There are no jobs yet; `runner run --help` shows how to start one.\n"
    )


@pytest.mark.parametrize("limit", [0, -1, 2**31, 10**30])
def test_a_limit_that_makes_no_sense(home: Path, limit: int) -> None:
    with Client() as client:
        with pytest.raises(InvalidJob, match="limit must be a whole number from 1 to"):
            client.jobs(limit=limit)
        assert client.jobs(limit=2**31 - 1) == []


@pytest.mark.parametrize(
    ("max_cost", "minimum", "worst"), [(5, 0, 1_240_003), (5, 60, 2_560_003), (1, 0, 1_000_000)]
)
def test_the_worst_cost_counts_the_attempts_that_come_by_themselves(
    home: Path, max_cost: int, minimum: int, worst: int
) -> None:
    """At a cent a minute: three that boot for 15 minutes and end, and one that runs for an hour too."""
    with Client(billing_minimum_minutes=minimum) as client:
        spec = client.validate(JobSpec(command="true", gpu=GPU, max_cost=max_cost, max_runtime="1h"))
    assert forecast.most(spec, [600_000], 900, minimum) == worst, "a micro-dollar each for the rounding"


def test_files_may_keep_an_attempt_as_long_as_the_command_may(home: Path, tmp_path: Path) -> None:
    """Four attempts, each of which brings its files for an hour, and only the last one starts."""
    asked = JobSpec(command="true", gpu=GPU, max_cost=9, max_runtime="1h")
    with Client() as client:
        folder = client.validate({**asked, "workdir": str(tmp_path)})
        synced = client.validate({**asked, "output": "out", "sync_every": "1m"})
    assert forecast.most(folder, [600_000], 900, 0) == 4 * 760_000 + 3
    assert forecast.most(synced, [600_000], 900, 0) == 4 * 840_000 + 3, "their outputs have time too"


@pytest.mark.parametrize("timeout", [float("nan"), float("inf")])
def test_a_timeout_that_would_never_be_over(home: Path, timeout: float) -> None:
    with pytest.raises(InvalidJob, match="--timeout must be a number of seconds"):
        commands.wait(["any"], timeout)


@pytest.mark.parametrize("words", [("echo", "hi", "--dry-run"), ("--gpu", "a", "python", "--", "x")])
@pytest.mark.parametrize("command", ["run", "submit"])
def test_a_command_without_its_dashes_is_refused(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    words: tuple[str, ...],
) -> None:
    """Else an option behind it, a ceiling perhaps, would be a word of the command."""
    monkeypatch.setattr(sys, "argv", ["runner", command, *words])
    assert main._run() == 2
    assert "stands behind `--`" in capsys.readouterr().err
    assert not list(home.iterdir())
