"""The life of simulated machines: what is killed, what is kept, what is billed, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from runner.sim import SimConfig, Simulator
from runner.sim.processes import MARKER
from tests.conformance.sim_client import Account, channel, refused, run, simulated
from tests.waiting import wait_until

# One of each kind that is hard to find: its own session, forked twice, without our marker, ignoring signals.
DAEMONS = """
trap '' TERM HUP
setsid sleep 1001 > /dev/null 2>&1 < /dev/null &
( ( setsid sh -c 'trap "" TERM HUP; while :; do sleep 0.2; done' > /dev/null 2>&1 & ) & )
env -i sleep 1002 > /dev/null 2>&1 &
cd / && sleep 1003 > /dev/null 2>&1 &
echo started
"""


@pytest.fixture
def account() -> Iterator[Account]:
    with simulated(SimConfig(boot_seconds=0.05)) as account:
        yield account


def start_daemons(account: Account) -> tuple[str, list[psutil.Process]]:
    with account.machine() as (uuid, client):
        assert run(client, DAEMONS).out == b"started\n"
    running = account.sim.processes(uuid)
    assert {"1001", "1002", "1003"} <= {word for process in running for word in _words(process)}
    return uuid, running


def _words(process: psutil.Process) -> list[str]:
    """Of one that has ended meanwhile (who started them does): none."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_terminate_kills_everything_and_removes_the_disk(account: Account) -> None:
    uuid, running = start_daemons(account)
    folder = account.sim.machine(uuid).folder
    port = account.sim.machine(uuid).port
    account.terminate(uuid)
    wait_until(lambda: not account.sim.processes(uuid), what="processes killed")
    assert all_gone(running)
    wait_until(lambda: not folder.exists(), what="the disk gone")
    assert refused(port)


def test_restart_kills_everything_and_keeps_the_disk(account: Account) -> None:
    uuid, running = start_daemons(account)
    with account.connect(uuid) as client:
        run(client, "echo kept > file")
        host_key = client.get_transport().get_remote_server_key()  # type: ignore[union-attr]
        chan = channel(client)
        chan.exec_command("sleep 1000")
        account.post("/instance/restart", {"instanceUuids": [uuid]}, 202)
        item = account.listed()[uuid]
        assert (item["os_booted"], item["status"]) == (0, "booting")
        assert chan.recv(1) == b""
    account.ready(uuid)
    assert all_gone(running)
    with wait_until(lambda: account._try(uuid), what="SSH") as client:  # type: ignore[union-attr]
        assert run(client, "cat file").out == b"kept\n"
        assert client.get_transport().get_remote_server_key() == host_key  # type: ignore[union-attr]
    assert account.sim.ledger()[uuid].ended is None


def test_a_machine_that_vanishes(account: Account) -> None:
    uuid, running = start_daemons(account)
    account.sim.vanish(uuid)
    wait_until(lambda: all_gone(running), what="processes killed")
    assert account.http.get(f"/instance/{uuid}").status_code == 404
    assert account.sim.ledger()[uuid].ended is not None
    assert account.sim.instances() == ()


def test_machines_that_vanish_some_time_after_boot(account: Account) -> None:
    account.sim.faults.vanish_after_seconds = 0.3
    uuid = account.deploy()
    account.ready(uuid)
    wait_until(lambda: uuid not in account.listed(), what="the machine vanished")


def test_a_machine_that_is_stopped(account: Account) -> None:
    uuid, running = start_daemons(account)
    account.sim.stop_instance(uuid)
    wait_until(lambda: all_gone(running), what="processes killed")
    item = account.listed()[uuid]
    assert (item["status"], item["os_booted"]) == ("Stopped", 0)
    assert refused(item["ssh_port"])
    assert account.sim.ledger()[uuid].ended is None
    account.post("/instance/restart", {"instanceUuids": [uuid]}, 202)
    account.ready(uuid)


def test_restarted_terminated_and_stopped_all_at_once(account: Account) -> None:
    uuids = [account.deploy() for _ in range(6)]
    for uuid in uuids:
        account.ready(uuid)
    account.post("/instance/restart", {"instanceUuids": uuids}, 202)
    account.post("/instance/restart", {"instanceUuids": uuids}, 202)
    for uuid in uuids[:2]:
        account.sim.stop_instance(uuid)
    account.terminate(*uuids[2:4])
    for uuid in uuids[4:]:
        account.ready(uuid)
    assert [account.listed()[uuid]["status"] for uuid in uuids[:2]] == ["Stopped", "Stopped"]
    assert len(account.sim.instances()) == 4


def test_a_machine_that_boots_cannot_be_entered(account: Account) -> None:
    account.sim.faults.boot_seconds = 30
    uuid = account.deploy()
    assert account._try(uuid) is None


