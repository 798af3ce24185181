"""The commands about money, called in this process: budgets, spend and receipts where nothing runs."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from jobs.errors import InvalidJob
from jobs.models import Job
from jobs.store import catalog
from jobs.store.budgets import Every, InUse
from jobs.store.catalog import Offer
from jobs.store.spend import By
from runner.cli import budgets, receipts, spend
from runner.cli import jobs as commands
from runner.client import Client

GPU = ["gpu_1x_l40"]


def _said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_budget_is_made_changed_listed_and_taken_away(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    budgets.ls()
    assert "There are no budgets" in capsys.readouterr().err
    budgets.set_("team", "200")
    assert capsys.readouterr().out == "team: $200.00, $0.00 spent, $0.00 reserved, $200.00 left\n"
    budgets.set_("team", "0.5", every=Every.WEEK, json=True)
    found = _said(capsys)
    assert (found["name"], found["budget_usd"], found["every"]) == ("team", "0.50", "week")
    assert found["since"].endswith("T00:00:00.000Z")
    budgets.ls()
    assert capsys.readouterr().out.splitlines()[1].split() == [
        "team", "each", "week", "$0.50", "$0.00", "$0.00", "$0.50", "0",
    ]  # fmt: skip
    budgets.set_("team", "1")
    assert "each week" in capsys.readouterr().out, "it stays"
    budgets.set_("team", "1", every=Every.NEVER)
    assert "each" not in capsys.readouterr().out
    budgets.rm("team")
    budgets.ls(json=True)
    assert _said(capsys) == []


@pytest.mark.parametrize("name", ["", "two words", "-x", "a" * 65, "a/b", "tschüß", ".b"])
def test_what_no_budget_is_called(home: Path, name: str) -> None:
    with pytest.raises(InvalidJob, match="NAME must be a budget's name"):
        budgets.set_(name, "5")
    with Client() as client, pytest.raises(InvalidJob, match="budget must be a budget's name"):
        client.submit("true", gpu="gpu_1x_l40", budget=name)


def test_a_budget_called_none_would_be_no_budget(home: Path) -> None:
    with pytest.raises(InvalidJob, match="'none' stands for no budget"):
        budgets.set_("None", "5")


def test_what_is_left_of_one_that_was_lowered_is_less_than_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    budgets.set_("team", "5")
    with Client() as client:
        job = client.submit("true", gpu="gpu_1x_l40", budget="team")
        with client.database.write() as session:
            taken = {"budget_charged": 1_030_000, "admitted_at": client.database.now(session)}
            session.execute(update(Job).where(Job.id == job.id).values(**taken))
    capsys.readouterr()
    budgets.set_("team", "1")
    assert capsys.readouterr().out == "team: $1.00, $0.00 spent, $1.03 reserved, -$0.03 left\n"


@pytest.mark.parametrize("usd", ["0", "-1", "NaN", "1e400", "5,00", "$5", "0.0000001", "1000001"])
def test_what_is_no_sum(home: Path, usd: str) -> None:
    with pytest.raises(InvalidJob, match="USD m"):
        budgets.set_("team", usd)
    with Client() as client, pytest.raises(InvalidJob, match="max_price m"):
        client.submit("true", gpu="gpu_1x_l40", max_price=usd)


def test_a_budget_that_is_not_there_or_is_needed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidJob, match="There is no budget 'team'; `runner budget ls` shows"):
        commands.submit(["true"], gpu=GPU, budget="team")
    with pytest.raises(InvalidJob, match="There is no budget 'team'"):
        budgets.rm("team")
    budgets.set_("team", "30")
    commands.submit(["true"], gpu=GPU, budget="team")
    assert " · budget team" in capsys.readouterr().err
    with pytest.raises(InUse, match="1 job is not over yet") as refused:
        budgets.rm("team")
    assert refused.value.exit_code == 1


def test_more_than_the_whole_budget_is_refused_at_the_submit(home: Path) -> None:
    budgets.set_("team", "1")
    with Client() as client:
        catalog.keep(client.database, [Offer("gpu_1x_l40", 860_000, 4, 1)])
    with pytest.raises(InvalidJob) as refused:
        commands.submit(["true"], gpu=GPU, max_cost="2", budget="team")
    assert str(refused.value) == (
        "The job may cost up to $2.00, and the whole budget 'team' is $1.00: "
        "lower the ceiling (--max-cost, now $2.00), or set a larger budget."
    )


def test_a_default_of_the_working_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    lines = ('budget = "team"', 'max_price = "1.5"', 'grace = "2m"', 'idle_timeout = "1h"')
    (folder / "runner.toml").write_text("\n".join(lines))
    monkeypatch.chdir(folder)
    budgets.set_("team", "30")
    capsys.readouterr()
    commands.submit(["true"], gpu=GPU, json=True)
    found = _said(capsys)
    assert (found["budget"], found["max_price_usd_per_hour"]) == ("team", "1.50")
    assert (found["grace_seconds"], found["idle_timeout_seconds"]) == (120, 3600)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("grace", "0s", "must be from 1s to 1h"),
        ("grace", "2h", "must be from 1s to 1h"),
        ("idle_timeout", "9s", "must be from 10s"),
        ("coupon", "two words", "without spaces"),
        ("coupon", " ", "printable characters"),
    ],
)
def test_what_makes_no_sense(home: Path, option: str, value: str, says: str) -> None:
    given: dict[str, Any] = {option: value}
    with pytest.raises(InvalidJob, match=says):
        commands.submit(["true"], gpu=GPU, **given)


def test_nothing_was_spent(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spend.spend()
    assert capsys.readouterr().err == "Nothing was spent.\n"
    spend.spend(since="30d", by=By.PRODUCT, json=True)
    found = _said(capsys)
    assert (found["by"], found["lines"], found["cost_usd"]) == ("product", [], "0.00")
    spend.spend(as_csv=True)
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [
        ["day", "machines", "minutes", "cost_usd"]
    ]
    with pytest.raises(InvalidJob, match="give one of them"):
        spend.spend(as_csv=True, json=True)
    with pytest.raises(InvalidJob, match="--since must be"):
        spend.spend(since="yesterday")


def test_a_receipt_of_a_job_that_has_rented_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands.submit(["true"], gpu=GPU, name="first", max_cost="2")
    capsys.readouterr()
    receipts.receipt("first")
    assert "first queued: not over yet · nothing rented · 0 min · $0.0000 of $2.00" in capsys.readouterr().out
    receipts.receipt("first", json=True)
    found = _said(capsys)
    assert (found["attempts"], found["cost_usd"], found["overrun_usd"]) == ([], "0.00", "0.00")
    assert found["strays"] == {"minutes": 0, "cost_usd": "0.00"}
