"""Everything that the simulated cloud can be told to do wrong or oddly, at start and while it runs.

A *count* says how often a fault strikes: 0 never, N the next N times, -1 always. `Rule`s act on whole answers
of one operation; the plain fields act on stock, machines, listings and SSH. Assignments are validated, may
come from any thread, and take effect with the next thing that the fault is about.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr

ALWAYS = -1
YEAR_SECONDS = 366 * 86_400
DEEPEST = 50
Count = Annotated[int, Field(strict=True, ge=ALWAYS, le=10**9)]
Seconds = Annotated[float, Field(ge=0, le=YEAR_SECONDS)]


def _sendable(body: Any, depth: int = DEEPEST) -> Any:
    """*body*, if it can be sent as JSON. Raises ValueError."""
    if not depth:
        raise ValueError("is nested too deep")
    inner = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    for value in inner:
        _sendable(value, depth - 1)
    if depth == DEEPEST:
        try:
            json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError):
            raise ValueError("cannot be written as JSON") from None
    return body


Text = Annotated[str, AfterValidator(_sendable)]

SshMode = Literal["ok", "refuse", "drop", "hang", "login"]

Operation = Literal[
    "*",
    "listInventory",
    "listImages",
    "listInstances",
    "getInstance",
    "deployInstance",
    "restartInstances",
    "terminateInstances",
    "getCoupon",
    "getCouponProducts",
    "validateToken",
    "getBilling",
    "listSshKeys",
    "addSshKey",
    "removeSshKey",
]


class Rule(BaseModel):
    """What happens to answers of *operation* (an operationId of the API, or `*`), at *rate*, *times* times.

    `status`: this status with *body* (text or JSON) and Retry-After, without the effect. `lost`: the effect
    happens, then the connection is closed without an answer. `refused`: closed before any effect. `hang`: the
    effect happens, then no answer ever comes. `slow`: the answer comes *seconds* late, after the effect, or
    before it with *late_effect*. `garbage`: 200 with a body that is no JSON.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    operation: Operation
    kind: Literal["status", "lost", "refused", "hang", "slow", "garbage"] = "status"
    status: Annotated[int, Field(ge=400, le=599)] = 503
    body: Annotated[Any, AfterValidator(_sendable)] = None
    retry_after: Annotated[str, Field(pattern="^[ -~]{0,100}$")] | None = None
    seconds: Seconds = 0.0
    late_effect: bool = False
    rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    times: Count = ALWAYS


