"""A shell, or a command, beside the command that runs on a machine: in its folder, with its environment.

Runs on the machine, by its Python, 3.8 or later: `python3 -c … FOLDER [WORD…]`. The environment goes from the
kernel's copy into the new process and nowhere else: it may hold secrets.
"""

from __future__ import annotations

import os
import shutil
import sys

OURS = (b"TERM", b"SSH_CLIENT", b"SSH_CONNECTION", b"SSH_TTY", b"SSH_AUTH_SOCK", b"DISPLAY")


def main() -> None:
    """Become the shell or the command. One word is a shell line, several are run as they are."""
    run, words = os.path.join(sys.argv[1], "run"), sys.argv[2:]
    env = dict(os.environb)
    try:
        with open(os.path.join(run, "command.id"), encoding="ascii") as file:
            pid = file.read().split()[0]
        with open(f"/proc/{pid}/environ", "rb") as file:
            theirs = dict(item.split(b"=", 1) for item in file.read().split(b"\0") if b"=" in item)
        env = {**theirs, **{name: env[name] for name in OURS if name in env}}
    except (OSError, IndexError):
        print("runner: the environment of the command cannot be read; going on without it", file=sys.stderr)
    try:
        os.chdir(os.path.join(run, "work"))
    except OSError as error:
        sys.exit(f"runner: the folder of the command cannot be entered: {(error.strerror or '').lower()}")
    shell = shutil.which("bash") or "/bin/sh"
    if len(words) < 2:
        words = [shell, "-c", words[0]] if words else [shell]
    try:
        os.execvpe(words[0], words, env)
    except OSError as error:
        print(f"runner: {words[0]}: {(error.strerror or '').lower()}", file=sys.stderr)
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    main()
