"""The folders in `examples/` do what docs/examples.md says of them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.harness import Installation
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
ROOTS = [f"--env=SSL_CERT_FILE={file}" for file in [os.environ.get("SSL_CERT_FILE")] if file]
"""Whom the programs on the machine trust, where this computer reaches package indexes in a way of its own."""
SECRETS = {"HF_TOKEN": "hf_nobody-may-see-it", "WANDB_API_KEY": "wandb_nor-this"}


def _lines(heading: str) -> list[list[str]]:
    """The commands that are shown below a heading."""
    (block,) = re.findall(rf"^## {heading}\n.*?^```sh\n(.*?)^```", PAGE, re.M | re.S)[:1]
    return [shlex.split(line) for line in block.splitlines()]


def _run(served: Installation, heading: str, tmp_path: Path) -> tuple[dict[str, Any], str]:
    """Run what is shown, in a copy of its folder; the job, and its log."""
    folder, words = tmp_path, []
    for program, *rest in _lines(heading):
        if program == "cd":
            folder = tmp_path / "copy"
            shutil.copytree(ROOT / rest[0], folder)
        elif rest[0] in ("run", "submit"):
            words = ["submit", *ROOTS, *rest[1:]]
    job = served.final(served.ok(*words, cwd=folder).strip(), timeout=180)
    return job, served.log(job["id"]).decode()


def _has_index(*words: str) -> bool:
    """Whether packages can be had here."""
    done = subprocess.run(words, capture_output=True, timeout=120, check=False)
    return done.returncode == 0


@pytest.mark.timeout(300)
def test_pip(served: Installation, tmp_path: Path) -> None:
    wheels = str(tmp_path / "wheels")
    if not _has_index(sys.executable, "-m", "pip", "download", "-q", "-d", wheels, "tabulate==0.9.0"):
        pytest.skip("NOT TESTED: no package index can be reached")
    job, log = _run(served, "A pip project", tmp_path)
    assert (job["state"], "loss   0.5" in log) == ("succeeded", True), log
    served.nothing_left()


@pytest.mark.full
@pytest.mark.timeout(300)
def test_uv(served: Installation, tmp_path: Path) -> None:
    if not _has_index(sys.executable, "-m", "pip", "download", "-q", "-d", str(tmp_path / "wheels"), "uv"):
        pytest.skip("NOT TESTED: no package index can be reached")
    job, log = _run(served, "A uv project", tmp_path)
    if "error sending request" in log:
        pytest.skip("NOT TESTED: uv reaches no package index")
    assert (job["state"], "loss   0.5" in log) == ("succeeded", True), log


def test_torchrun(served: Installation, tmp_path: Path) -> None:
    job, log = _run(served, "All GPUs of one machine", tmp_path)
    assert job["state"] == "succeeded", log
    if shutil.which("torchrun") is None:
        assert log == "dry: torchrun --standalone --nproc-per-node=2 train.py\n"
    else:
        assert "2 processes, sum 3" in log


def test_a_part_of_a_repository(served: Installation, tmp_path: Path) -> None:
    job, log = _run(served, "A part of a larger repository", tmp_path)
    assert (job["state"], log, job["workdir"]["files"]) == ("succeeded", "sum 6\n", 3)


def test_tokens(served: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setitem(served.environ, name, value)
    job, log = _run(served, "Tokens", tmp_path)
    assert (job["state"], log, job["secrets"]) == ("succeeded", "both are there\n", sorted(SECRETS))


def test_a_spot_machine_that_vanishes(served: Installation, tmp_path: Path) -> None:
    """As it is shown, only quicker; the losses of all attempts are one line, and can be drawn."""
    _, *shown = _lines("A spot machine that may vanish")
    folder = tmp_path / "copy"
    shutil.copytree(ROOT / "examples" / "preemption", folder)
    words = ["1s" if word == "1m" else word for word in shown[0][2:]]
    pause = ("--env", "PAUSE_AFTER=7 of attempt 1")
    job_id = served.ok("submit", *pause, *words, cwd=folder).strip()
    results = folder / "results"

    def synced() -> bool:
        if served.show(job_id)["state"] != "running":
            return False
        served.run("pull", job_id, str(results), cwd=folder)
        found = results / "out" / "losses.csv"
        return found.exists() and len(found.read_text().splitlines()) == 7

    wait_until(synced, timeout=60, what="the copy of epoch 7")
    served.sim.vanish(served.show(job_id)["attempts"][-1]["instance_uuid"])
    job = served.final(job_id)
    assert (job["state"], [a["outcome"] for a in job["attempts"]]) == ("succeeded", ["lost", "exit_code"])
    assert "going on after epoch 7\nepoch 8 " in served.log(job_id).decode()
    for _, *rest in shown[1:]:
        if rest[0] == "pull":
            served.ok(*rest, cwd=folder)
        else:
            done = subprocess.run([sys.executable, *rest], cwd=folder, capture_output=True, check=True)
            assert done.stdout == b"20 epochs in losses.svg\n"
    assert [line.split(",")[0] for line in (results / "out" / "losses.csv").read_text().split()] == [
        str(epoch) for epoch in range(1, 21)
    ]
    assert "<polyline" in (folder / "losses.svg").read_text()
    served.nothing_left()
