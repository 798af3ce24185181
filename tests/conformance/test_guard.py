"""The guard on a machine, over real SSH and real HTTP: it ends its machine, once armed, whatever it meets."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from runner.sim import SimConfig
from runner.sim.faults import Rule
from runner.sim.sshd import find_sshd
from tests.conformance.sim_client import Account, simulated
from tests.conformance.ssh_host import Host
from tests.waiting import wait_until
from workers.ssh.errors import BadAnswer, Unreachable
from workers.supervisor import guard_payload

NO_SSHD = pytest.mark.skipif(not find_sshd(), reason="NOT TESTED AGAINST OpenSSH: sshd is not installed")
TOKEN = f"guard-{os.urandom(8).hex()}-that-nobody-may-see"
LONG = 3600.0
ON_ONE = pytest.mark.parametrize("account", [False], indirect=True, ids=["sim"])
"""What the kind of the SSH server has no part in."""


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=NO_SSHD)], ids=["sim", "openssh"])
def account(request: pytest.FixtureRequest) -> Iterator[Account]:
    config = SimConfig(boot_seconds=0.01, openssh=request.param, more_tokens=(TOKEN,))
    with simulated(config) as account:
        yield account


@pytest.fixture
def host(account: Account, tmp_path: Path) -> Iterator[Host]:
    account.sim.faults.clear()
    host = Host(account, tmp_path)
    yield host
    account.sim.faults.clear()
    if _rented(host):
        account.terminate(host.uuid)


def _arm(host: Host, seconds: float, *, url: str | None = None, token: str = TOKEN) -> None:
    payload = guard_payload(
        host.attempt_id, url=url or host.sim.url, token=token, uuid=host.uuid, seconds=seconds
    )
    with host.connect() as machine:
        machine.may_be_armed()
        machine.arm(payload)


def _rented(host: Host) -> bool:
    return host.uuid in {machine.uuid for machine in host.sim.instances()}


def _guards(host: Host) -> list[psutil.Process]:
    """The guards of the machine: processes that hold on although nobody is connected."""
    found = []
    for process in host.sim.processes(host.uuid):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[-1:] == ["guard"] and os.getsid(process.pid) == process.pid:
                found.append(process)
    return found


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _record(host: Host) -> Path:
    return host.sim.machine(host.uuid).folder / "run" / host.attempt_id


def _due(host: Host) -> float:
    return float(_record(host).read_text().split()[1])


def test_it_ends_its_machine_at_the_expiry_and_goes_with_it(host: Host) -> None:
    _arm(host, 1.0)
    (guard,) = _guards(host)
    wait_until(lambda: not _rented(host), what="the end of the machine")
    wait_until(lambda: not _alive(guard), what="the end of the guard")
    (call,) = [call for call in host.sim.requests("terminateInstances") if host.uuid in str(call.body)]
    assert call.body == {"instanceUuids": [host.uuid]}


def test_the_token_is_nowhere_to_be_found(host: Host) -> None:
    """Neither in what a process of this computer was started with, nor in any file of the machine."""
    _arm(host, LONG)
    (guard,) = _guards(host)
    needles = [TOKEN.encode(), *(b64encode(b"\0" * n + TOKEN.encode())[4 if n else 0 : -4] for n in range(3))]
    places: list[tuple[str, bytes]] = []
    for process in psutil.process_iter():
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                places.append((f"{name} of {process}", Path(f"/proc/{process.pid}/{name}").read_bytes()))
    machine = host.sim.machine(host.uuid)
    for file in machine.folder.rglob("*"):
        if file.is_file():
            places.append((str(file), file.read_bytes()))
    assert any(str(guard) in where for where, _ in places), "it was looked at"
    assert str(_record(host)) in [where for where, _ in places]
    assert [where for where, content in places if any(needle in content for needle in needles)] == []
    for stream in (0, 1, 2):
        assert Path(f"/proc/{guard.pid}/fd/{stream}").readlink() == Path(os.devnull)
    assert _record(host).stat().st_mode & 0o777 == 0o600
    assert _record(host).parent.stat().st_mode & 0o777 == 0o700


def test_the_earliest_expiry_wins_and_one_guard_is_left(host: Host) -> None:
    _arm(host, LONG)
    (first,), due = _guards(host), _due(host)
    _arm(host, 2 * LONG)
    (second,) = _guards(host)
    assert second.pid != first.pid, "the later one may have a newer token"
    assert not _alive(first)
    assert _due(host) == due
    _arm(host, LONG / 2)
    assert _due(host) < due
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda number: _arm(host, LONG + number), range(5)))
    assert len(_guards(host)) == 1
    assert _due(host) < due
    _arm(host, 5.0)
    _arm(host, LONG)
    wait_until(lambda: not _rented(host), what="the end of the machine")


def test_one_that_was_killed_is_followed_by_another(host: Host) -> None:
    """Also where it could not even finish its record."""
    _arm(host, LONG)
    (first,), due = _guards(host), _due(host)
    first.kill()
    wait_until(lambda: not _guards(host), what="its end")
    _arm(host, 2 * LONG)
    (second,) = _guards(host)
    assert _due(host) == due
    second.kill()
    wait_until(lambda: not _guards(host), what="its end")
    _record(host).write_text("17")
    _arm(host, LONG)
    assert len(_guards(host)) == 1
    assert _due(host) >= due


@ON_ONE
def test_it_tries_again_until_the_machine_ends(host: Host) -> None:
    """After an error, a connection that is cut, and a call that was accepted and had no effect."""
    host.sim.faults.add(Rule(operation="terminateInstances", status=503, times=1))
    host.sim.faults.add(Rule(operation="terminateInstances", kind="refused", times=1))
    host.sim.faults.terminate_ignored = 1
    _arm(host, 0.0)
    wait_until(lambda: not _rented(host), timeout=60, what="the end of the machine")
    calls = [call for call in host.sim.requests("terminateInstances") if host.uuid in str(call.body)]
    assert [call.status for call in calls] == [503, None, 202, 202]


def test_a_restart_leaves_the_machine_without_a_guard(host: Host) -> None:
    """The machine is the same, its processes are gone: what the documents say."""
    _arm(host, LONG)
    host.account.post("/instance/restart", {"instanceUuids": [host.uuid]}, 202)
    host.account.ready(host.uuid)
    assert _guards(host) == []
    assert not _record(host).exists()
    _arm(host, LONG)
    assert len(_guards(host)) == 1


def test_without_sudo_the_token_is_not_even_sent(account: Account, tmp_path: Path) -> None:
    account.sim.faults.sudo = "refused"
    try:
        host = Host(account, tmp_path)
        with host.connect() as machine, pytest.raises(BadAnswer) as caught:
            machine.may_be_armed()
        assert str(caught.value) == "there is no sudo without a password on the machine"
        account.terminate(host.uuid)
    finally:
        account.sim.faults.clear()


def test_without_python_it_says_so(host: Host) -> None:
    programs = host.sim.machine(host.uuid).folder / "bin"
    (programs / "sudo").write_text("#!/bin/sh\ncase $* in *python3*) exit 1 ;; esac\n")
    with host.connect() as machine, pytest.raises(BadAnswer, match="there is no python3 on the machine"):
        machine.may_be_armed()


@ON_ONE
@pytest.mark.full
def test_a_sudo_that_hangs_is_given_up(host: Host) -> None:
    """And the connection stands: the job goes on over it."""
    (host.sim.machine(host.uuid).folder / "bin" / "sudo").write_text("#!/bin/sh\nexec sleep 600\n")
    with host.connect() as machine:
        with pytest.raises(BadAnswer, match="sudo does not answer"):
            machine.may_be_armed()
        assert machine.alive


@ON_ONE
def test_who_cannot_wait_does_not(host: Host) -> None:
    (host.sim.machine(host.uuid).folder / "bin" / "sudo").write_text("#!/bin/sh\nexec sleep 600\n")
    began = time.monotonic()
    with host.connect() as machine, pytest.raises(Unreachable):
        machine.may_be_armed(began + 0.5)
    assert time.monotonic() - began < 5


def test_no_error_repeats_what_the_machine_says_to_it(host: Host) -> None:
    (host.sim.machine(host.uuid).folder / "bin" / "sudo").write_text("#!/bin/sh\ncat >&2; exit 9\n")
    payload = guard_payload(host.attempt_id, url=host.sim.url, token=TOKEN, uuid=host.uuid, seconds=LONG)
    with host.connect() as machine:
        with pytest.raises(BadAnswer) as caught:
            machine.arm(payload)
        assert TOKEN not in str(caught.value)
        assert machine.discreet, "from now on it may say what it was given, to any question"


class _Answers:
    """An HTTP server of a known port that answers in order, then with 202, and keeps what it was asked."""

    def __init__(self, port: int, *answers: tuple[int, dict[str, str]]) -> None:
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        left = list(answers)
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                asked.append((self.command, self.path, dict(self.headers), json.loads(body)))
                status, headers = left.pop(0) if left else (202, {})
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, name="answers", daemon=True)

    def __enter__(self) -> _Answers:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@ON_ONE
def test_after_a_refused_connection_and_a_redirection(host: Host) -> None:
    """The token goes to the API's own address and nowhere else; a call names the one machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    _arm(host, 0.0, url=f"http://127.0.0.1:{port}/api/v1")
    with _Answers(port, (307, {"Location": f"http://127.0.0.1:{port}/elsewhere"}), (404, {})) as answers:
        wait_until(lambda: len(answers.asked) >= 3, timeout=60, what="a third call")
    for command, path, headers, body in answers.asked:
        assert (command, path) == ("POST", "/api/v1/instance/terminate")
        assert headers["Authorization"] == f"Bearer {TOKEN}"
        assert body == {"instanceUuids": [host.uuid]}
    assert len(_guards(host)) == 1, "a 404 does not end it"
