"""The bootstrap: any number of times, at once, in odd homes; its attestation equal to what Python says."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conformance.supervisor_machine import ATTEMPT, PUBLIC_KEY, Machine, each_shell
from tests.waiting import wait_until
from workers.supervisor import (
    attestation,
    attested,
    bootstrap_script,
    new_attestation_key,
    parse_attestations,
    shell,
    startup_command,
    supervisor_script,
)


def _startup(machine: Machine) -> str:
    return startup_command(ATTEMPT, PUBLIC_KEY, machine.attestation_key)


def _keys(machine: Machine) -> list[str]:
    return (machine.home / ".ssh" / "authorized_keys").read_text().splitlines()


@each_shell
def test_it_lets_us_in_and_unpacks_the_supervisor(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        assert _keys(machine) == [PUBLIC_KEY]
        assert (machine.home / ".ssh").stat().st_mode & 0o777 == 0o700
        assert (machine.home / ".ssh" / "authorized_keys").stat().st_mode & 0o777 == 0o600
        assert (machine.folder / "supervisor.sh").read_text() == supervisor_script()
        assert (machine.folder / "bootstrap.log").read_text() == ""
        assert {path.name for path in machine.home.iterdir()} == {".ssh", ".gpu-job-runner"}


@each_shell
def test_again_and_many_at_once(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        (machine.home / ".ssh" / "authorized_keys").write_text("ssh-rsa AAAAother without an end")
        with ThreadPoolExecutor(10) as pool:
            done = list(pool.map(lambda _: machine.exec(_startup(machine)), range(10)))
        assert all((d.returncode, d.stdout, d.stderr) == (0, b"", b"") for d in done)
        assert _keys(machine) == ["ssh-rsa AAAAother without an end", PUBLIC_KEY]
        assert (machine.folder / "supervisor.sh").read_text() == supervisor_script()
        names = {path.name for path in machine.folder.iterdir()}
        assert names == {"supervisor.sh", "attest", "bootstrap.log"}


@each_shell
def test_again_under_a_running_command_disturbs_nothing(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        gate = tmp_path / "gate"
        machine.start(f"echo one; until [ -e {gate} ]; do sleep 0.05; done; echo two; exit 5")
        wait_until(lambda: machine.log() == b"one\n", what="the command")
        assert machine.exec(_startup(machine)).returncode == 0
        gate.touch()
        log, state = machine.follow()
        assert log == b"one\ntwo\n"
        assert state.exit is not None
        assert state.exit.code == 5


@each_shell
def test_a_lock_that_was_left_behind_is_not_waited_for_long(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        (machine.home / ".ssh" / "authorized_keys").unlink()
        (machine.folder / "authorizing").mkdir()
        assert machine.exec(_startup(machine)).returncode == 0
        assert _keys(machine) == [PUBLIC_KEY]
        assert not (machine.folder / "authorizing").exists()


@each_shell
@pytest.mark.parametrize("size", [1, 32, 64, 65, 200])
def test_the_shells_hmac_is_pythons(size: int, sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        blobs = {"ssh-ed25519": "AAAAC3Nza+/=", "ssh-rsa": "B" * 700, "ecdsa-sha2-nistp256": "AA/+"}
        for number, (kind, blob) in enumerate(blobs.items()):
            (machine.host_keys / f"ssh_host_{number}_key.pub").write_text(f"{kind} {blob} root@here\n")
        (machine.host_keys / "ssh_host_ed25519_key.pub").unlink()
        key = bytes(range(256))[-size:]
        assert machine.exec(startup_command(ATTEMPT, PUBLIC_KEY, key)).returncode == 0
        told = parse_attestations(machine.verb("attest"))
        assert told == {kind: attestation(key, ATTEMPT, kind, blob) for kind, blob in blobs.items()}
        assert all(attested(key, ATTEMPT, f"{kind} {blob}", told) for kind, blob in blobs.items())
        assert not attested(key, ATTEMPT, "ssh-rsa " + "C" * 700, told)
        assert not attested(key, ATTEMPT, "ssh-dss AAAA", told)
        assert not attested(b"another", ATTEMPT, "ecdsa-sha2-nistp256 AA/+", told)


@each_shell
def test_real_host_keys(sh: str, tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("NOT TESTED: there is no ssh-keygen")
    with Machine(tmp_path, sh) as machine:
        (machine.host_keys / "ssh_host_ed25519_key.pub").unlink()
        for kind in ("ed25519", "ecdsa"):
            at = machine.host_keys / f"ssh_host_{kind}_key"
            subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(at)], check=True)
        assert machine.exec(_startup(machine)).returncode == 0
        told = parse_attestations(machine.verb("attest"))
        for public in machine.host_keys.glob("*.pub"):
            assert attested(machine.attestation_key, ATTEMPT, " ".join(public.read_text().split()[:2]), told)
        assert len(told) == 2


@each_shell
def test_without_host_keys_it_returns_at_once_and_attests_later(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        host_key = machine.host_keys / "ssh_host_ed25519_key.pub"
        public = host_key.read_text()
        host_key.unlink()
        (machine.folder / "attest").unlink()
        assert machine.exec(_startup(machine)).returncode == 0
        assert machine.exec(shell(ATTEMPT, "attest")).returncode == 3
        host_key.write_text(public)
        wait_until((machine.folder / "attest").exists, what="the attestation")
        assert parse_attestations(machine.verb("attest")).keys() == {"ssh-ed25519"}


@each_shell
def test_the_attestation_key_is_in_no_argument(sh: str, tmp_path: Path) -> None:
    """Every program that the bootstrap starts is recorded with its arguments."""
    record = tmp_path / "record"
    names = ("openssl", "sha256sum", "printf", "cat", "grep", "mv", "mkdir", "tail", "rm", "rmdir", "sleep")
    with Machine(tmp_path, sh) as machine:
        programs = tmp_path / "recorded"
        programs.mkdir()
        for name in names:
            real = shutil.which(name)
            if real is not None:
                (programs / name).write_text(
                    f'#!/bin/bash\necho "{name} $*" >>"{record}"\nexec {real} "$@"\n'
                )
                (programs / name).chmod(0o755)
        machine.environment["PATH"] = f"{programs}:{machine.environment['PATH']}"
        key = b"K" * 32
        script = bootstrap_script(ATTEMPT, PUBLIC_KEY, key)
        assert machine.exec("sh", script.encode()).returncode == 0
        told = parse_attestations(machine.verb("attest"))
        assert told == {"ssh-ed25519": attestation(key, ATTEMPT, "ssh-ed25519", "AAAAhost")}
        arguments = record.read_text()
        assert "openssl dgst" in arguments or "sha256sum" in arguments
        for form in ("KKKK", "4b4b4b", "\\175\\175", "\\027\\027"):
            assert form not in arguments


@each_shell
def test_a_config_folder_that_is_somebody_elses(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        config = machine.home / ".config"
        config.write_text("not even a folder")
        config.chmod(0)
        assert machine.exec(_startup(machine)).returncode == 0
        assert machine.finished("echo on")[0] == b"on\n"


@each_shell
@pytest.mark.parametrize(
    "home", ["two  spaces", "it's", 'say "x"', "$HOME", "ümläut 😁", "-n", "a*b", "back\\slash"]
)
def test_odd_homes(home: str, sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh, home=home) as machine:
        log, state = machine.finished('echo on; pwd; [ "$HOME" -ef ../../../.. ] && echo home')
        assert log.decode() == f"on\n{machine.run_folder}/work\nhome\n"
        assert state.exit is not None
        assert state.exit.code == 0


@each_shell
def test_a_home_that_cannot_be_written_fails_and_says_so(sh: str, tmp_path: Path) -> None:
    with Machine(tmp_path, sh) as machine:
        blocked = tmp_path / "blocked"
        blocked.write_text("a file where the home should be")
        machine.environment["HOME"] = str(blocked)
        done = machine.exec(startup_command(ATTEMPT, PUBLIC_KEY, new_attestation_key()))
        assert done.returncode != 0
        assert done.stderr
