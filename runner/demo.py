"""`runner demo`: the whole story on one machine with nothing set up, and nothing left behind.

It is no script of its own but the product: the simulated cloud serves the real API on loopback, and the
commands that are shown are run as a person would type them, in a home that is removed at the end. What
is paid is then compared with the ledger of the cloud.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from jobs import money
from jobs.settings import load_settings
from jobs.store import reads
from jobs.store.schema import open_database
from runner import daemon
from runner.sim.config import SimConfig
from runner.sim.simulator import Simulator

BOOT_SECONDS = 1.0

TRAIN = r"""
echo "training on $(hostname), attempt $RUNNER_ATTEMPT of $RUNNER_JOB_NAME"
for epoch in 1 2 3 4 5; do
  awk -v e=$epoch 'BEGIN { printf "epoch %d  loss %.4f\n", e, 2.3 / (1 + e * e / 3) }'
  sleep 0.3
done
echo "done" > /dev/stderr
""".strip()

STORY: tuple[tuple[str, tuple[str, ...], int], ...] = (
    (
        "A job that succeeds.",
        ("run", "--name", "train", "--gpu", "gpu_1x_l40", "--max-cost", "5", "--", TRAIN),
        0,
    ),
    (
        "A job that fails: its exit code is the command's own.",
        (
            "run",
            "--name",
            "broken",
            "--gpu",
            "gpu_1x_a6000",
            "--max-cost",
            "1",
            "--",
            "echo no such data set; exit 7",
        ),
        7,
    ),
    (
        "A job that would run for ever: its machine stops it, and it is not billed any longer.",
        (
            "run",
            "--name",
            "endless",
            "--gpu",
            "gpu_1x_l40",
            "--max-cost",
            "0.50",
            "--max-runtime",
            "2s",
            "--",
            "while sleep 0.5; do echo still going; done",
        ),
        124,
    ),
)


class DemoFailed(Exception):
    """The story did not go as told; what was printed says where."""


def demo() -> None:
    """Tell the story on standard output. Raises DemoFailed where something is not as it should be."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    home = Path(tempfile.mkdtemp(prefix="runner-demo-"))
    try:
        with Simulator(SimConfig(boot_seconds=BOOT_SECONDS)) as sim:
            _say(f"A simulated cloud serves the API on {sim.url}: no account, no cost.\n")
            environ = _environ(home, sim.url, sim.token)
            settings = load_settings(environ, anywhere=True)
            try:
                _tell(environ)
                _compare(settings.database_url, sim)
            finally:
                daemon.stop(settings)
            if left := [machine for machine in sim.instances() if sim.processes(machine.uuid)]:
                raise DemoFailed(f"{len(left)} machines are still alive")
        _say("\nNothing is left running: no machine, no service, no file.")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _interrupted(number: int, _frame: object) -> None:
    """Whoever ends the demo in the middle finds nothing left of it either."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _tell(environ: dict[str, str]) -> None:
    for title, words, expected in STORY:
        _say(f"\x1b[1m# {title}\x1b[0m" if sys.stdout.isatty() else f"# {title}")
        _run(environ, words, expected)
        _say("")
    _run(environ, ("ls",), 0)


def _run(environ: dict[str, str], words: tuple[str, ...], expected: int) -> None:
    _say(
        f"$ runner {shlex.join(words)}" if "\n" not in words[-1] else f"$ runner {shlex.join(words[:-1])} '…'"
    )
    sys.stdout.flush()
    command = [sys.executable, "-P", "-m", "runner", *words]
    # Defaults of jobs that lie where the demo is started are not the story's.
    done = subprocess.run(command, env=environ, cwd=environ["RUNNER_HOME"], check=False)
    if done.returncode != expected:
        raise DemoFailed(f"`runner {words[0]}` ended with {done.returncode}, not {expected}")
    if expected:
        _say(f"(exit code {done.returncode})")


def _compare(database_url: str, sim: Simulator) -> None:
    """The receipts against the ledger of the cloud."""
    db = open_database(database_url)
    try:
        ours = sum(view.cost for view in reads.listing(db))
    finally:
        db.close()
    ledger = sim.ledger()
    live = sum(charge.ended is None for charge in ledger.charges)
    _say(
        f"\nreceipts: ${money.format_cost(ours)} · "
        f"ledger of the cloud: ${money.format_cost(ledger.total_micros)} · machines still rented: {live}"
    )
    if live or ours < ledger.total_micros:
        raise DemoFailed("the receipts and the ledger do not agree")


def _environ(home: Path, url: str, token: str) -> dict[str, str]:
    """Nothing of the person's own settings, and in the end nothing of ours in theirs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNNER_", "MASSED_"))}
    ours = {"RUNNER_HOME": str(home), "RUNNER_API_URL": url, "MASSED_COMPUTE_API_KEY": token}
    # The live service wants two requests a second at most; this one is ours.
    return {**kept, **ours, "RUNNER_API_RATE": "20"}


def _say(line: str) -> None:
    print(line, flush=True)
