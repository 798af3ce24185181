"""The bodies that the simulated API takes: unknown fields and wrong types are refused."""

from __future__ import annotations

import json
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Body(BaseModel):
    """Strict: no field beyond those declared, no conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Deploy(Body):
    """`POST /instance/launch`."""

    imageId: int
    productName: str
    regionName: Literal["any"]
    instanceName: str = ""
    coupon: str = ""
    command: str = ""
    sshKey: list[str] = []
    sshKeys: list[str] = []


class Uuids(Body):
    """`POST /instance/restart` and `/instance/terminate`."""

    instanceUuids: Annotated[list[str], Field(min_length=1, max_length=100)]


class CouponCode(Body):
    """`POST /coupon/…`."""

    coupon: str


class AddKey(Body):
    """`POST /ssh-keys`."""

    name: str
    publicKey: str


class Empty(Body):
    """A body that has to be an empty object, or absent."""


def read_json(raw: bytes) -> object:
    """What a body says. Raises ValueError where it is no JSON, or none that an answer could carry back.

    That is so for NaN, infinities, halves of characters, and what is nested too deep.
    """
    try:
        value: object = json.loads(raw)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        raise ValueError("nested too deep") from None
    return value


AnyBody = TypeVar("AnyBody", bound=Body)


def checked(shape: type[AnyBody], value: object) -> AnyBody:
    """*value* as *shape*; raises ValueError with one sentence that names the field."""
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ValueError(f'Unknown field: "{name}"') from None
        if first["type"] == "missing":
            raise ValueError(f'Missing field: "{name}"') from None
        raise ValueError(f'Invalid value for "{name}": {first["msg"]}' if name else first["msg"]) from None
