"""Running a job again: the same in all that was asked for, and only once it is over."""

from __future__ import annotations

import pytest

from jobs.errors import InvalidJob, JobNotFound
from jobs.models import Job
from jobs.secrets import Cipher
from jobs.spec import Packed
from jobs.states import State
from jobs.store import submissions
from jobs.values import Secret
from tests.conformance.store_kit import World, job_row, spec

NEW = {"seq", "id", "key", "not_before", "submitted_at"}
"""What a second job has of its own."""
PROGRESS = {
    "state",
    "reason",
    "detail",
    "attempt_id",
    "exit_code",
    "cancel_requested_at",
    "waits",
    "started_at",
    "finished_at",
    "lease_owner",
    "lease_until",
    "fence",
}
"""How far a job has come."""


@pytest.mark.parametrize("command", ["a && b", ("echo", "a b", "ü\n'")])
def test_a_job_that_runs_again_is_the_same(world: World, command: str | tuple[str, ...]) -> None:
    wanted = spec(
        command,
        products=("gpu_1x_l40",),
        name="training run",
        image="Other",
        env={"A": "1", "EMPTY": ""},
        max_cost=1_230_000,
        max_cost_source="default",
        max_runtime=90,
        max_runtime_source="runner.toml",
        key="k",
        retries=2,
        retry_on=("lost",),
        workdir=Packed("trees/" + "a" * 64, 3, 1000),
        setup="make",
        outputs=("out/**", "b"),
        sync_every=60,
    )
    first = submissions.submit(world.db, [wanted])[0].id
    _, attempt_id, lease = world.run(first)
    world.finish(attempt_id, lease)
    world.settle()
    assert world.show(first).state is State.SUCCEEDED
    second = submissions.submit(world.db, [submissions.again(world.db, first)[0]])[0]
    assert (second.existed, second.id == first) == (False, False)
    old, new = job_row(world.db, first), job_row(world.db, second.id)
    for column in set(Job.__table__.columns.keys()) - NEW - PROGRESS:
        assert getattr(new, column) == getattr(old, column), column
    assert (old.key, new.key, new.state) == ("k", None, "queued")
    world.run(second.id)
    assert world.show(first).state is State.SUCCEEDED, "the first one stays as it is"


def test_a_plain_job_runs_again(world: World) -> None:
    first = submissions.submit(world.db, [spec()])[0].id
    submissions.request_cancel(world.db, first)
    assert submissions.again(world.db, first) == (spec(), ())


def test_what_is_not_over_does_not_run_again(world: World) -> None:
    queued = submissions.submit(world.db, [spec()])[0].id
    with pytest.raises(InvalidJob, match=f"{queued} is queued") as found:
        submissions.again(world.db, queued)
    assert found.value.exit_code == 1
    running, attempt_id, lease = world.run()
    with pytest.raises(InvalidJob, match="is running"):
        submissions.again(world.db, running)
    world.finish(attempt_id, lease)
    with pytest.raises(InvalidJob, match="is finishing"):
        submissions.again(world.db, running)
    with pytest.raises(JobNotFound):
        submissions.again(world.db, "nothing")


def test_of_secrets_the_names_come_back(world: World) -> None:
    """The values were deleted with the job's end."""
    secrets = {"HF_TOKEN": Secret("hf_a-value"), "OTHER": Secret("another")}
    job_id = submissions.submit(world.db, [spec(secrets=secrets)], Cipher(["A" * 43 + "="]))[0].id
    submissions.request_cancel(world.db, job_id)
    assert submissions.again(world.db, job_id) == (spec(), ("HF_TOKEN", "OTHER"))