class Faults(BaseModel):
    """The switches. Each is off by default; see the comments for what each one does."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)

    rules: list[Rule] = []

    # Deploying
    out_of_stock: Count = 0  # "out of stock", whatever the inventory says
    out_of_stock_text: Text = "Product is currently out of stock"
    quota: Count = 0  # the account's limit of instances
    payment_required: Count = 0  # 402
    image_refused: list[Text] = []  # products, or "product/image id", that do not support the image
    refuse_fields: list[Text] = []  # fields of a deploy that are refused by name, such as "sshKeys"
    keys_not_injected: Count = 0  # deploys whose key names are accepted and ignored

    # Booting
    boot_seconds: Seconds | None = None  # instead of the configured time, for boots that begin from now on
    boot_never: Count = 0  # boots that never end
    boot_fails: Count = 0  # boots that end in status "failed"
    address_before_boot: bool = True  # the address is listed from the start
    startup_skipped: Count = 0  # startup commands that do not run
    startup_delay_seconds: Seconds = 0.0  # after SSH answers
    startup_again: bool = False  # run again after a restart
    ssh_delay_seconds: Seconds = 0.0  # SSH refuses for so long after the machine counts as booted
    host_keys: Literal["true", "wrong", "missing"] = (
        "true"  # what the machine finds as its own public host key
    )
    drivers: bool = True  # nvidia-smi, on machines that are deployed from now on
    sudo: Literal["works", "refused"] = "works"  # for machines that are deployed from now on
    passwords_stay: bool = False  # their servers go on offering logins by password, whatever is configured
    vanish_after_seconds: Seconds | None = None  # machines that boot from now on disappear so long after it

    # SSH: what a new connection meets on every machine; `drop` is closed at once, `hang` gets no banner
    ssh: SshMode = "ok"
    ssh_drop_after_seconds: Seconds | None = None  # connections are cut so long after login
    ssh_drop_after_bytes: Annotated[int, Field(ge=0, le=2**50)] | None = (
        None  # cut after so many bytes of output
    )
    ssh_drops: Count = ALWAYS  # how often the two above strike

    # Listings
    listing_lag_seconds: Seconds = 0.0  # the listing shows the past
    listing_empty: Count = 0  # 200 with nothing in it
    listing_partial: Count = 0  # every second instance is left out
    listing_hidden: list[Text] = []  # uuids or names that never show up in a listing
    listing_bad_items: Count = 0  # an item that makes no sense stands among the others
    get_as_object: bool = False  # GET by uuid answers one object (older reference) instead of a list

    # Restarting and terminating
    restart_omits: Count = 0  # the first uuid is neither restarted nor in the answer
    terminate_omits: Count = 0  # the first uuid is neither terminated nor in the answer
    terminate_ignored: Count = 0  # accepted, but nothing happens
    terminate_seconds: Seconds = 0.0  # "terminating" is listed for so long
    terminated_listed_seconds: Seconds = 0.0  # then "terminated" for so long
    batch_strict: bool = False  # one uuid that is gone refuses the whole batch

    # Oddities of the account and of shapes
    ready_status: Text = "rented"  # or running, active
    booting_status: Text = "booting"
    rate_limit: Annotated[float, Field(gt=0, le=10**6)] | None = None  # requests a second; beyond it 429
    no_key_api: bool = False
    no_recharge_settings: bool = False  # none are shown, and every deploy is answered with 402
    final_price: Literal["true", "zero", "missing"] = "true"
    prices_as: Literal["string", "number"] = "string"
    nested_coupon_lists: bool = False
    sparse_instances: bool = False  # region missing, image name empty
    odd_inventory: bool = False  # items without instance_type, name, specs, capacity, regions
    error_style: Literal["json", "text", "nested"] = "json"
    date_offset_seconds: Annotated[float, Field(ge=-YEAR_SECONDS, le=YEAR_SECONDS)] = (
        0.0  # how far the Date header is from the truth
    )

    _lock: threading.RLock = PrivateAttr(default_factory=threading.RLock)
    _watcher: Callable[[str], None] | None = PrivateAttr(default=None)

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign, validated, and tell who watches."""
        super().__setattr__(name, value)
        if self._watcher is not None and not name.startswith("_"):
            self._watcher(name)

    def watch(self, watcher: Callable[[str], None]) -> None:
        """Call *watcher* with the field's name after each assignment, in the assigning thread."""
        self._watcher = watcher

    def take(self, name: str) -> bool:
        """Whether the counted fault *name* strikes now; a strike is counted."""
        with self._lock:
            left = getattr(self, name)
            if left > 0:
                setattr(self, name, left - 1)
            return bool(left)

    def add(self, rule: Rule | None = None, **fields: Any) -> Rule:
        """Add a rule, given whole or by its fields, and return it."""
        rule = Rule(**fields) if rule is None else rule
        with self._lock:
            self.rules = [*self.rules, rule]
        return rule

    def clear(self) -> None:
        """Back to a cloud without faults."""
        with self._lock:
            for name, info in type(self).model_fields.items():
                setattr(self, name, info.get_default(call_default_factory=True))

    def change(self, values: dict[str, Any]) -> None:
        """Assign several fields at once or none: raises pydantic's ValidationError, a ValueError."""
        with self._lock:
            checked = type(self).model_validate(self.model_dump() | values)
            for name in values:
                setattr(self, name, getattr(checked, name))

    def rule_for(self, operation: str) -> Rule | None:
        """The first rule that strikes an answer of *operation* now; a strike is counted."""
        with self._lock:
            for index, rule in enumerate(self.rules):
                if rule.operation not in ("*", operation) or rule.times == 0 or random.random() >= rule.rate:
                    continue
                if rule.times > 0:
                    spent = rule.model_copy(update={"times": rule.times - 1})
                    self.rules = [*self.rules[:index], spent, *self.rules[index + 1 :]]
                return rule
            return None
