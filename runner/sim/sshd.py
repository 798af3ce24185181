"""OpenSSH's own sshd before a simulated machine, so that a test can meet the real server.

It runs as the current user, one process for each connection (`sshd -i`), with a configuration of its own. The
login user is the current user; a forced command puts each command into the machine's home and environment.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncssh

SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/sftp-server",
)
FORCED = """#!/bin/sh
cd {home} || exit 255
set -- env -i {environment} SSH_CONNECTION="$SSH_CONNECTION" SSH_CLIENT="$SSH_CLIENT" ${{TERM:+"TERM=$TERM"}}
case ${{SSH_ORIGINAL_COMMAND-}} in
'') exec "$@" {shell} -l ;;
{sftp}) exec "$@" {sftp} ;;
*) exec "$@" {shell} -c "$SSH_ORIGINAL_COMMAND" ;;
esac
"""


@dataclass(frozen=True)
class Sshd:
    """How to start sshd for one machine."""

    argv: tuple[str, ...]


def find_sshd() -> str | None:
    """Where sshd is, None if it is not installed."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def current_user() -> str:
    """The name of the user that this process runs as, the only one as whom it can let people in."""
    return pwd.getpwuid(os.getuid()).pw_name


def prepare(
    folder: Path,
    home: Path,
    host_key: asyncssh.SSHKey,
    shell: str,
    environment: Mapping[str, str],
    logins: Path,
) -> Sshd:
    """Write what sshd needs into *folder*. Raises FileNotFoundError if sshd is not installed.

    *logins*: the configuration of the machine's own, which says whether passwords are offered. None is ever
    right: they would be those of the current user.
    """
    program = find_sshd()
    if program is None:
        raise FileNotFoundError("OpenSSH's sshd is not installed")
    if os.getuid() == 0:  # sshd insists on it where it could be needed
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    folder.mkdir(mode=0o700)
    key = folder / "host_key"
    key.touch(mode=0o600)
    key.write_bytes(host_key.export_private_key("openssh"))
    sftp = next((path for path in SFTP_SERVERS if Path(path).exists()), "/nonexistent/sftp-server")
    forced = folder / "forced"
    forced.write_text(
        FORCED.format(
            home=shlex.quote(str(home)),
            environment=" ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items()),
            shell=shlex.quote(shell),
            sftp=sftp,
        )
    )
    forced.chmod(0o700)
    settings = {
        "HostKey": key,
        "AuthorizedKeysFile": home / ".ssh" / "authorized_keys",
        "ForceCommand": shlex.quote(str(forced)),
        "StrictModes": "no",  # the folders above the home may be anybody's, such as /tmp
        "UsePAM": "no",
        "PermitRootLogin": "prohibit-password",
        "PermitEmptyPasswords": "no",
        "PermitUserRC": "no",
        "AcceptEnv": "LANG LC_*",
        "Subsystem": f"sftp {sftp}",
        "PidFile": "none",
        "PrintMotd": "no",
        "PrintLastLog": "no",
        "UseDNS": "no",
        "LogLevel": "ERROR",
        "Include": logins,
    }
    config = folder / "sshd_config"
    config.write_text("".join(f"{name} {_quoted(value)}\n" for name, value in settings.items()))
    return Sshd((program, "-i", "-e", "-f", str(config)))


def _quoted(value: object) -> str:
    return f'"{value}"'.replace("%", "%%") if isinstance(value, Path) else str(value)
