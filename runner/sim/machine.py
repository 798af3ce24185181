"""One simulated machine: a folder with a home, a port with SSH, real processes, a rented instance's life.

It boots after a time, may be restarted (processes gone, disk kept), stopped, lost or terminated. All of it
runs on the simulator's event loop; only killing processes and removing files are done in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import asyncssh

from runner.sim import processes, sshd
from runner.sim.config import Image, Product, SimConfig
from runner.sim.faults import SshMode
from runner.sim.ssh import Door
from runner.sim.system import System

Phase = Literal["booting", "ready", "stopped", "failed", "terminating", "terminated", "gone"]
LOG = logging.getLogger("runner.sim")
USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Order:
    """What a deploy asked for, resolved. *key_lines* are public keys; prices are micro-dollars an hour."""

    name: str
    product: Product
    image: Image
    price_micros: int
    final_price_micros: int
    command: str | None
    key_names: tuple[str, ...]
    key_lines: tuple[str, ...]


class Machine:
    """One instance. Methods that are not coroutines may be called on the event loop only."""

    def __init__(
        self,
        uuid: str,
        order: Order,
        config: SimConfig,
        folder: Path,
        started: datetime,
        reaper: processes.Reaper,
    ) -> None:
        self.uuid = uuid
        self.order = order
        self.faults = config.faults
        self._reaper = reaper
        self.shell = config.shell
        self.username = sshd.current_user() if config.openssh else config.username
        self.password = str(secrets.randbelow(9 * 10**11) + 10**11)  # digits: it may be listed as a number
        self.started = started
        self.ended: datetime | None = None
        self.prices_before: list[tuple[datetime, int]] = []
        """Until when it was charged another price, in micro-dollars an hour."""
        self.folder = folder
        self.home = folder / "home"
        self.host_key_folder = folder / "hostkeys"
        self._boot_seconds = config.boot_seconds
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self._make_folders()
        self.system = System(
            folder,
            password_login=config.password_login,
            sudo=config.faults.sudo,
            stays_on=config.faults.passwords_stay,
            gpus=order.product.gpu_count if config.faults.drivers else 0,
        )
        self.sshd: sshd.Sshd | None = None
        if config.openssh:
            env = self.environment(self.username)
            self.sshd = sshd.prepare(
                folder / "sshd", self.home, self.host_key, self.shell, env, self.system.in_force
            )
        self.door = Door(self)
        self.port = self.door.port
        self.phase: Phase = "booting"
        self._history: list[tuple[float, Phase]] = [(time.monotonic(), "booting")]
        self._boots = 0
        self.reachable = False
        self.ssh_told: SshMode | None = None
        self._sessions: set[int] = set()  # as long as nothing was ever started, nothing has to be looked for
        self._children: set[processes.Child] = set()
        self._life: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_lost: Callable[[Machine], None] = lambda machine: None

    def _make_folders(self) -> None:
        for path in (self.folder, self.home, self.home / ".ssh", self.folder / "tmp", self.host_key_folder):
            path.mkdir(parents=True, mode=0o700)
        shown = self.host_key
        if self.faults.host_keys == "wrong":
            shown = asyncssh.generate_private_key("ssh-ed25519")
        if self.faults.host_keys != "missing":
            line = shown.export_public_key("openssh").strip() + b" root@machine\n"
            (self.host_key_folder / "ssh_host_ed25519_key.pub").write_bytes(line)
        if self.order.key_lines:
            file = self.home / ".ssh" / "authorized_keys"
            file.write_text("".join(f"{line}\n" for line in self.order.key_lines))
            file.chmod(0o600)

    # Life

    def boot(self) -> None:
        """Begin to boot; processes of an earlier life must be gone already."""
        self.leave("booting")
        self._life = asyncio.get_running_loop().create_task(self._boot())

    async def _boot(self) -> None:
        if self.faults.take("boot_never"):
            return
        seconds = self.faults.boot_seconds
        await asyncio.sleep(self._boot_seconds if seconds is None else seconds)
        if self.faults.take("boot_fails"):
            self.set_phase("failed")
            return
        self._boots += 1
        self.system.boot()
        self.set_phase("ready")
        self.keep(self._vanish_later())
        delay = self.faults.ssh_delay_seconds
        if delay:
            await asyncio.sleep(delay)
        self.reachable = True
        self.apply_ssh()
        self.keep(self._start_up())

    @property
    def ssh(self) -> SshMode:
        """How SSH behaves here: as told for this machine, else as told for all."""
        return self.ssh_told or self.faults.ssh

    def apply_ssh(self) -> None:
        """Let SSH listen, or not, as it should now."""
        if self.reachable and self.phase == "ready" and self.ssh != "refuse":
            self.door.open()
        else:
            self.door.refuse()

    async def _vanish_later(self) -> None:
        after = self.faults.vanish_after_seconds
        if after is not None:
            await asyncio.sleep(after)
            self.on_lost(self)

    async def _start_up(self) -> None:
        command = self.order.command
        if command is None or (self._boots > 1 and not self.faults.startup_again):
            return
        if self.faults.take("startup_skipped"):
            return
        await asyncio.sleep(self.faults.startup_delay_seconds)
        script = self.folder / "startup.sh"
        script.write_text(command)
        with (self.folder / "startup.log").open("ab") as log:
            try:
                self.spawn(
                    [self.shell, str(script)],
                    self.environment(self.username),
                    subprocess.DEVNULL,
                    log.fileno(),
                    log.fileno(),
                )
            except OSError as error:
                log.write(f"{error}\n".encode())

    def leave(self, phase: Phase) -> None:
        """Enter a phase in which nothing runs; what is running is to be ended by halt or destroy at once."""
        self.set_phase(phase)
        self.reachable = False
        for task in (self._life, *self._tasks):
            if task is not None:
                task.cancel()

    async def halt(self) -> None:
        """End its connections and processes, to the last one; the disk stays."""
        self.door.refuse()
        self.door.drop()
        if self._sessions:
            await self._reaper.kill(self.marked())
        for child in list(self._children):
            await child.wait()

    async def destroy(self) -> None:
        """Like halt, and the disk goes too."""
        await self.halt()
        self.door.close()
        await processes.in_thread(partial(shutil.rmtree, self.folder, ignore_errors=True))

    # Its processes

    @property
    def password_login(self) -> bool:
        """Whether its server takes the password of the listing, as it is configured now."""
        return self.system.offers("PasswordAuthentication")

    def environment(self, user: str) -> dict[str, str]:
        """What a process of the machine finds in its environment, its marker included."""
        return {
            "HOME": str(self.home),
            "USER": user,
            "LOGNAME": user,
            "SHELL": "/bin/sh",
            "PATH": f"{self.system.programs}:{login_path()}",
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.folder / "tmp"),
            "RN_HOST_KEYS": str(self.host_key_folder),
            "RN_SSHD": str(self.system.ssh),
            "RN_RUN": str(self.system.run),
            processes.MARKER: self.uuid,
        }

    def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], stdin: int, stdout: int, stderr: int
    ) -> processes.Child:
        """Start a process of this machine. Raises OSError if it is not up, or as subprocess does."""
        if self.phase != "ready":
            raise OSError("the machine is not up")
        child = processes.Child(processes.spawn(argv, env, self.home, stdin, stdout, stderr))
        self._children.add(child)
        self._sessions.add(child.pid)
        child.when_ended(lambda: self._children.discard(child))
        return child

    def start_sshd(self, connection: int) -> processes.Child:
        """Let OpenSSH's sshd serve the socket of a connection. Raises OSError."""
        if self.sshd is None:
            raise OSError("this machine has no sshd")
        self.system.offers("PasswordAuthentication")  # reads it anew where that was asked for
        env = self.environment(self.username)
        with (self.folder / "sshd.log").open("ab") as log:
            return self.spawn(self.sshd.argv, env, connection, connection, log.fileno())

    def marked(self) -> processes.Marked:
        """What its processes are known by."""
        known = frozenset(child.pid for child in self._children)
        return processes.Marked(self.uuid, known, frozenset(self._sessions))

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* on the loop as long as the machine lives."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            LOG.error("machine %s", self.uuid, exc_info=task.exception())

    # What the API shows

    def set_phase(self, phase: Phase) -> None:
        """Enter a phase; the API shows it from now on."""
        self.phase = phase
        self._history.append((time.monotonic(), phase))

    def phase_at(self, moment: float) -> Phase | None:
        """The phase at a time of the monotonic clock, None before the deploy."""
        index = bisect_right(self._history, moment, key=lambda entry: entry[0])
        return self._history[index - 1][1] if index else None

    @property
    def alive(self) -> bool:
        """Whether it still exists (and is billed)."""
        return self.ended is None


def login_path() -> str:
    """The PATH of a login shell: the usual places, then ours but for the virtual environment's."""
    own = [
        entry
        for entry in os.environ.get("PATH", "").split(os.pathsep)
        if entry.startswith(os.sep) and not entry.startswith(sys.prefix)
    ]
    return os.pathsep.join(dict.fromkeys([*USUAL_PATH.split(":"), *own]))
