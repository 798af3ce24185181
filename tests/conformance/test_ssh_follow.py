"""The log over SSH: every byte once, from where it stopped, to the end; and whatever may come between."""

from __future__ import annotations

import hashlib
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.sim import SimConfig
from runner.sim.sshd import find_sshd
from tests.conformance.sim_client import Account, simulated
from tests.conformance.ssh_host import Host, proxy
from tests.waiting import wait_until
from workers.ssh.connect import Machine
from workers.ssh.errors import BadAnswer, Unreachable
from workers.ssh.tail import follow
from workers.ssh.wire import Packets
from workers.supervisor import MachineState

NO_SSHD = pytest.mark.skipif(not find_sshd(), reason="NOT TESTED AGAINST OpenSSH: sshd is not installed")
RANDOM_20_MB = "head -c 20971520 /dev/urandom"


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=NO_SSHD)], ids=["sim", "openssh"])
def account(request: pytest.FixtureRequest) -> Iterator[Account]:
    with simulated(SimConfig(boot_seconds=0.01, openssh=request.param)) as account:
        yield account


@pytest.fixture
def host(account: Account, tmp_path: Path) -> Iterator[Host]:
    host = Host(account, tmp_path)
    yield host
    account.terminate(host.uuid)


@pytest.fixture
def machine(host: Host) -> Iterator[Machine]:
    with host.connect() as machine:
        yield machine


class Following(threading.Thread):
    """A follow on a thread of its own, as an attendant's."""

    def __init__(
        self, host: Host, machine: Machine, offset: int = 0, sink: Callable[[bytes], None] | None = None
    ) -> None:
        super().__init__(name="following", daemon=True)
        self.interrupt = threading.Event()
        self.got = bytearray()
        self.error: BaseException | None = None
        self.end: MachineState | None = None
        self._host, self._machine, self._offset = host, machine, offset
        self._sink = sink or self.got.extend
        self.start()

    def run(self) -> None:
        try:
            self.end = follow(
                self._machine, self._host.attempt_id, self._offset, self._sink, interrupt=self.interrupt
            )
        except BaseException as error:  # noqa: BLE001 - told to who waits
            self.error = error

    def done(self) -> MachineState | None:
        """Wait for it; its end."""
        self.join(60)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
        return self.end


def start(host: Host, machine: Machine, command: str) -> None:
    assert machine.go(host.attempt_id, host.payload(command)).accepted


def whole(host: Host, got: bytes | bytearray, end: MachineState | None, code: int = 0) -> None:
    """*got* is the log, and *end* says so."""
    assert end is not None
    assert end.exit is not None
    assert end.exit.code == code
    assert end.exit.log_bytes == len(got)
    assert end.exit.log_sha256 == hashlib.sha256(got).hexdigest()
    assert got == host.log


def python(code: str) -> str:
    return f"{shlex.quote(sys.executable)} -c '{code}'"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (python("import sys; sys.stdout.buffer.write(bytes(range(256)) * 999)"), 0),
        (RANDOM_20_MB, 0),
        ("true", 0),
        ("printf x; printf y >&2; exit 255", 255),
        ("for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.05; done; exit 3", 3),
        ("sleep 300 & echo early; exit 7", 7),
    ],
    ids=["every byte", "20 MB", "nothing", "255", "slow", "child"],
)
def test_every_byte_arrives_once(host: Host, machine: Machine, command: str, code: int) -> None:
    start(host, machine, command)
    following = Following(host, machine)
    whole(host, following.got, following.done(), code)
    assert machine.state(host.attempt_id) == following.end
    host.no_followers()


def test_it_goes_on_at_any_byte(host: Host, machine: Machine) -> None:
    start(host, machine, RANDOM_20_MB)
    first = Following(host, machine)
    whole(host, first.got, first.done())
    log = host.log
    for offset in (1, 5_000_000, len(log) - 1, len(log)):
        again = Following(host, machine, offset)
        assert again.done() == first.end
        assert again.got == log[offset:]


def test_an_interrupt_ends_it_and_no_reader_stays(host: Host, machine: Machine) -> None:
    start(host, machine, "echo one; sleep 300")
    following = Following(host, machine)
    wait_until(lambda: following.got == b"one\n", what="the first line")
    assert host.followers()
    following.interrupt.set()
    assert following.done() is None
    host.no_followers()
    assert machine.state(host.attempt_id).kind == "running"


def test_interrupts_in_the_middle_of_the_stream_lose_nothing(host: Host, machine: Machine) -> None:
    start(host, machine, RANDOM_20_MB)
    got = bytearray()
    interrupts = 0
    while True:
        interrupt = threading.Event()
        enough = len(got) + 3_000_000

        def sink(data: bytes, interrupt: threading.Event = interrupt, enough: int = enough) -> None:
            got.extend(data)
            if len(got) > enough:
                interrupt.set()

        end = follow(machine, host.attempt_id, len(got), sink, interrupt=interrupt)
        if end is not None:
            break
        interrupts += 1
    whole(host, got, end)
    assert interrupts
    host.no_followers()


