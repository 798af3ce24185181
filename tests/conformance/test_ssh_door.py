"""Which logins a machine offers, and switching off those by password: on both kinds of server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from runner.sim import SimConfig
from runner.sim.sshd import find_sshd
from tests.conformance.sim_client import Account, new_key, simulated
from tests.conformance.ssh_host import Host, listening
from workers.ssh.connect import Address, offered_logins
from workers.ssh.errors import BadAnswer, HostKeyMismatch, Unreachable

NO_SSHD = pytest.mark.skipif(not find_sshd(), reason="NOT TESTED AGAINST OpenSSH: sshd is not installed")
INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf\n"


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=NO_SSHD)], ids=["sim", "openssh"])
def account(request: pytest.FixtureRequest) -> Iterator[Account]:
    with simulated(SimConfig(boot_seconds=0.01, openssh=request.param)) as account:
        yield account


@pytest.fixture
def host(account: Account, tmp_path: Path) -> Iterator[Host]:
    account.sim.faults.clear()
    host = Host(account, tmp_path)
    yield host
    account.terminate(host.uuid)
    account.sim.faults.clear()


def _offered(host: Host) -> set[str]:
    with host.connect() as machine:
        return set(offered_logins(host.address, pinned=machine.host_key, timeout=20))


def _configure(host: Host, main: str, reload: bool = True) -> None:
    """What an image may have written, read by the server."""
    system = host.sim.machine(host.uuid).system
    (system.ssh / "sshd_config").write_text(main)
    if reload:
        system.start()


def test_passwords_are_on_and_then_off(host: Host) -> None:
    assert _offered(host) == {"publickey", "password"}
    with host.connect() as machine:
        machine.switch_off_passwords()
        machine.switch_off_passwords()
        assert machine.state(host.attempt_id).kind == "none", "a connection that there is goes on"
    assert _offered(host) == {"publickey"}
    password = host.account.listed()[host.uuid]["password"]
    with pytest.raises(paramiko.BadAuthenticationType):
        host.account.connect(host.uuid, password=str(password))
    with host.connect():
        pass  # our key goes on to be taken


@pytest.mark.parametrize(
    "main",
    [
        "",
        "PasswordAuthentication yes\n",
        f"PasswordAuthentication yes\n{INCLUDE}",
        f"{INCLUDE}PasswordAuthentication yes\n",
        "  include /etc/ssh/sshd_config.d/*.conf\n\tPasswordAuthentication yes\n",
        f"# {INCLUDE}PasswordAuthentication yes\n",
        f"# PasswordAuthentication yes\n{INCLUDE}",
        "Port 22\nInclude /etc/ssh/other.d/*.conf\nPasswordAuthentication yes\n",
    ],
)
def test_wherever_it_is_set(host: Host, main: str) -> None:
    _configure(host, main)
    assert "password" in _offered(host)
    for _ in range(2):
        with host.connect() as machine:
            machine.switch_off_passwords()
        assert _offered(host) == {"publickey"}
    now = (host.sim.machine(host.uuid).system.ssh / "sshd_config").read_text()
    assert now.endswith(main), "what was there stays"
    assert now.count("gpu-job-runner") <= 1


def test_what_counts_is_what_the_server_says(host: Host) -> None:
    """A setting for all under Match comes before ours: nobody believes the file."""
    host.sim.faults.passwords_stay = True
    _configure(host, f"{INCLUDE}Match all\n    PasswordAuthentication yes\n")
    with host.connect() as machine:
        machine.switch_off_passwords()
    assert "password" in _offered(host)


def test_a_change_counts_from_the_reload(host: Host) -> None:
    """Of the simulator: it must not be more forgiving than the service."""
    _configure(host, "PasswordAuthentication no\n", reload=False)
    assert "password" in _offered(host)


def test_without_the_rights_of_root_it_is_an_error(account: Account, tmp_path: Path) -> None:
    account.sim.faults.sudo = "refused"
    try:
        host = Host(account, tmp_path)
        with host.connect() as machine, pytest.raises(BadAnswer, match="a password is required"):
            machine.switch_off_passwords()
        assert "password" in _offered(host)
        account.terminate(host.uuid)
    finally:
        account.sim.faults.clear()


def test_no_error_repeats_what_a_machine_says_that_knows_secrets(host: Host) -> None:
    """It may say what it was given: when it refuses, in words that make no sense, at any later question."""
    private = "a-value-that-nobody-may-see"
    supervisor = host.home / ".gpu-job-runner" / host.attempt_id / "supervisor.sh"
    for says in (">&2; exit 1", "; exit 0"):
        supervisor.write_text(f"#!/bin/sh\ncat; echo {private} {says}\n")
        with host.connect(discreet=True) as machine:
            for ask in (
                lambda: machine.go(host.attempt_id, f"{private}\n".encode()),
                lambda: machine.state(host.attempt_id),
                lambda: machine.stop(host.attempt_id, "idle", 1),
            ):
                with pytest.raises(BadAnswer) as caught:
                    ask()
                assert private not in str(caught.value)
                assert "not shown" in str(caught.value)


def test_another_machine_is_not_even_asked(host: Host) -> None:
    with pytest.raises(HostKeyMismatch):
        offered_logins(host.address, pinned=f"ssh-ed25519 {new_key().line.split()[1]}", timeout=20)


def test_a_server_that_does_not_answer_is_given_up() -> None:
    began = time.monotonic()
    with listening(lambda client: None) as port, pytest.raises(Unreachable):
        offered_logins(Address("127.0.0.1", port, "Ubuntu"), pinned="ssh-ed25519 AAAA", timeout=0.5)
    assert time.monotonic() - began < 10
