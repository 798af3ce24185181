"""The part of a simulated machine's system that says who may log in: sshd's configuration, sudo, systemctl.

A machine is only a folder of whoever runs the simulation, so `/etc/ssh` and `/run` are folders beside its
home, which `RN_SSHD` and `RN_RUN` name in its environment, and `sudo` and `systemctl` are small programs that
come first in its PATH: nothing that is called there reaches the real ones. As on the real thing a change of
the configuration counts from the next reload, which only root may ask for.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

Sudo = Literal["works", "refused"]

KEPT = ("RN_HOST_KEYS", "RN_SSHD", "RN_RUN", "RN_SIM_INSTANCE")
"""What makes the processes of a machine its own."""

# As Ubuntu 22.04 ships it, as far as it tells of logins.
MAIN = """Include /etc/ssh/sshd_config.d/*.conf
KbdInteractiveAuthentication no
PrintMotd no
"""
# As cloud-init writes it where the machine has a password.
CLOUD_INIT = "PasswordAuthentication {}\n"
STAYS_ON = "Match all\n    PasswordAuthentication yes\n"

# Of the environment nothing else comes through, as on the real thing.
SUDO = """#!/bin/sh
while :; do
    case ${1-} in
    -n | -E | -H | -S) shift ;;
    --) shift; break ;;
    *) break ;;
    esac
done
exec env -i PATH="$PATH" HOME="$HOME" SUDO_USER="$(id -un)" @KEPT@ "$@"
"""
SUDO_REFUSED = """#!/bin/sh
echo "sudo: a password is required" >&2
exit 1
"""
SYSTEMCTL = """#!/bin/sh
case "$*" in
"reload ssh" | "reload ssh.service" | "reload sshd" | "reload sshd.service") ;;
*) echo "systemctl: this simulated machine knows only: reload ssh" >&2; exit 5 ;;
esac
if [ -z "${{SUDO_USER-}}" ]; then
    echo "Failed to reload ssh.service: Interactive authentication required." >&2
    exit 1
fi
: >{reload}
"""


NVIDIA_SMI = """#!/bin/sh
case " $* " in
*" --query-gpu=utilization.gpu "*) cat {used} ;;
*) echo "NVIDIA-SMI of a simulated machine: $(wc -l <{used}) GPU" ;;
esac
"""


class System:
    """The files of one machine. *folder* is the machine's own, outside of its home."""

    def __init__(self, folder: Path, *, password_login: bool, sudo: Sudo, stays_on: bool, gpus: int) -> None:
        self.run = folder / "run"
        self.ssh, self.programs = folder / "etc ssh", folder / "bin"
        self.in_force = folder / "sshd_in_force"
        self._wanted = folder / "reload"
        parts = self.ssh / "sshd_config.d"
        for path in (self.ssh, parts, self.programs):
            path.mkdir(mode=0o700)
        (self.ssh / "sshd_config").write_text(MAIN + (STAYS_ON if stays_on else ""))
        (parts / "50-cloud-init.conf").write_text(CLOUD_INIT.format("yes" if password_login else "no"))
        kept = " ".join(f'"{name}=${name}"' for name in KEPT)
        self._program("sudo", SUDO_REFUSED if sudo == "refused" else SUDO.replace("@KEPT@", kept))
        self._program("systemctl", SYSTEMCTL.format(reload=shlex.quote(str(self._wanted))))
        self._used = folder / "gpus"
        if gpus:
            self.use_gpus([0] * gpus)
            self._program("nvidia-smi", NVIDIA_SMI.format(used=shlex.quote(str(self._used))))
        self.start()

    def use_gpus(self, percents: Sequence[int]) -> None:
        """How busy each GPU is from now on, as `nvidia-smi` tells."""
        self._used.write_text("".join(f"{percent}\n" for percent in percents))

    def boot(self) -> None:
        """The machine begins a life: /run is empty, and the server starts."""
        shutil.rmtree(self.run, ignore_errors=True)
        self.start()

    def start(self) -> None:
        """The server reads its configuration, as it does when it starts."""
        self._wanted.unlink(missing_ok=True)
        lines: list[str] = []
        for line in _lines(self.ssh / "sshd_config"):
            if line.lower().startswith("include "):
                for part in sorted((self.ssh / "sshd_config.d").glob("*.conf")):
                    lines += _lines(part)
            else:
                lines.append(line)
        self.in_force.write_text("".join(f"{line}\n" for line in lines))

    def offers(self, login: str) -> bool:
        """Whether the server offers *login*, a keyword of its configuration, as that was at the last reload.

        The first value counts, and one for all under `Match` comes before those above it.
        """
        if self._wanted.exists():
            self.start()
        found: dict[bool, str] = {}
        matching = False
        for line in _lines(self.in_force):
            word, _, value = line.partition(" ")
            if word.lower() == "match":
                matching = True
            elif word.lower() == login.lower():
                found.setdefault(matching, value.strip().lower())
        return found.get(True, found.get(False, "yes")) == "yes"

    def _program(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o700)


def _lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return []
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
