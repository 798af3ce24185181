"""`runner retry`: a job that is over, once more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.acceptance.harness import Installation

ARRANGEMENTS = ("service", "workers")
IN_FULL = ("workers",)


def test_once_more_as_it_was(shared: Installation, tmp_path: Path) -> None:
    """Folder, set-up, outputs and all; the folder of here may have changed since, or be gone."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "data").write_text("as it was")
    options = {
        "env": {"A": "b c"},
        "name": "again",
        "setup": "echo set up",
        "key": tmp_path.name,
        "retries": 1,
    }
    first = shared.submit("cat data; echo; echo $A > out", workdir=folder, output="out", **options)
    before = shared.final(first)
    (folder / "data").write_text("changed")
    second = shared.ok("retry", "again").strip()
    assert second != first
    after = shared.final(second)
    assert after["state"] == "succeeded"
    assert shared.log(second) == shared.log(first) == b"set up\nas it was\n"
    changes = {"id", "cost_usd", "submitted_at", "started_at", "finished_at", "attempts"}
    assert {name: value for name, value in after.items() if name not in changes} == {
        name: value for name, value in before.items() if name not in changes
    }
    with shared.quick() as client:
        client.get(second).download(tmp_path / "results")
        third = client.get(second).retry()
    assert (tmp_path / "results" / "out").read_text() == "b c\n"
    assert shared.final(third.id)["state"] == "succeeded"
    shared.nothing_left()


@pytest.mark.arrangements("service")
def test_the_values_of_secrets_are_given_again(shared: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shared.submit('test "$TOKEN" = one', secret={"TOKEN": "one"})
    assert shared.final(first)["state"] == "succeeded"
    done = shared.run("retry", first)
    assert done.returncode == 2
    assert (
        b"had the secrets TOKEN, whose values were deleted; give each of these with --secret" in done.stderr
    )
    monkeypatch.setitem(shared.environ, "MINE", "one")
    shown = json.loads(shared.ok("retry", first, "--secret", "TOKEN=MINE", "--json"))
    assert shown["secrets"] == ["TOKEN"]
    assert shared.final(shown["id"])["state"] == "succeeded"


def test_only_what_is_over(shared: Installation) -> None:
    job_id = shared.submit("until [ -e never ]; do sleep 0.1; done")
    done = shared.run("retry", job_id)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"`runner retry` runs one again that is over" in done.stderr
    shared.ok("cancel", job_id)
    shared.final(job_id)
    assert shared.run("retry", "nobody").returncode == 4


def test_a_folder_that_is_not_kept_any_more(installation: Installation, tmp_path: Path) -> None:
    """Found out before a machine is rented for it."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "data").write_text("here")
    job_id = installation.submit("true", workdir=folder)
    installation.ok("cancel", job_id)
    with installation.quick() as client:
        shutil.rmtree(Path(client.settings.artifacts) / "workdirs")
    done = installation.run("retry", job_id)
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"it is not there" in done.stderr
    assert installation.jobs() == [job_id]