def test_a_drop_in_the_middle_costs_nothing(host: Host, machine: Machine) -> None:
    start(host, machine, RANDOM_20_MB)
    wait_until(lambda: machine.state(host.attempt_id).over, what="the end")
    got = bytearray()
    with proxy(host.address.port, cut_after=5_000_000) as network:
        with host.connect(port=network.port) as through, pytest.raises(Unreachable):
            follow(through, host.attempt_id, 0, got.extend, interrupt=threading.Event())
        assert got
        assert got == host.log[: len(got)]
        assert len(got) < len(host.log)
        with host.connect(port=network.port) as through:
            end = follow(through, host.attempt_id, len(got), got.extend, interrupt=threading.Event())
    whole(host, got, end)
    host.no_followers()


def test_a_peer_that_falls_silent_is_given_up_and_a_quiet_one_is_not(host: Host) -> None:
    with (
        proxy(host.address.port) as network,
        host.connect(port=network.port, keepalive=0.1, patience=1.5) as machine,
    ):
        start(host, machine, "sleep 3; echo now; sleep 300")
        following = Following(host, machine)
        wait_until(lambda: following.got == b"now\n", what="a line after more silence than is borne")
        network.freeze()
        with pytest.raises(Unreachable, match=r"nothing was heard|dropped"):
            following.done()


def test_a_sink_that_blocks_holds_the_machine_and_not_the_connection(host: Host, machine: Machine) -> None:
    start(host, machine, RANDOM_20_MB)
    got = bytearray()
    go_on = threading.Event()

    def sink(data: bytes) -> None:
        got.extend(data)
        assert go_on.wait(60)

    following = Following(host, machine, sink=sink)
    wait_until(lambda: got, what="the first bytes")
    wait_until(lambda: machine.state(host.attempt_id).over, what="the end of the command")
    assert len(got) < 8 << 20
    go_on.set()
    whole(host, got, following.done())


def test_what_a_sink_raises_ends_it_and_the_connection_stays(host: Host, machine: Machine) -> None:
    start(host, machine, "echo one; sleep 300")

    def sink(_: bytes) -> None:
        raise KeyError("stale")

    with pytest.raises(KeyError):
        Following(host, machine, sink=sink).done()
    host.no_followers()
    assert machine.state(host.attempt_id).kind == "running"


def test_a_reader_that_is_killed_is_no_end(host: Host, machine: Machine) -> None:
    start(host, machine, "echo one; sleep 300")
    following = Following(host, machine)
    wait_until(lambda: following.got, what="the first line")
    for process in host.followers():
        process.kill()
    with pytest.raises((Unreachable, BadAnswer)):
        following.done()
    assert machine.stop(host.attempt_id, "cancelled_by_user", 5).kind == "running"
    again = Following(host, machine, len(following.got))
    end = again.done()
    assert end is not None
    assert end.exit is not None
    assert end.exit.cause == "cancelled_by_user"


def test_a_restart_of_the_machine_is_lost(host: Host, machine: Machine) -> None:
    start(host, machine, "echo one; sleep 300")
    following = Following(host, machine)
    wait_until(lambda: following.got, what="the first line")
    host.sim.restart(host.uuid)
    with pytest.raises(Unreachable):
        following.done()
    machine.close()

    def back() -> Machine | None:
        try:
            return host.connect(pinned=machine.host_key)
        except Unreachable:
            return None

    with wait_until(back, what="the machine") or machine as again:
        rest = Following(host, again, len(following.got))
        assert rest.done() == MachineState("lost")
        assert rest.got == b""


def test_more_was_read_than_the_machine_has(host: Host, machine: Machine) -> None:
    start(host, machine, "echo one; sleep 300")
    first = Following(host, machine)
    wait_until(lambda: first.got, what="the first line")
    first.interrupt.set()
    first.done()
    with pytest.raises(BadAnswer, match="shorter"):
        Following(host, machine, 1000).done()


def test_nothing_was_started(host: Host, machine: Machine) -> None:
    assert Following(host, machine).done() == MachineState("lost")


def test_new_keys_in_the_middle_of_the_stream(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Packets, "REKEY_BYTES", 3_000_000)
    with host.connect() as machine:
        start(host, machine, RANDOM_20_MB)
        following = Following(host, machine)
        whole(host, following.got, following.done())
        assert machine.state(host.attempt_id) == following.end


def test_a_wall_clock_that_jumps_disturbs_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    with host.connect(keepalive=0.1, patience=5) as machine:
        start(host, machine, "echo one; sleep 1.5; echo two; sleep 300")
        following = Following(host, machine)
        wait_until(lambda: following.got == b"one\n", what="the first line")
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() - 86_400)
        wait_until(lambda: following.got == b"one\ntwo\n", what="the second line")
        following.interrupt.set()
        assert following.done() is None


def test_the_connection_is_closed_under_it(host: Host) -> None:
    machine = host.connect()
    start(host, machine, "echo one; sleep 300")
    following = Following(host, machine)
    wait_until(lambda: following.got, what="the first line")
    machine.close()
    with pytest.raises(Unreachable):
        following.done()
    host.no_followers()
