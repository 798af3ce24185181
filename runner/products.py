"""Choosing among what can be rented: what each product comes to per GPU, which ones fit, in which order.

What the service does not say is not known, and never zero: it fits no filter that asks for it, and stands
last in every order. A stock that is not known may be there: only what is said to be out of stock is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from jobs.money import Micros
from runner.vram import vram_gb
from workers.cloud.shapes import Product

_COUNT = re.compile(r"\s*([1-9][0-9]{0,3}) ?x\b", re.I)
_NO_GPU = re.compile(r"cpu(?![a-z])|.*\bcpu[ -]only\b", re.I)


class Sort(StrEnum):
    """By what products can be ordered."""

    PRICE = "price"
    PRICE_PER_GPU = "price-per-gpu"
    VRAM = "vram"
    GPUS = "gpus"
    NAME = "name"


@dataclass(frozen=True)
class Choice:
    """A product as a person chooses it. None is not known; ``vram_gb`` is of one GPU."""

    product: Product
    gpus: int | None
    vram_gb: int | None

    @property
    def price(self) -> Micros | None:
        """Micro-dollars an hour."""
        return self.product.price_micros_per_hour

    @property
    def price_per_gpu(self) -> Micros | None:
        """The same for one GPU, rounded up; None where there is none."""
        return None if self.price is None or not self.gpus else -(-self.price // self.gpus)

    @property
    def in_stock(self) -> bool | None:
        """Whether one can be rented now."""
        return None if self.product.capacity is None else self.product.capacity > 0


@dataclass(frozen=True)
class Wanted:
    """Filters; None and the empty name let everything through."""

    name: str = ""
    min_vram: int | None = None
    gpus: int | None = None
    max_price: Micros | None = None
    spot: bool | None = None
    in_stock: bool = False


def choice(product: Product) -> Choice:
    """What can be told of *product*."""
    gpus = _gpus(product)
    return Choice(product, gpus, vram_gb(product.name, product.description, gpus))


def select(choices: Iterable[Choice], wanted: Wanted) -> tuple[list[Choice], int]:
    """Those that fit, and how many may fit as well: what they were asked for is not known of them."""
    fitting: list[Choice] = []
    unknown = 0
    for item in choices:
        answers = list(_answers(item, wanted))
        if all(answers):
            fitting.append(item)
        elif False not in answers:
            unknown += 1
    return fitting, unknown


def ordered(choices: Iterable[Choice], by: Sort | None = None, reverse: bool = False) -> list[Choice]:
    """By *by*, what is not known last; among equals the cheapest first.

    Without *by*: what is there first, and of that the cheapest.
    """
    found = sorted(choices, key=_by_stock_and_price)
    if by is None:
        return found[::-1] if reverse else found
    if by is Sort.NAME:
        return sorted(found, key=lambda item: item.product.name, reverse=reverse)
    value = _VALUES[by]
    found.sort(key=_by_price)
    known = [(number, item) for item in found if (number := value(item)) is not None]
    known.sort(key=lambda pair: pair[0], reverse=reverse)
    return [item for _, item in known] + [item for item in found if value(item) is None]


_VALUES: dict[Sort, Callable[[Choice], int | None]] = {
    Sort.PRICE: lambda item: item.price,
    Sort.PRICE_PER_GPU: lambda item: item.price_per_gpu,
    Sort.VRAM: lambda item: item.vram_gb,
    Sort.GPUS: lambda item: item.gpus,
}


def _answers(item: Choice, wanted: Wanted) -> Iterable[bool | None]:
    """For each filter whether the product fits; None where that is not known."""
    yield wanted.name.casefold() in item.product.name.casefold()
    yield wanted.spot is None or item.product.spot is wanted.spot
    yield not wanted.in_stock or item.in_stock is not False
    if wanted.gpus is not None:
        yield None if item.gpus is None else item.gpus == wanted.gpus
    if wanted.min_vram is not None:
        if item.gpus == 0:
            yield False
        else:
            yield None if item.vram_gb is None else item.vram_gb >= wanted.min_vram
    if wanted.max_price is not None:
        yield None if item.price is None else item.price <= wanted.max_price


def _gpus(product: Product) -> int | None:
    """How many GPUs: by the name, else by the description."""
    if product.gpu_count:
        return product.gpu_count
    if found := _COUNT.match(product.description):
        return int(found[1])
    return 0 if _NO_GPU.match(product.name) or _NO_GPU.match(product.description) else None


def _by_price(item: Choice) -> tuple[float, str]:
    return float("inf") if item.price is None else item.price, item.product.name


def _by_stock_and_price(item: Choice) -> tuple[bool, float, str]:
    return item.in_stock is False, *_by_price(item)
