"""The account behind the simulated API: stock, prices, keys, coupons, instances and what they have cost.

Everything here happens on the simulator's event loop, so nothing is locked. Requests that the service would
refuse raise `Refusal` with the status and the sentence of the answer.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid as uuids
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncssh

from runner.sim.config import Coupon, Product, SimConfig
from runner.sim.ledger import Charge, Clock, Ledger, billed_minutes
from runner.sim.machine import Machine, Order, Phase
from runner.sim.processes import Reaper
from runner.sim.shapes import AddKey, Deploy

NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")
KEY_NAME = re.compile(r"[A-Za-z0-9 ]{1,64}")
LOG = logging.getLogger("runner.sim")
ACCOUNT_LIMIT = "Instance limit exceeded for this account"


class Refusal(Exception):
    """The service refuses: a status and a sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True)
class Key:
    """One SSH key of the account."""

    id: str
    name: str
    public_key: str


class Cloud:
    """One account of the simulated service."""

    def __init__(self, config: SimConfig, folder: Path) -> None:
        self.config = config
        self.faults = config.faults
        self.clock = Clock()
        self.folder = folder
        self.products: dict[str, Product] = {product.name: product for product in config.products}
        self.stock: dict[str, int] = {product.name: product.capacity for product in config.products}
        self.keys: dict[str, Key] = {}
        self.machines: dict[str, Machine] = {}
        self._reaper = Reaper()
        self._work: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    # Deploying

    def deploy(self, request: Deploy) -> Machine:
        """Rent a machine. Raises Refusal."""
        order = self._order(request)
        if self.faults.no_recharge_settings or self.faults.take("payment_required"):
            raise Refusal(402, "Payment required: add recharge settings before launching an instance")
        if self.faults.take("quota"):
            raise Refusal(400, ACCOUNT_LIMIT)
        if self.faults.take("out_of_stock"):
            raise Refusal(400, self.faults.out_of_stock_text)
        if self.stock[order.product.name] < 1:
            raise Refusal(400, f"Product {order.product.name} is out of stock")
        self.stock[order.product.name] -= 1
        uuid = str(uuids.uuid4())
        folder = self.folder / "instances" / uuid
        machine = Machine(uuid, order, self.config, folder, self.clock.now(), self._reaper)
        machine.on_lost = self.lose
        self.machines[uuid] = machine
        machine.boot()
        return machine

    def _order(self, request: Deploy) -> Order:
        product = self.products.get(request.productName)
        if product is None:
            raise Refusal(400, f"Product not found: {request.productName}")
        image = next((image for image in self.config.images if image.id == request.imageId), None)
        if image is None:
            raise Refusal(400, f"VM Image not found: {request.imageId}")
        if {product.name, f"{product.name}/{image.id}"} & set(self.faults.image_refused):
            raise Refusal(400, "Product does not support the VM Image")
        if request.instanceName and not NAME.fullmatch(request.instanceName):
            raise Refusal(400, "instanceName: letters, digits, - and _ only, 63 characters at most")
        if len(request.command.encode()) > self.config.max_command_bytes:
            raise Refusal(400, f"command: longer than {self.config.max_command_bytes} bytes")
        names = tuple(dict.fromkeys([*request.sshKey, *request.sshKeys]))
        by_name = {key.name: key for key in self.keys.values()}
        for name in names:
            if name not in by_name:
                raise Refusal(400, f"SSH key not found: {name}")
        injected = () if names and self.faults.take("keys_not_injected") else names
        price = product.price_cents * 10_000
        return Order(
            name=request.instanceName or f"instance-{uuids.uuid4().hex[:8]}",
            product=product,
            image=image,
            price_micros=price,
            final_price_micros=self._discounted(price, product, request.coupon),
            command=request.command or None,
            key_names=names,
            key_lines=tuple(by_name[name].public_key for name in injected),
        )

    def _discounted(self, price: int, product: Product, code: str) -> int:
        if not code:
            return price
        coupon = self.coupon(code, missing=400)
        if product.name not in coupon.products or coupon.deactivation < self.clock.now():
            return price  # the service ignores it without a word
        return int(price * (1 - Decimal(coupon.discount)))

    # Instances

    def get(self, uuid: str) -> Machine:
        """The instance that the API would show for *uuid*. Raises Refusal 404."""
        machine = self.machines.get(uuid)
        if machine is None or machine.phase == "gone":
            raise Refusal(404, "Instance not found")
        return machine

    def live(self, uuid: str) -> Machine:
        """An instance that still exists. Raises Refusal 404."""
        machine = self.get(uuid)
        if not machine.alive:
            raise Refusal(404, "Instance not found")
        return machine

    def listing(self) -> list[tuple[Machine, Phase]]:
        """What `GET /instance` shows: each instance with its phase, as of the lag that is set."""
        if self.faults.take("listing_empty"):
            return []
        moment = time.monotonic() - self.faults.listing_lag_seconds
        hidden = set(self.faults.listing_hidden)
        shown: list[tuple[Machine, Phase]] = []
        for machine in self.machines.values():
            phase = machine.phase_at(moment)
            if phase not in (None, "gone") and not {machine.uuid, machine.order.name} & hidden:
                shown.append((machine, phase))
        return shown[::2] if self.faults.take("listing_partial") else shown

    def restart(self, wanted: Iterable[str]) -> list[Machine]:
        """Restart: processes gone, disk kept. Raises Refusal 404 if one does not exist; then none is."""
        machines = [self.live(uuid) for uuid in dict.fromkeys(wanted)]
        if self.faults.take("restart_omits"):
            machines = machines[1:]
        for machine in machines:
            machine.leave("booting")
            self._do(self._restart(machine))
        return machines

    async def _restart(self, machine: Machine) -> None:
        await machine.halt()
        if machine.phase == "booting":  # neither terminated nor stopped meanwhile
            machine.boot()

    def terminate(self, wanted: Iterable[str]) -> list[Machine]:
        """Terminate what of *wanted* exists. Raises Refusal 404 if nothing does (strict: if one does not)."""
        wanted = list(dict.fromkeys(wanted))
        machines = [
            machine for uuid in wanted if (machine := self.machines.get(uuid)) is not None and machine.alive
        ]
        if not machines or (self.faults.batch_strict and len(machines) < len(wanted)):
            raise Refusal(404, "Instance not found")
        if self.faults.take("terminate_omits"):
            machines = machines[1:]
        for machine in machines:
            if not self.faults.take("terminate_ignored"):
                self._end(machine, self.faults.terminate_seconds, self.faults.terminated_listed_seconds)
        return machines

    def lose(self, machine: Machine) -> None:
        """The machine is gone from one moment to the next, as spot machines are."""
        if machine.alive:
            self._end(machine, 0, 0)

    def _end(self, machine: Machine, terminating: float, terminated: float) -> None:
        machine.ended = self.clock.now()
        machine.leave("terminating" if terminating else "terminated" if terminated else "gone")
        self.stock[machine.order.product.name] += 1
        self._do(machine.destroy())
        if terminating or terminated:
            self._do(self._fade(machine, terminating, terminated))

    async def _fade(self, machine: Machine, terminating: float, terminated: float) -> None:
        await self._pass(terminating)
        if terminated:
            machine.set_phase("terminated")
            await self._pass(terminated)
        machine.set_phase("gone")

    async def _pass(self, seconds: float) -> None:
        """Let time pass, unless the cloud closes."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)

    def stop(self, machine: Machine) -> None:
        """The service stops it, as when a recharge fails: its processes end, it stays and is billed."""
        machine.leave("stopped")
        self._do(machine.halt())

    # Keys and coupons

    def add_key(self, request: AddKey) -> Key:
        """Add a key to the account. Raises Refusal."""
        if not KEY_NAME.fullmatch(request.name):
            raise Refusal(400, "name: letters, digits and spaces only")
        if any(key.name == request.name for key in self.keys.values()):
            raise Refusal(400, f"An SSH key with the name {request.name} already exists")
        try:
            asyncssh.import_public_key(request.publicKey)
        except (asyncssh.KeyImportError, ValueError):
            raise Refusal(400, "publicKey: not a public key") from None
        key = Key(str(uuids.uuid4()), request.name, request.publicKey.strip())
        self.keys[key.id] = key
        return key

    def remove_key(self, key_id: str) -> None:
        """Remove a key from the account; machines keep what they have. Raises Refusal 404."""
        if self.keys.pop(key_id, None) is None:
            raise Refusal(404, "SSH key not found")

    def coupon(self, code: str, *, missing: int = 404) -> Coupon:
        """A coupon of the service. Raises Refusal with status *missing*."""
        for coupon in self.config.coupons:
            if coupon.code == code:
                return coupon
        raise Refusal(missing, f"Coupon not found: {code}")

    # What a test or a person at the controls asks for

    def ledger(self) -> Ledger:
        """The bill at this moment."""
        now = self.clock.now()
        return Ledger(tuple(self._charge(machine, now) for machine in self.machines.values()))

    def _charge(self, machine: Machine, now: datetime) -> Charge:
        end = machine.ended or now
        earlier, before = [], 0
        for until, price in machine.prices_before:
            minutes = billed_minutes(machine.started, min(until, end), 0)
            earlier.append((minutes - before, price))
            before = minutes
        return Charge(
            machine.uuid,
            machine.order.name,
            machine.order.product.name,
            machine.order.final_price_micros,
            machine.started,
            machine.ended,
            billed_minutes(machine.started, end, self.config.billing_minimum_minutes),
            tuple(earlier),
        )

    def reprice(self, machine: Machine, cents: int) -> None:
        """Charge another price for a machine, in US cents an hour, for minutes that begin from now on."""
        machine.prices_before.append((self.clock.now(), machine.order.final_price_micros))
        price = cents * 10_000
        machine.order = replace(machine.order, price_micros=price, final_price_micros=price)

    def set_price(self, product: str, cents: int) -> None:
        """Change a price in US cents an hour, for deploys from now on."""
        self.products[product] = replace(self.products[product], price_cents=cents)

    def fault_changed(self, name: str) -> None:
        """A fault was assigned: open or shut ports where it matters."""
        if name == "ssh":
            for machine in self.machines.values():
                if machine.alive:
                    machine.apply_ssh()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not task.cancelled() and task.exception() is not None:
            LOG.error("a machine did not end in order", exc_info=task.exception())

    async def close(self) -> None:
        """End every machine and wait until nothing of any is left."""
        self._closing.set()
        for machine in self.machines.values():
            if machine.alive:
                self._end(machine, 0, 0)
        while self._work:
            await asyncio.wait(list(self._work))
