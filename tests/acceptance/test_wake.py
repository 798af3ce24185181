"""The service keeps its computer awake while machines are rented, as a desktop sees it."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from jeepney import HeaderFields, MessageType, new_error, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from tests.acceptance.harness import Installation
from tests.waiting import wait_until

AWAKE = "this computer is kept awake while machines are rented"
ASLEEP = "this computer may fall asleep again"
NOT_AWAKE = "this computer may fall asleep while machines are rented"
CONFIGURATION = """<busconfig>
<type>session</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow eavesdrop="false"/><allow own="*"/></policy>
</busconfig>
"""


class Desktop:
    """The part of a desktop that is asked to stay awake, on a bus of its own."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.holders: set[int] = set()
        self.told: list[str] = []
        self._bus = open_dbus_connection(self.address)
        self._bus.send_and_get_reply(message_bus.RequestName("org.freedesktop.PowerManagement"))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(self._bus,), name="desktop", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._bus.close()

    def _serve(self, bus: DBusConnection) -> None:
        while not self._over.is_set():
            try:
                call = bus.receive(timeout=0.1)
            except TimeoutError:
                continue
            if call.header.message_type is not MessageType.method_call:
                continue
            name = call.header.fields[HeaderFields.member]
            self.told.append(name)
            if name == "Inhibit":
                cookie = len(self.told)
                self.holders.add(cookie)
                bus.send(new_method_return(call, "u", (cookie,)))
            elif name == "UnInhibit":
                self.holders.discard(call.body[0])
                bus.send(new_method_return(call))
            else:
                bus.send(new_error(call, "org.freedesktop.DBus.Error.UnknownMethod"))


@contextmanager
def _bus(folder: Path) -> Iterator[str]:
    """The address of a bus that takes connections: it prints it once it does; its socket is there before."""
    socket, configuration = folder / "bus", folder / "bus.conf"
    configuration.write_text(CONFIGURATION.format(socket=socket))
    command = ["dbus-daemon", "--nofork", "--print-address", f"--config-file={configuration}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        try:
            assert daemon.stdout is not None
            assert daemon.stdout.readline(), "the bus ended before it took connections"
            yield f"unix:path={socket}"
        finally:
            daemon.terminate()


@pytest.fixture
def desktop(tmp_path: Path) -> Iterator[Desktop]:
    if not shutil.which("dbus-daemon"):
        pytest.skip("dbus-daemon is not installed, so nothing was shown against it")
    with _bus(tmp_path) as address, closing(Desktop(address)) as desktop:
        yield desktop


def test_awake_exactly_while_machines_live(installation: Installation, desktop: Desktop) -> None:
    installation.environ["DBUS_SESSION_BUS_ADDRESS"] = desktop.address
    installation.up()
    assert desktop.told == [], "nothing is rented yet"
    for round_ in (1, 2):
        job = installation.submit("sleep 60")
        wait_until(lambda: desktop.holders, what="that it is kept awake")
        installation.until(job, "running")
        assert len(desktop.holders) == 1
        installation.ok("cancel", job)
        installation.final(job)
        wait_until(lambda: not desktop.holders, what="that it is let go")
        assert desktop.told.count("Inhibit") == round_
    wait_until(lambda: installation.tail().count(ASLEEP) == 2, what="that it is said")
    assert installation.tail().count(AWAKE) == 2


def test_a_service_that_ends_lets_go(installation: Installation, desktop: Desktop) -> None:
    installation.environ["DBUS_SESSION_BUS_ADDRESS"] = desktop.address
    installation.up()
    installation.submit("sleep 60")
    wait_until(lambda: desktop.holders, what="that it is kept awake")
    assert installation.stop() == 0
    assert not desktop.holders


@pytest.mark.parametrize("switch", ["WAKEPY_FORCE_FAILURE", "DBUS_SESSION_BUS_ADDRESS"])
def test_where_it_cannot_be_done_that_is_said_once(installation: Installation, switch: str) -> None:
    """A container, or a server: jobs run as ever, one after another."""
    values = {"WAKEPY_FORCE_FAILURE": "1", "DBUS_SESSION_BUS_ADDRESS": f"unix:path={os.devnull}/none"}
    installation.environ[switch] = values[switch]
    installation.up()
    for _ in range(2):
        assert installation.final(installation.submit("sleep 3"))["state"] == "succeeded"
        installation.nothing_left()
    wait_until(lambda: NOT_AWAKE in installation.tail(), what="that it is said")
    said = installation.tail()
    assert said.count(NOT_AWAKE) == 1
    assert AWAKE not in said
    assert "Traceback" not in said
    assert installation.stop() == 0