def test_leaving_the_block_leaves_nothing(tmp_path: Path) -> None:
    with Simulator(SimConfig(boot_seconds=0.02)) as sim:
        account = Account(sim)
        _, running = start_daemons(account)
        account.close()
        folder, url = sim.folder, sim.url
    assert all_gone(running)
    assert not folder.exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)
    assert sim.ledger().charges[0].ended is not None
    sim.stop()


def test_a_folder_that_is_given_is_kept(tmp_path: Path) -> None:
    config = SimConfig(boot_seconds=0.02, folder=tmp_path / "a folder")
    with simulated(config) as account, account.machine() as (_, client):
        assert run(client, "pwd").out.decode().startswith(str(tmp_path / "a folder"))
    assert (tmp_path / "a folder").is_dir()


def test_a_port_that_is_taken() -> None:
    with Simulator() as sim:
        port = int(sim.url.split(":")[2].split("/")[0])
        with pytest.raises(OSError, match="in use"):
            Simulator(SimConfig(port=port)).start()


def test_the_bill(account: Account) -> None:
    one, two = (
        account.deploy(instanceName="one"),
        account.deploy(instanceName="two", productName="gpu_1x_h100"),
    )
    account.terminate(one)
    ledger = account.sim.ledger()
    assert [charge.name for charge in ledger.charges] == ["one", "two"]
    assert (ledger[one].minutes, ledger[one].cost_micros) == (1, 14_334)
    assert ledger[one].ended is not None
    assert ledger[two].ended is None
    assert ledger.total_micros == 53_500  # 0.86 and 2.35 dollars an hour, one minute each


def test_a_minimum_on_the_bill() -> None:
    with simulated(SimConfig(billing_minimum_minutes=60)) as account:
        uuid = account.deploy()
        assert account.sim.ledger()[uuid].cost_micros == 860_000


# The process of its own


@pytest.fixture
def served(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-c",
            "from runner.sim.main import serve; serve(as_json=True, boot_seconds=0.05)",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    yield process
    process.kill()
    process.communicate()


def marked() -> set[str]:
    """The machines of which a process is alive, on this whole computer."""
    found = set()
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.environ().get(MARKER, ""))
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(served: subprocess.Popen[str], tmp_path: Path, number: int) -> None:
    assert served.stdout is not None
    first = json.loads(served.stdout.readline())
    assert set(first) == {"url", "token"}
    assert first["url"].startswith("http://127.0.0.1:")
    headers = {"authorization": f"Bearer {first['token']}"}
    with httpx.Client(base_url=first["url"], headers=headers, trust_env=False) as http:
        body = {"imageId": 84, "productName": "gpu_1x_l40", "regionName": "any", "command": "exec sleep 1000"}
        uuid = http.post("/instance/launch", json=body).json()["response"]
        wait_until(lambda: uuid in marked(), what="the startup command")
    assert list(tmp_path.iterdir())
    served.send_signal(number)
    out, err = served.communicate(timeout=30)
    assert (served.returncode, out, err) == (0, "", "")
    assert uuid not in marked()
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_forgets_to_stop_it(tmp_path: Path) -> None:
    program = """
import httpx, time
from runner.sim import SimConfig, Simulator
sim = Simulator(SimConfig(boot_seconds=0))
sim.start()
body = {"imageId": 84, "productName": "gpu_1x_l40", "regionName": "any", "command": "exec sleep 1000"}
http = httpx.Client(base_url=sim.url, headers={"authorization": f"Bearer {sim.token}"}, trust_env=False)
uuid = http.post("/instance/launch", json=body).json()["response"]
while not sim.processes(uuid):
    time.sleep(0.01)
print(uuid)
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() not in marked()
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_fault_is_named() -> None:
    from runner.sim.main import serve

    with pytest.raises(ValueError, match="quota"):
        serve(faults={"quota": "many"})


def test_what_a_killed_simulator_left_is_cleared_by_the_next(
    served: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert served.stdout is not None
    first = json.loads(served.stdout.readline())
    headers = {"authorization": f"Bearer {first['token']}"}
    with httpx.Client(base_url=first["url"], headers=headers, trust_env=False) as http:
        body = {"imageId": 84, "productName": "gpu_1x_l40", "regionName": "any", "command": "exec sleep 1000"}
        uuid = http.post("/instance/launch", json=body).json()["response"]
        wait_until(lambda: uuid in marked(), what="the startup command")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Simulator():
        assert len(list(tmp_path.iterdir())) == 2
        assert uuid in marked()
    served.kill()
    served.wait()
    assert uuid in marked()
    with Simulator():
        assert uuid not in marked()
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_many_machines_end_together(account: Account) -> None:
    uuids = [account.deploy(command="exec sleep 1000") for _ in range(20)]
    wait_until(lambda: set(uuids) <= marked(), what="the startup commands")
    running = [process for uuid in uuids for process in account.sim.processes(uuid)]
    assert len(account.terminate(*uuids)) == 20
    wait_until(lambda: all_gone(running), what="all killed")
