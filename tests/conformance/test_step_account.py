"""Whose account it is: asked of the API where the token is another one, and something is rented or may be."""

from __future__ import annotations

import pytest

from jobs.errors import InvalidToken, ServiceUnavailable
from jobs.settings import Secret
from jobs.store import attempts
from runner.sim.config import SimConfig
from tests.conformance.sim_client import Account, simulated
from tests.conformance.store_kit import World
from workers.cloud.client import Cloud
from workers.steps import account as step


def _check(world: World, account: Account, token: str | None = None) -> None:
    token = token or account.sim.token
    with Cloud(account.sim.url, Secret(token)) as cloud:
        step.check(world.db, cloud, account.sim.url, token)


def test_a_deploy_of_which_nothing_is_known_may_be_a_machine(world: World) -> None:
    _, attempt_id, lease = world.order()
    attempts.deploy_unknown(world.db, world.work(attempt_id), lease)
    name = world.instance(attempt_id).name
    with simulated(SimConfig(boot_seconds=0.01)) as account:
        with pytest.raises(ServiceUnavailable, match=name):
            _check(world, account)
        uuid = account.deploy(instanceName=name)
        _check(world, account)  # it is listed: the same account
        account.terminate(uuid)
        step.remember(world.db, account.sim.url, account.sim.token)
        _check(world, account)
        with pytest.raises(ServiceUnavailable, match=name):
            _check(world, account, account.sim.read_only_token)
        with pytest.raises(InvalidToken):
            _check(world, account, "refused")


def test_where_nothing_is_rented_nobody_is_asked(world: World) -> None:
    with Cloud("http://127.0.0.1:9/api/v1", Secret("any")) as cloud:
        step.check(world.db, cloud, "http://127.0.0.1:9/api/v1", "any")
