"""A log of 200 MB on its way into the database, beside `ssh host cat` of the same file by the same server."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.house import House, house, wait_until
from bench.table import Row
from runner import Job
from runner.sim import SimConfig

MB = 1_000_000
SIZE = 200 * MB
LONGEST = 240.0
SSHD_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def measure() -> Iterator[Row]:
    """One job that waits on a fifo; `ssh cat` before and after it has sent its file, over the same sshd."""
    openssh = bool(shutil.which("sshd", path=SSHD_PATH) and shutil.which("ssh"))
    with house(SimConfig(boot_seconds=0.2, openssh=openssh)) as place:
        place.warm()
        file, gate = place.folder / "200MB", place.folder / "gate"
        digest = _fill(file)
        os.mkfifo(gate)
        job = place.submit(
            f"cat {shlex.quote(str(gate))}; cat {shlex.quote(str(file))}; cat {shlex.quote(str(gate))}"
        )
        wait_until(lambda: job.refresh().state == "running", 60, "the job", 0.05)
        plain = [_ssh_cat(place, job, file)] if openssh else []
        took, busy, base, peak = _stream(place, job, gate)
        if plain:
            plain.append(_ssh_cat(place, job, file))
        _open(gate)
        place.final(job, LONGEST)
        began = time.monotonic()
        found = hashlib.sha256()
        for data in job.logs(raw=True):
            found.update(data)
        read = time.monotonic() - began
        if found.hexdigest() != digest:
            raise RuntimeError("the log is not what was written")
    rate = SIZE / MB / took
    if plain:
        ssh = SIZE / MB / min(plain)
        beside = f"{rate / ssh:.2f} of `ssh host cat` through the same sshd ({ssh:.0f} MB/s)"
    else:
        beside = "no sshd here: a simulated server in Python, whose own speed this is"
    yield Row(
        "log of a 200 MB job",
        f"{rate:.0f} MB/s",
        beside,
        "From the command's first byte to the last one committed, hashed on both ends, each on this disk "
        "three times (file, log, database). Machine and service share these cores; `ssh cat` writes nothing.",
    )
    yield Row(
        "… of it the service's own CPU",
        f"{busy / (SIZE / MB) * 100:.1f} s per 100 MB",
        f"{busy / took * 100:.0f} % of one core meanwhile",
        "User and system time of the whole service process: decryption, hash and SQLite included.",
    )
    yield Row(
        "… memory growth of the service",
        f"{(peak - base) / MB:.0f} MB at most",
        f"{base / MB:.0f} MB before, {peak / MB:.0f} MB at its peak",
        "RSS every 50 ms, after one small job; includes what SQLite and the allocator keep.",
    )
    yield Row(
        "reading that log back",
        f"{SIZE / MB / read:.0f} MB/s",
        "",
        "`job.logs(raw=True)` with a SHA-256 over it, in the caller's process, from a warm page cache.",
    )


def _fill(path: Path) -> str:
    """Bytes that no compression shortens; their hash."""
    found = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(SIZE // MB):
            data = os.urandom(MB)
            found.update(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return found.hexdigest()


def _stream(place: House, job: Job, gate: Path) -> tuple[float, float, int, int]:
    """Let the job go on. Seconds until all is committed, the service's CPU, its RSS before and at most."""
    base = peak = place.service.memory_info().rss
    before = sum(place.service.cpu_times()[:2])
    attempt = place.client.views(limit=1)[0].id
    assert attempt == job.id
    began = time.monotonic()
    _open(gate)
    end = began + LONGEST
    while place.client.views(limit=1)[0].attempts[-1].log_bytes < SIZE and time.monotonic() < end:
        peak = max(peak, place.service.memory_info().rss)
        time.sleep(0.05)
    took = time.monotonic() - began
    return took, sum(place.service.cpu_times()[:2]) - before, base, peak


def _open(gate: Path) -> None:
    """Let who reads the fifo go on, once somebody does."""

    def opened() -> bool:
        try:
            os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody reads it yet
            return False
        return True

    wait_until(opened, 30, "the job at its gate")


def _ssh_cat(place: House, job: Job, file: Path) -> float:
    """Seconds that OpenSSH's own client takes for the same bytes from the same machine."""
    uuid = job.refresh().attempts[-1].instance_uuid
    assert uuid is not None
    machine = place.sim.machine(uuid)
    key = place.client.settings.ssh_key
    options = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
    words = ["ssh", "-F", "none", "-i", str(key), "-p", str(machine.port)]
    for option in options:
        words += ["-o", option]
    words += [f"{machine.username}@127.0.0.1", f"cat {shlex.quote(str(file))}"]
    began = time.monotonic()
    subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=60)
    return time.monotonic() - began
