"""A folder to a machine and its outputs back, beside `tar | ssh` of the same tree through the same server."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from bench.house import GPU, House, house, wait_until
from bench.table import Row
from runner import Job
from runner.sim import SimConfig
from tests.trees import picture

MB = 1_000_000
FILES = 10_000
LARGE = 1000 * MB
LONGEST = 300.0
SSHD_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
THERE = re.compile(rb"files \(\d+ bytes\) are there after ([\d.]+) s")


def measure() -> Iterator[Row]:
    """One tree of 10,000 small files and a large one: packed, sent, brought back, pulled."""
    if not (shutil.which("sshd", path=SSHD_PATH) and shutil.which("ssh")):
        yield Row("a folder of 1 GB there and back", "not measured", "", "OpenSSH is not installed.")
        return
    with house(SimConfig(boot_seconds=0.2, openssh=True)) as place:
        place.warm()
        tree = place.folder / "tree"
        _fill(tree)
        began = time.monotonic()
        job = _submit(place, tree, "until [ -e done ]; do sleep 0.1; done")
        packed = time.monotonic() - began
        time.sleep(2.5)  # what was written a moment ago is read again: it may change and look the same
        _submit(place, tree, "true").cancel()
        began = time.monotonic()
        other = _submit(place, tree, "true")
        again = time.monotonic() - began
        other.cancel()
        base = place.service.memory_info().rss
        with _peak(place) as peak:
            wait_until(lambda: job.refresh().state == "running", LONGEST, "the job", 0.05)
            sent = float(THERE.findall((place.folder / "service.log").read_bytes())[0])
            plain_there, plain_back = _tar(place, job, tree)
            (_home(place, job) / "run" / "work" / "done").touch()
            place.final(job, LONGEST)
        view = next(item for item in place.client.views() if item.id == job.id).attempts[-1]
        assert view.outputs_state is not None
        assert view.ended_at is not None
        brought = (datetime.fromisoformat(str(view.outputs_state["at"])) - view.ended_at).total_seconds()
        began = time.monotonic()
        job.download(place.folder / "results")
        pulled = time.monotonic() - began
        (place.folder / "results" / "done").unlink()
        if picture(tree) != picture(place.folder / "results"):
            raise RuntimeError("what came back is not what went there")
    size = view.outputs_state["bytes"] / MB
    yield Row(
        f"packing {FILES:,} files and 1 GB at submit",
        f"{size / packed:.0f} MB/s",
        f"{again:.1f} s for the same folder again, of which nothing is read",
        "Read, hashed, compressed where that pays (the large file is random bytes), written and synced.",
    )
    yield Row(
        "the same to the machine",
        f"{size / sent:.0f} MB/s",
        f"{plain_there / sent:.2f} of `tar | ssh tar` through the same sshd ({size / plain_there:.0f} MB/s)",
        "Both ends and sshd share these cores. Ours hashes at the machine, syncs its disk, and can go on "
        "after a cut; tar does none of these.",
    )
    yield Row(
        "the same back as outputs",
        f"{size / brought:.0f} MB/s",
        f"{plain_back / brought:.2f} of `ssh tar | tar` through the same sshd ({size / plain_back:.0f} MB/s)",
        "From the end of the command; ours hashes on both ends, stores and syncs.",
    )
    yield Row(
        "pulling them into a folder",
        f"{size / pulled:.0f} MB/s",
        "",
        "From a local store, in the caller's process, each piece hashed again.",
    )
    yield Row(
        "memory growth of the service meanwhile",
        f"{(peak.most - base) / MB:.0f} MB at most",
        f"{base / MB:.0f} MB before",
        "RSS every 50 ms; pieces are of 8 MiB, and a few are under way at a time.",
    )


def _fill(tree: Path) -> None:
    for number in range(FILES):
        folder = tree / f"part {number % 100}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_bytes(b"some text\n" * (number // 100))
    with (tree / "large").open("wb") as file:
        for _ in range(LARGE // MB):
            file.write(os.urandom(MB))


def _submit(place: House, tree: Path, command: str) -> Job:
    return place.client.submit(command, gpu=GPU, max_cost=5, max_runtime="10m", workdir=tree, output="**")


def _home(place: House, job: Job) -> Path:
    uuid = job.refresh().attempts[-1].instance_uuid
    assert uuid is not None
    return next((place.sim.machine(uuid).home / ".gpu-job-runner").iterdir())


def _tar(place: House, job: Job, tree: Path) -> tuple[float, float]:
    """Seconds that tar takes through OpenSSH's own client, there and back."""
    uuid = job.refresh().attempts[-1].instance_uuid
    assert uuid is not None
    machine = place.sim.machine(uuid)
    options = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
    words = ["ssh", "-F", "none", "-i", str(place.client.settings.ssh_key), "-p", str(machine.port)]
    for option in options:
        words += ["-o", option]
    ssh = shlex.join([*words, f"{machine.username}@127.0.0.1"])
    here, back = shlex.quote(str(tree)), shlex.quote(str(place.folder / "by tar"))
    lines = (
        f"tar -C {here} -cf - . | {ssh} 'mkdir by-tar && tar -C by-tar -xf -'",
        f"mkdir {back} && {ssh} 'tar -C by-tar -cf - .' | tar -C {back} -xf -",
    )
    found = []
    for line in lines:
        began = time.monotonic()
        subprocess.run(["bash", "-o", "pipefail", "-c", line], check=True, timeout=LONGEST)
        found.append(time.monotonic() - began)
    return found[0], found[1]


class _peak:
    """The largest RSS of the service while this lasts."""

    def __init__(self, place: House) -> None:
        self.most = 0
        self._place, self._over = place, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self.most = max(self.most, self._place.service.memory_info().rss)
