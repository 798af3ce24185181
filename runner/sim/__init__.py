"""The simulated cloud: the service's API and SSH into its machines, on this computer and at no cost.

`Simulator` is the library (tests, the demo), `runner.sim.main.serve` the command `runner sim`.
"""

from __future__ import annotations

from runner.sim.config import Coupon, Image, Product, SimConfig
from runner.sim.faults import ALWAYS, Faults, Rule
from runner.sim.ledger import Charge, Ledger
from runner.sim.simulator import Simulator

__all__ = [
    "ALWAYS",
    "Charge",
    "Coupon",
    "Faults",
    "Image",
    "Ledger",
    "Product",
    "Rule",
    "SimConfig",
    "Simulator",
]
