"""The product in five short stories, in Python. Nothing is replaced but the cloud."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

import runner
from runner.sim import SimConfig, Simulator


@pytest.fixture
def cloud() -> Iterator[Simulator]:
    """A simulated account: real HTTP, real SSH, real processes, no cost."""
    with Simulator(SimConfig(boot_seconds=0.2)) as simulator:
        yield simulator


@pytest.fixture
def client(cloud: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[runner.Client]:
    """Your jobs, in a folder of their own."""
    monkeypatch.setenv("MASSED_COMPUTE_API_KEY", cloud.token)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    with runner.Client(home=home, api_url=cloud.url, api_rate=20) as client:
        yield client


def test_the_story(client: runner.Client, cloud: Simulator) -> None:
    # A job is a command, what to rent for it, and a ceiling. Submitting it only writes it down.
    job = client.submit("echo loss 0.1; echo loss 0.05", gpu="gpu_1x_l40", max_cost=5, name="train")
    assert job.state == "queued"
    assert cloud.ledger().charges == ()

    # A service makes jobs happen: it rents, follows and terminates.
    with client.service():
        # The log comes as it is written.
        assert list(job.logs(follow=True)) == ["loss 0.1", "loss 0.05"]

        # The result is there when nothing can cost money any more.
        result = job.result()
        assert result.exit_code == 0
        assert cloud.instances() == ()

        # The receipt is what the cloud charged, to the minute.
        (charge,) = cloud.ledger().charges
        assert result.cost_usd * 1_000_000 == charge.cost_micros

        # A command that fails tells why.
        broken = client.submit("echo no such file; exit 3", gpu="gpu_1x_l40", max_cost=5)
        with pytest.raises(runner.JobFailed) as failed:
            broken.result()
        assert (failed.value.exit_code, failed.value.tail) == (3, "no such file\n")

        # A job that runs for too long is stopped by its own machine.
        endless = client.submit("while true; do sleep 0.1; done", gpu="gpu_1x_l40", max_runtime="1s")
        with pytest.raises(runner.JobExpired):
            endless.result()

        # One that nobody wants any more is cancelled.
        unwanted = client.submit("sleep 1000", gpu="gpu_1x_l40")
        unwanted.cancel()
        with pytest.raises(runner.JobCancelled):
            unwanted.result()

    # All that was spent, and nothing is left.
    assert sum((job.cost_usd or Decimal(0)) for job in client.jobs()) >= result.cost_usd
    assert cloud.instances() == ()


def test_the_same_key_is_the_same_job(client: runner.Client) -> None:
    first = client.submit("true", gpu="gpu_1x_l40", key="sweep/7")
    assert client.submit("true", gpu="gpu_1x_l40", key="sweep/7").id == first.id
    with pytest.raises(runner.InvalidJob, match="sweep/7"):
        client.submit("false", gpu="gpu_1x_l40", key="sweep/7")


def test_many_are_all_or_none(client: runner.Client) -> None:
    good = runner.JobSpec(command="true", gpu="gpu_1x_l40")
    with pytest.raises(runner.InvalidJob, match="max_cost"):
        client.submit_many([good, {"command": "true", "gpu": "gpu_1x_l40", "max_cost": -1}])
    assert client.jobs() == []
    assert len(client.submit_many([good] * 3)) == 3
    assert {job.state for job in client.jobs()} == {"queued"}


def test_a_job_is_found_by_id_name_or_prefix(client: runner.Client) -> None:
    old = client.submit("true", gpu="gpu_1x_l40", name="nightly")
    new = client.submit("true", gpu="gpu_1x_l40", name="nightly")
    assert client.get("nightly").id == new.id, "the newest of that name"
    assert client.get(old.id).id == client.get(old.id[:8]).id == old.id
    with pytest.raises(runner.JobNotFound, match="tomorrow"):
        client.get("tomorrow")


def test_what_is_queued_costs_nothing_to_cancel(client: runner.Client, cloud: Simulator) -> None:
    job = client.submit("true", gpu="gpu_1x_l40")
    job.cancel()
    assert (job.state, job.reason, job.cost_usd) == ("cancelled", "cancelled_by_user", 0)
    assert cloud.requests("deployInstance") == ()
    assert cloud.ledger().charges == ()
