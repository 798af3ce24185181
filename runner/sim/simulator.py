"""The simulated cloud as a library: `with Simulator(SimConfig(boot_seconds=0.1)) as sim: sim.url, sim.token`.

One thread with one event loop serves the API over HTTP and every machine over SSH; the methods here may be
called from any thread. Leaving the block ends their processes, closes the ports, removes the folder.
"""

from __future__ import annotations

import asyncio
import atexit
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import asyncssh
import psutil
import uvicorn

from runner.sim import processes
from runner.sim.cloud import Cloud
from runner.sim.config import SimConfig
from runner.sim.control import Control, accidents
from runner.sim.faults import Faults, SshMode
from runner.sim.folder import Folder
from runner.sim.http import PREFIX, Api, Logged
from runner.sim.ledger import Ledger, stamp
from runner.sim.machine import Machine

T = TypeVar("T")


class Simulator:
    """One simulated cloud, running between `start` and `stop` or inside a `with` block."""

    def __init__(self, config: SimConfig | None = None) -> None:
        self.config = config or SimConfig()
        self.faults: Faults = self.config.faults
        self.url = ""
        self.folder = Path()
        self._folder: Folder | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._up = threading.Event()
        self._failed: BaseException | None = None
        self._stopping: asyncio.Event | None = None

    @property
    def token(self) -> str:
        """The token that may do everything."""
        return self.config.token

    @property
    def read_only_token(self) -> str:
        """The token that may only read."""
        return self.config.read_only_token

    # Start and stop

    def __enter__(self) -> Simulator:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Serve; returns when the API answers. Raises OSError if the port is taken."""
        if self._thread is not None:
            raise RuntimeError("this simulator has been started already")
        listening = socket.create_server(("127.0.0.1", self.config.port), backlog=512)
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}{PREFIX}"
        try:
            self._folder = Folder(self.config.folder)
        except OSError:
            listening.close()
            raise
        self.folder = self._folder.path
        self._thread = threading.Thread(target=self._run, args=(listening,), name="simulator", daemon=True)
        self._thread.start()
        atexit.register(self.stop)
        self._up.wait()
        if self._failed is not None:
            self.stop()
            raise RuntimeError("the simulator did not start") from self._failed

    def stop(self) -> None:
        """End all machines and their processes, close all ports, remove the folder (unless it was given)."""
        atexit.unregister(self.stop)
        thread, loop, stopping = self._thread, self._loop, self._stopping
        if thread is None:
            return
        if thread.is_alive() and loop is not None and stopping is not None:
            loop.call_soon_threadsafe(stopping.set)
        thread.join()
        if self._folder is not None:
            self._folder.close()

    def _run(self, listening: socket.socket) -> None:
        try:
            asyncio.run(self._serve(listening))
        except BaseException as error:  # noqa: BLE001 - told to the thread that started this one
            self._failed = error
        finally:
            listening.close()
            self._up.set()

    async def _serve(self, listening: socket.socket) -> None:
        asyncssh.set_log_level("ERROR")
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._cloud = Cloud(self.config, self.folder)
        self.faults.watch(self._fault_changed)
        control = Control(self._cloud)
        self._api = Api(self._cloud, control.routes())
        control.may_control = self._api.may_control
        control.logged = self._logged
        server = uvicorn.Server(
            uvicorn.Config(
                self._api.app,
                http=self._api.protocol,
                ws="none",
                lifespan="off",
                loop="asyncio",
                log_config=None,
                log_level="critical",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=60,
            )
        )
        serving = asyncio.create_task(server.serve([listening]))
        while not server.started:
            if serving.done():
                await serving
            await asyncio.sleep(0.001)
        self._up.set()
        await self._stopping.wait()
        server.should_exit = server.force_exit = True
        self._api.cut_all()
        await self._cloud.close()
        await serving

    # What may be seen

    def ledger(self) -> Ledger:
        """What every instance has cost so far."""
        return self._on_loop(self._cloud.ledger)

    def instances(self) -> tuple[Machine, ...]:
        """The machines that exist now, in the order of their deploys; terminated ones are not among them."""
        return self._on_loop(
            lambda: tuple(machine for machine in self._cloud.machines.values() if machine.alive)
        )

    def machine(self, uuid: str) -> Machine:
        """A machine that exists or existed; raises KeyError for another."""
        return self._on_loop(lambda: self._cloud.machines[uuid])

    def processes(self, uuid: str) -> list[psutil.Process]:
        """The live processes of a machine, also of one that is gone (then there should be none)."""
        return processes.find(self._on_loop(self.machine(uuid).marked))

    def requests(self, operation: str | None = None) -> tuple[Logged, ...]:
        """The answered (or cut) requests so far, oldest first; of one operationId if given."""
        logged = self._on_loop(lambda: tuple(self._api.log))
        return tuple(entry for entry in logged if operation in (None, entry.operation))

    def _logged(self) -> list[dict[str, object]]:
        return [
            {
                "time": stamp(entry.time),
                "method": entry.method,
                "path": entry.path,
                "operation": entry.operation,
                "status": entry.status,
            }
            for entry in self._api.log
        ]

    # What may be done

    def vanish(self, uuid: str) -> None:
        """The machine is lost, as spot machines are. Raises KeyError for one that never was."""
        self._accident(uuid, "vanish")

    def restart(self, uuid: str) -> None:
        """The machine restarts by itself: processes gone, disk kept."""
        self._accident(uuid, "restart")

    def stop_instance(self, uuid: str) -> None:
        """The service stops the machine: status Stopped, processes gone, still billed."""
        self._accident(uuid, "stop")

    def drop_ssh(self, uuid: str) -> None:
        """Cut every SSH connection of the machine; new ones are welcome."""
        self._accident(uuid, "drop-ssh")

    def freeze_ssh(self, uuid: str) -> None:
        """Let the machine's connections fall silent without closing them."""
        self._accident(uuid, "freeze-ssh")

    def thaw_ssh(self, uuid: str) -> None:
        """Undo freeze_ssh."""
        self._accident(uuid, "thaw-ssh")

    def set_ssh(self, uuid: str, mode: SshMode | None) -> None:
        """How SSH behaves on one machine, whatever the fault `ssh` says for all; None: as for all."""
        machine = self.machine(uuid)

        def change() -> None:
            machine.ssh_told = mode
            machine.apply_ssh()

        self._on_loop(change)

    def use_gpus(self, uuid: str, percents: Sequence[int]) -> None:
        """How busy each GPU of a machine is from now on, in percent."""
        self.machine(uuid).system.use_gpus(percents)

    def set_stock(self, product: str, left: int) -> None:
        """How many machines of *product* can still be rented. Raises KeyError for an unknown product."""
        if product not in self._cloud.stock:
            raise KeyError(product)
        self._on_loop(lambda: self._cloud.stock.__setitem__(product, left))

    def set_price(self, product: str, cents: int) -> None:
        """The price in US cents an hour for deploys from now on. Raises KeyError for an unknown product."""
        self._on_loop(lambda: self._cloud.set_price(product, cents))

    def reprice(self, uuid: str, cents: int) -> None:
        """Another price for a machine, in US cents an hour, for minutes that begin from now on."""
        machine = self.machine(uuid)
        self._on_loop(lambda: self._cloud.reprice(machine, cents))

    def _accident(self, uuid: str, what: str) -> None:
        self._on_loop(lambda: accidents(self._cloud)[what](self._cloud.machines[uuid]))

    def _fault_changed(self, name: str) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cloud.fault_changed, name)

    def _on_loop(self, call: Callable[[], T]) -> T:
        """Run *call* on the event loop and return what it returns; here if the loop has ended already."""
        loop = self._loop
        if loop is None:
            raise RuntimeError("this simulator has not been started")
        if loop.is_closed() or self._thread is threading.current_thread():
            return call()

        async def run() -> T:
            return call()

        work: Coroutine[Any, Any, T] = run()
        return asyncio.run_coroutine_threadsafe(work, loop).result()
