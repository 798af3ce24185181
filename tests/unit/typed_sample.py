"""A user's code, read by the type checker only: each line says which type the public API promises."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import assert_type

import runner


def use() -> None:
    job = runner.submit("python train.py", gpu="gpu_1x_l40", max_cost=5, max_runtime="2h")
    assert_type(job, runner.Job)
    assert_type(job.id, str)
    assert_type(job.cost_usd, Decimal | None)
    runner.submit(
        ["python", "-c", "1"], gpu="x", max_cost="0.50", max_runtime=timedelta(hours=1), env={"A": "b"}
    )
    runner.submit(
        "true",
        gpu="x",
        max_cost=Decimal("1.5"),
        max_runtime=90,
        name="n",
        image="i",
        key="k",
        secret={"A": "b"},
    )
    runner.submit("true", gpu="x", secret={"HF_TOKEN": "hf"})
    runner.submit("true", gpu="x", secret=["HF_TOKEN"])
    specs: list[runner.JobSpec] = [{"command": "true", "gpu": "x"}, {"command": ["a", "b"], "max_cost": 0.5}]
    assert_type(runner.submit_many(specs), list[runner.Job])
    assert_type(runner.get("abc"), runner.Job)
    assert_type(runner.jobs(state="running", limit=3), list[runner.Job])
    with runner.service():
        lines: Iterator[str] = job.logs(follow=True)
        pieces: Iterator[bytes] = job.logs(raw=True)
        for line in lines:
            assert_type(line, str)
        for piece in pieces:
            assert_type(piece, bytes)
        try:
            result = job.wait(timeout=10).result()
        except runner.JobFailed as error:
            assert_type(error.tail, str)
        else:
            assert_type(result.cost_usd, Decimal)
            assert_type(result.seconds, float)
    job.cancel()
    with runner.Client(home="/tmp/x") as client:
        assert_type(client.submit("true", gpu="x"), runner.Job)
        assert_type(client.get("x").attempts, list["runner.Attempt"])
