"""The guard: terminates the machine that it runs on before the machine expires, whoever else is gone by then.

Runs on the machine as root, by its Python (3.8 or later) and the standard library. One line of JSON on
standard input is its order: ``attempt``, the API's ``url``, a ``token``, its own ``uuid``, the ``seconds``
until then. It says ``armed`` when a process in a session of its own counts them. The token is in the memory
of that process and nowhere else: in no argument, environment or file.

Ordered again, the later process takes the earlier one's place, for it may have a newer token; the earlier
expiry stays. What one must know of the one before it is in FOLDER, which a restart of the machine empties.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import random
import signal
import ssl
import sys
import time
from typing import Any, NoReturn
from urllib.parse import urlsplit

FOLDER = os.environ.get("RN_RUN", "/run/gpu-job-runner")
"""Root's alone. The simulator names another one; sudo on a real machine passes no such variable on."""
NEVER = float("inf")
LONGEST_SLEEP = 30.0
"""A sleep does not count the time for which a machine is suspended; the clock that is read after it does."""
CALL_SECONDS = 60
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
REFUSED_PAUSE = 300.0
"""After 401 and 403: a token that is revoked stays so, but a proxy's refusal may pass."""
TAKE_OVER_SECONDS = 5.0
RECORD_BYTES = 64
"""Always as many, so that a record takes the place of the one before at once, on a full disk too."""


def main() -> None:
    """Start the process that counts, and wait until it says so."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        sys.exit("the order is not whole")
    order = json.loads(line)
    due = clock() + order["seconds"]
    hear, tell = os.pipe()
    if os.fork() == 0:
        os.close(hear)
        detach()
        keep(order, claim(order["attempt"], due, tell))
    os.close(tell)
    with open(hear, encoding="ascii") as answer:
        said = answer.read()
    sys.stdout.write(said)
    sys.exit(0 if said else "the guard ended at once")


def clock() -> float:
    """Seconds that nobody sets, and that go on while the machine is suspended where the system has such."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def detach() -> None:
    """Leave the connection, and outlive a lack of memory that the command may bring about."""
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.chdir("/")
    os.umask(0o077)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("-1000")


def claim(attempt: str, due: float, tell: int) -> float:
    """Become the one guard of the attempt, instead of an earlier one, and say so on the pipe *tell*.

    Returns the earlier expiry.
    """
    os.makedirs(FOLDER, mode=0o700, exist_ok=True)
    with open(os.path.join(FOLDER, "arming"), "a", encoding="ascii") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # until a guard has written who it is, nobody may look for it
        record = os.open(os.path.join(FOLDER, attempt), os.O_RDWR | os.O_CREAT, 0o600)
        pid, earlier = recorded(os.pread(record, 100, 0))
        due = min(due, earlier)
        end = clock() + TAKE_OVER_SECONDS
        while not locked(record):  # the earlier guard lives, so the number is its own
            if clock() > end:
                sys.exit(1)
            with contextlib.suppress(ProcessLookupError):
                if pid > 1:
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        try:
            os.pwrite(record, f"{os.getpid()} {due}".ljust(RECORD_BYTES - 1).encode("ascii") + b"\n", 0)
        except OSError:  # the earlier guard is gone: one that nobody can relieve is better than none
            with contextlib.suppress(OSError):
                os.ftruncate(record, 0)  # that process is not ours to kill any more
        with contextlib.suppress(OSError):  # who asked may be gone, and we go on
            os.write(tell, b"armed\n")  # before the next one may take our place
        os.close(tell)
    return due


def locked(record: int) -> bool:
    """Whether we have the lock now, which this process holds to its end."""
    try:
        fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def recorded(data: bytes) -> tuple[int, float]:
    """An earlier guard's process and expiry; what was not written to its end counts as none."""
    try:
        pid, due = data.split()
        return int(pid), float(due) if data.endswith(b"\n") else NEVER
    except ValueError:
        return 0, NEVER


def keep(order: dict[str, Any], due: float) -> NoReturn:
    """Wait for the expiry, then ask for the end until it comes."""
    while clock() < due:
        time.sleep(max(0.0, min(LONGEST_SLEEP, due - clock())))
    tries = 0
    while True:
        status = 0
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException, MemoryError):
            status = terminate(order["url"], order["token"], order["uuid"])
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(tries, 10))
        if status in (401, 403):
            pause = REFUSED_PAUSE
        # Whatever the answer was, also that it is gone: as long as this runs, it is not.
        time.sleep(pause * random.uniform(0.75, 1.25))
        tries += 1


def terminate(url: str, token: str, uuid: str) -> int:
    """Ask the API to end this machine; the status of its answer. No redirection is followed."""
    place = urlsplit(url)
    connection: http.client.HTTPConnection
    if place.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(place.netloc, timeout=CALL_SECONDS, context=context)
    else:  # a loopback address: the settings take no other one
        connection = http.client.HTTPConnection(place.netloc, timeout=CALL_SECONDS)
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "User-Agent": "gpu-job-runner",
    }
    signal.signal(signal.SIGALRM, too_long)  # an answer that drips in would hold up the next call for ever
    signal.alarm(CALL_SECONDS)
    try:
        body = json.dumps({"instanceUuids": [uuid]})
        connection.request("POST", f"{place.path}/instance/terminate", body, headers)
        return connection.getresponse().status
    finally:
        signal.alarm(0)
        connection.close()


def too_long(*_: object) -> NoReturn:
    """End a call."""
    raise TimeoutError


if __name__ == "__main__":
    main()
