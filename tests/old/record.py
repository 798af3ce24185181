"""Records what the code of before left in its database: `python -P -m tests.old.record [REVISION...]`.

For each schema the last commit that had it is unpacked, and its own service runs jobs against its own
simulated cloud until one has succeeded, one has failed, one runs and one waits for its turn. Then the service
is killed. What its database holds is kept as SQL, and beside it what its `show` and `logs` printed. Whoever
writes a migration records the schema of before it; the tests of the store ask for that. It needs the history.
"""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests import history
from tests.environ import clean_environ
from tests.waiting import wait_until

FOLDER = Path(__file__).parent
JOBS = {
    "succeeded": r"printf 'one line\r\n\377, which is no UTF-8\n'; echo done > it.txt",
    "failed": "echo before it fails; exit 3",
    "running": "echo it has begun; sleep 600",
    "queued": "echo its turn",
}
PARTIAL = b"it has begun\n"
SINCE: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "0003": {"queued": ("--retries", "1")},
    "0004": {"queued": ("--secret", "GREETING")},
    "0005": {"succeeded": ("--output", "*.txt")},
    "0006": {"queued": ("--gpu", "gpu_1x_a6000")},
}
"""What a job could ask for from a schema on: it stands in columns that the schema before did not have."""
KEY = "A" * 43 + "="
"""It encrypts nothing but a greeting, and everybody may know it."""
GREETING = "hello"
HOST = "a-computer"


def main() -> int:
    """Record the schemas that were named, or else all that have no recording yet."""
    named, known = set(sys.argv[1:]), set()
    for revision, commit in history.schemas():
        known.add(revision)
        if revision in named if named else not (FOLDER / f"{revision}.sql").exists():
            record(revision, commit)
    if unknown := named - known:
        sys.stderr.write(f"no commit has the schema {', '.join(sorted(unknown))}\n")
    return 1 if unknown else 0


def record(revision: str, commit: str) -> None:
    """Run the jobs with the code of *commit*, and write the two files of its schema."""
    with tempfile.TemporaryDirectory(prefix="gpu-job-runner-old-") as name:
        folder = Path(name)
        old = Old(history.unpack(commit, folder / "code"), folder)
        ids = old.work(revision)
        shown = {which: json.loads(old.run("show", "--json", job)) for which, job in ids.items()}
        # A character for each byte, whatever it is.
        logs = {which: old.run("logs", job).decode("latin-1") for which, job in ids.items()}
        dump = dumped(folder / "home" / "runner.db")
    for private in (socket.gethostname(), name, str(Path.home())):
        found = re.search(rf"(?<!\w){re.escape(private)}(?!\w)", dump + json.dumps(shown))
        assert found is None, f"{private} would be kept"
    (FOLDER / f"{revision}.sql").write_text(dump)
    kept = {"commit": history.git("rev-parse", "--short=12", commit), "shown": shown, "logs": logs}
    (FOLDER / f"{revision}.json").write_text(json.dumps(kept, indent=1) + "\n")
    sys.stdout.write(f"{revision}: {kept['commit']}\n")


class Old:
    """An installation of the code of before, with its simulated cloud."""

    def __init__(self, code: Path, folder: Path) -> None:
        self.code = code
        self.folder = folder
        (folder / "home").mkdir(mode=0o700)
        self.environ = {
            **clean_environ(),
            "RUNNER_HOME": str(folder / "home"),
            "RUNNER_API_RATE": "20",
            "RUNNER_MAX_INSTANCES": "1",
            "RUNNER_SECRET_KEY": KEY,
            "GREETING": GREETING,
        }

    def run(self, *words: str) -> bytes:
        """One command; what it printed."""
        return history.run(self.code, *words, environ=self.environ, cwd=self.folder)

    def work(self, revision: str) -> dict[str, str]:
        """Bring each job to where it shall be, and kill the service there; the jobs' ids."""
        with self._started("sim", "--json", "--boot-seconds", "0.2") as sim:
            assert sim.stdout is not None
            cloud = json.loads(sim.stdout.readline())
            self.environ |= {"RUNNER_API_URL": cloud["url"], "MASSED_COMPUTE_API_KEY": cloud["token"]}
            with self._started("up") as service:
                ids = self._jobs(revision)
                service.kill()
                service.wait()
        return ids

    def _jobs(self, revision: str) -> dict[str, str]:
        ids = {which: self._bring(which, revision) for which in JOBS}
        wait_until(lambda: self._job(ids["queued"])["detail"], what="why it waits")
        return ids

    def _bring(self, which: str, revision: str) -> str:
        """The id of a new job, once it is in the state that it is named after."""
        asked = ["--gpu", "gpu_1x_l40", "--max-cost", "5", "--name", which, "--env", "COLOUR=blue"]
        for since, options in SINCE.items():
            asked += options.get(which, ()) if since <= revision else ()
        job = self.run("submit", *asked, "--", JOBS[which]).decode().strip()
        wait_until(lambda: self._job(job)["state"] == which, timeout=90, what=f"the job that is {which}")
        if which == "running":
            wait_until(lambda: self.run("logs", job) == PARTIAL, what="its log")
        return job

    def _job(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("show", "--json", job))
        return found

    @contextmanager
    def _started(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / f"{words[0]}.log").open("wb") as said:
            process = subprocess.Popen(
                history.command(*words),
                env=history.environ_of(self.code, self.environ),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if "--json" in words else said,
                stderr=said,
            )
        with process:
            try:
                yield process
            finally:
                process.terminate()
                process.wait(30)


def dumped(path: Path) -> str:
    """The whole database as SQL, without the name of this computer."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE workers SET host = ?, pid = 1", (HOST,))
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'effects'").fetchone():
            connection.execute("UPDATE effects SET who = ?", (f"{HOST} (pid 1)",))
        connection.commit()
        return "\n".join(connection.iterdump()) + "\n"


if __name__ == "__main__":
    sys.exit(main())
