"""The control routes under `/sim/`: the ledger, the faults, the log of requests, accidents of one machine.

They take the full token, like the API. They exist so that another process (a person with curl, a test of the
real command line) can do what the Python API of `Simulator` does.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runner.sim.cloud import Cloud, Refusal
from runner.sim.ledger import dollars
from runner.sim.machine import Machine
from runner.sim.shapes import read_json

LARGEST = 1_000_000


class Control:
    """The handlers; `api` is set once the application exists, for its log and its idea of a token."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.may_control: Callable[[Request], bool] = lambda request: False
        self.logged: Callable[[], list[dict[str, object]]] = list

    def routes(self) -> list[Route]:
        """The routes, to be put behind those of the API."""
        return [
            Route("/sim/ledger", self._guarded(self._ledger), methods=["GET"]),
            Route("/sim/faults", self._guarded(self._faults), methods=["GET", "POST", "DELETE"]),
            Route("/sim/requests", self._guarded(self._requests), methods=["GET"]),
            Route("/sim/stock", self._guarded(self._stock), methods=["GET", "POST"]),
            Route("/sim/prices", self._guarded(self._prices), methods=["GET", "POST"]),
            Route("/sim/instances/{uuid}/price", self._guarded(self._reprice), methods=["POST"]),
            Route("/sim/instances/{uuid}/{what}", self._guarded(self._accident), methods=["POST"]),
        ]

    def _guarded(self, handler: Callable[[Request, bytes], object]) -> Callable[[Request], object]:
        async def endpoint(request: Request) -> Response:
            raw = await request.body()
            if not self.may_control(request):
                return JSONResponse({"message": "Invalid token"}, 401)
            try:
                return JSONResponse(handler(request, raw))
            except Refusal as refusal:
                return JSONResponse({"message": refusal.text}, refusal.status)

        return endpoint

    def _ledger(self, request: Request, raw: bytes) -> object:
        return self.cloud.ledger().as_json()

    def _requests(self, request: Request, raw: bytes) -> object:
        return {"requests": self.logged()}

    def _faults(self, request: Request, raw: bytes) -> object:
        faults = self.cloud.faults
        if request.method == "DELETE":
            faults.clear()
        elif request.method == "POST":
            try:
                faults.change(_object(raw))
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                raise Refusal(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        return faults.model_dump(mode="json")

    def _stock(self, request: Request, raw: bytes) -> object:
        if request.method == "POST":
            self.cloud.stock.update(self._numbers(raw, "machines"))
        return self.cloud.stock

    def _prices(self, request: Request, raw: bytes) -> object:
        if request.method == "POST":
            for product, cents in self._numbers(raw, "cents an hour").items():
                self.cloud.set_price(product, cents)
        return {product.name: product.price_cents for product in self.cloud.products.values()}

    def _reprice(self, request: Request, raw: bytes) -> object:
        machine = self.cloud.live(request.path_params["uuid"])
        self.cloud.reprice(machine, _number("cents", _object(raw).get("cents"), "cents an hour"))
        return {"uuid": machine.uuid, "price_usd_per_hour": dollars(machine.order.final_price_micros)}

    def _numbers(self, raw: bytes, of: str) -> dict[str, int]:
        """A number for each product that the body names. Raises Refusal before anything is done."""
        found: dict[str, int] = {}
        for product, number in _object(raw).items():
            if product not in self.cloud.products:
                raise Refusal(400, f"{product}: no such product")
            found[product] = _number(product, number, of)
        return found

    def _accident(self, request: Request, raw: bytes) -> object:
        machine = self.cloud.live(request.path_params["uuid"])
        accident = accidents(self.cloud).get(request.path_params["what"])
        if accident is None:
            raise Refusal(404, f"one of {', '.join(accidents(self.cloud))}")
        accident(machine)
        return {"uuid": machine.uuid, "phase": machine.phase}


def accidents(cloud: Cloud) -> dict[str, Callable[[Machine], object]]:
    """What can happen to one machine, by the name of its control route."""
    return {
        "vanish": cloud.lose,
        "restart": lambda machine: cloud.restart([machine.uuid]),
        "stop": cloud.stop,
        "drop-ssh": lambda machine: machine.door.drop(),
        "freeze-ssh": lambda machine: machine.door.freeze(True),
        "thaw-ssh": lambda machine: machine.door.freeze(False),
    }


def _number(name: str, number: object, of: str) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= LARGEST:
        raise Refusal(400, f"{name}: not a number of {of} from 0 to {LARGEST}")
    return number


def _object(raw: bytes) -> dict[str, object]:
    try:
        value = read_json(raw)
    except ValueError:
        raise Refusal(400, "Body is not JSON") from None
    if not isinstance(value, dict):
        raise Refusal(400, "Body is not a JSON object")
    return value
