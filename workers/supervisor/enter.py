"""A shell, or a command, beside the command that runs on a machine: in its folder, with its environment.

Runs on the machine, by its Python, 3.8 or later: `python3 -c … FOLDER [WORD…]`. The environment goes from the
kernel's copy into the new process and nowhere else: it may hold secrets.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

OURS = (b"TERM", b"SSH_CLIENT", b"SSH_CONNECTION", b"SSH_TTY", b"SSH_AUTH_SOCK", b"DISPLAY")
MARK = b"RUNNER_JOB_ID"
"""What only the environment of a job has."""
PATIENCE_SECONDS = 3.0
"""Before it becomes the command, its process is the supervisor's, while the PATH of a login is read."""
STATE_SECONDS = 10.0


def main() -> None:
    """Become the shell or run the command. One word is a shell line, several are run as they are."""
    home, words = sys.argv[1], sys.argv[2:]
    env = dict(os.environb)
    theirs = environment(home)
    if theirs is None:
        print("runner: the environment of the command cannot be read; going on without it", file=sys.stderr)
    else:
        env = {**theirs, **{name: env[name] for name in OURS if name in env}}
    env.setdefault(b"SHLVL", b"1")  # else bash takes us for the SSH server, and lets a profile change it all
    try:
        os.chdir(os.path.join(home, "run", "work"))
    except OSError as error:
        sys.exit(f"runner: the folder of the command cannot be entered: {(error.strerror or '').lower()}")
    shell = shutil.which("bash") or "/bin/sh"
    try:
        if not words:
            os.execvpe(shell, [shell], env)
        sys.exit(run(words if len(words) > 1 else [shell, "-c", words[0]], env))
    except OSError as error:
        print(f"runner: {words[0] if words else shell}: {(error.strerror or '').lower()}", file=sys.stderr)
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


def environment(home: str) -> dict[bytes, bytes] | None:
    """The environment of the job; None where it cannot be read.

    While a set-up runs before the command, a child of the command's process has it.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    while os.path.isdir("/proc/self"):
        pid = running(home)
        for one in [pid, *children(pid)] if pid else []:
            found = environ_of(one)
            if MARK in found:
                return found
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    return None


def running(home: str) -> str:
    """The command's process, by the supervisor, which knows it from a later one of the same number."""
    words = ["sh", os.path.join(home, "supervisor.sh"), "state"]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=STATE_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return ""
    state = done.stdout.decode("ascii", "replace").split()
    return state[1] if state[:1] == ["running"] and len(state) > 1 else ""


def children(pid: str) -> list[str]:
    """The children of a process; none where the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []


def environ_of(pid: str) -> dict[bytes, bytes]:
    """The environment of a process, as it was started."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            items = [item.partition(b"=") for item in file.read().split(b"\0")]
    except OSError:
        return {}
    return {name: value for name, equals, value in items if name and equals}


def run(words: list[str], env: dict[bytes, bytes]) -> int:
    """Run a command and wait for it: SSH would pass on an end by a signal as no code at all."""
    process = subprocess.Popen(words, env=env)
    for number in (signal.SIGINT, signal.SIGQUIT):  # of a terminal: they are for the command
        signal.signal(number, signal.SIG_IGN)
    code = process.wait()
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    main()
