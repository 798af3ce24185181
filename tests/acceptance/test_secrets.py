"""Secrets: in the environment of the command that they are for, and nowhere else."""

from __future__ import annotations

import contextlib
import os
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha256

import httpx
import psutil
import pytest
from sqlalchemy import inspect, text

from jobs.secrets import FILE_NAME
from jobs.store import reads
from runner.sim.config import SimConfig
from runner.sim.processes import MARKER
from tests.acceptance.conftest import Make
from tests.acceptance.harness import GPU, Installation, Workers, guards
from tests.waiting import wait_until

ARRANGEMENTS = ("service", "openssh", "workers")
IN_FULL = ("service",)
MARK = os.urandom(8).hex()
"""Of this process alone: other tests that run now have secrets too."""
VALUE = f"hf_{MARK}-a-value-that-nobody-may-see"
SECOND = f"two words, 'quoted'\nand {MARK} in a second line"
TELLS = 'printf %s "$HF_TOKEN$WANDB_API_KEY" | sha256sum | cut -c1-64'
DIGEST = sha256((VALUE + SECOND).encode()).hexdigest().encode() + b"\n"
Factory = pytest.TempPathFactory
WAITS = "until [ -e go-on ]; do sleep 0.05; done"
"""So that a test can look around while it runs."""


def new_key() -> str:
    return urlsafe_b64encode(os.urandom(32)).decode()


@pytest.fixture
def trusting(make: Make, arrangement: str) -> Installation:
    """Workers share a key, as they have to; a service makes one of its own."""
    return make(**({"RUNNER_SECRET_KEY": new_key()} if arrangement == "workers" else {}))


def submit(installation: Installation, command: str, *options: str) -> str:
    """Queue a job with two secrets, as a person does."""
    before = dict(installation.environ)
    installation.environ |= {"HF_TOKEN": VALUE, "MY_WANDB": SECOND}
    try:
        secrets = ("--secret", "HF_TOKEN", "--secret", "WANDB_API_KEY=MY_WANDB")
        return installation.ok("submit", *GPU, *secrets, *options, "--", command).strip()
    finally:
        installation.environ = before


def test_it_is_in_the_environment_of_the_command_and_nowhere_else(trusting: Installation) -> None:
    """Looked for while the job runs and afterwards, in all that could hold it."""
    trusting.up()
    job = submit(trusting, f"{WAITS}; {TELLS}")
    running = trusting.until(job, "running", "failed")
    assert running["state"] == "running", running
    assert running["secrets"] == ["HF_TOKEN", "WANDB_API_KEY"]
    assert running["attempts"][0]["host_key"] == "attested"
    wait_until(lambda: _has_it(trusting), what="the command with its environment")
    assert _where_it_is(trusting, job) == []
    _go_on(trusting)
    done = trusting.final(job)
    assert (done["state"], done["secrets"]) == ("succeeded", ["HF_TOKEN", "WANDB_API_KEY"]), done
    assert trusting.log(job) == DIGEST
    assert _where_it_is(trusting, job) == []
    with trusting.quick() as client, client.database.engine.connect() as connection:
        kept = connection.execute(text("SELECT count(*) FROM jobs WHERE secrets IS NOT NULL"))
        assert kept.scalar() == 0, "deleted with the end of the job"
    trusting.nothing_left()


GUARD = f"guard-{MARK}-of-the-whole-account"


def test_the_guard_token_is_in_no_place_either(
    make: Make, arrangement: str, tmp_path_factory: Factory
) -> None:
    """While the machine has it, and afterwards; here it is in the file that it is read from."""
    file = tmp_path_factory.mktemp("elsewhere") / "guard_token"
    file.write_text(GUARD)
    config = SimConfig(boot_seconds=0.2, more_tokens=(GUARD,))
    installation = make(config, RUNNER_GUARD_TOKEN_FILE=str(file))
    installation.up()
    job = installation.submit(f"{WAITS}; echo done", name="one that ends itself")
    running = installation.until(job, "running", "failed")
    attempt = running["attempts"][0]
    assert attempt["ends_itself"]["at"] is not None, running
    (machine,) = installation.sim.instances()
    found = guards(installation.sim, machine.uuid)
    assert len(found) == 1, "the machine has it"
    assert _where_it_is(installation, job, GUARD) == []
    _go_on(installation)
    assert installation.final(job)["state"] == "succeeded"
    assert _where_it_is(installation, job, GUARD) == []
    assert "guard" in installation.ok("doctor")
    installation.nothing_left()


@pytest.mark.arrangements(full=("service", "openssh"))
def test_another_service_goes_on_with_the_secrets_of_a_job(trusting: Installation) -> None:
    """They are read from the database again: by whoever starts the command, and by a later attempt."""
    trusting.up()
    job = submit(trusting, TELLS)
    assert trusting.final(job)["state"] == "succeeded"
    trusting.stop()
    trusting.sim.faults.boot_fails = 1
    again = submit(trusting, TELLS)
    trusting.up()
    done = trusting.final(again)
    assert (done["state"], len(done["attempts"])) == ("succeeded", 2), done
    assert trusting.log(again) == DIGEST


def test_without_the_key_nothing_is_rented(make: Make, arrangement: str) -> None:
    """A key that was lost after the submit, or is not that of the submitter."""
    installation = make(**({"RUNNER_SECRET_KEY": new_key()} if arrangement == "workers" else {}))
    lost = submit(installation, TELLS)
    if arrangement == "workers":
        del installation.environ["RUNNER_SECRET_KEY"]
    else:
        (installation.home / FILE_NAME).unlink()
    installation.up()
    _refused(installation, lost, "no key to read them")
    installation.stop()
    other = submit(installation, TELLS)
    installation.environ["RUNNER_SECRET_KEY"] = new_key()
    installation.up()
    _refused(installation, other, "another RUNNER_SECRET_KEY")
    assert installation.sim.requests("deployInstance") == ()
    # Where those who work can be asked, nothing is even queued.
    installation.environ |= {"RUNNER_SECRET_KEY": new_key(), "HF_TOKEN": VALUE}
    done = installation.run("submit", *GPU, "--secret", "HF_TOKEN", "--", "true")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"RUNNER_SECRET_KEY" in done.stderr


@pytest.mark.arrangements("service", "openssh")
def test_a_key_that_is_lost_while_the_machine_boots(make: Make) -> None:
    """Rented is rented; but nothing is sent, and nothing is tried again."""
    installation = make(SimConfig(boot_seconds=2.0))
    installation.up()
    job = submit(installation, "echo it began")
    installation.until(job, "booting")
    (installation.home / FILE_NAME).unlink()
    done = installation.final(job)
    assert (done["state"], done["reason"], len(done["attempts"])) == ("failed", "secret_key", 1), done
    assert done["started_at"] is None
    assert installation.log(job) == b""
    installation.nothing_left()


def _refused(installation: Installation, job: str, part: str) -> None:
    done = installation.final(job)
    assert (done["state"], done["reason"], done["attempts"]) == ("failed", "secret_key", []), done
    assert part in done["detail"]
    assert done["secrets"] == ["HF_TOKEN", "WANDB_API_KEY"]


@pytest.mark.arrangements("service", "openssh")
def test_a_service_that_run_starts_has_them_not_in_its_environment(trusting: Installation) -> None:
    """It stays when `run` has ended; the values reach it through the database only."""
    trusting.environ |= {"HF_TOKEN": VALUE, "MY_WANDB": SECOND}
    words = ("--secret", "HF_TOKEN", "--secret", "WANDB_API_KEY=MY_WANDB")
    done = trusting.run("run", *GPU, *words, "--", TELLS)
    assert (done.returncode, done.stdout) == (0, DIGEST), done.stderr
    (service,) = trusting.serving()
    assert not {VALUE, SECOND} & set(service.environ().values())
    assert service.environ()["RUNNER_HOME"] == str(trusting.home)


@pytest.mark.arrangements("workers")
def test_whoever_submits_must_have_the_key_of_the_workers(trusting: Installation) -> None:
    trusting.up()
    trusting.environ |= {"RUNNER_SECRET_KEY": new_key(), "HF_TOKEN": VALUE}
    done = trusting.run("submit", *GPU, "--secret", "HF_TOKEN", "--", "true")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"RUNNER_SECRET_KEY must be the same" in done.stderr
    assert trusting.jobs() == []


def _go_on(installation: Installation) -> None:
    """Let a command go on that waits."""
    (machine,) = installation.sim.instances()
    (work,) = machine.home.glob(".gpu-job-runner/*/run/work")
    (work / "go-on").touch()


def _where_it_is(installation: Installation, job: str, *values: str) -> list[str]:
    """Where any of the *values*, by default the two secrets, is and must not be."""
    needles = _needles(values or (VALUE, SECOND))
    places = _places(installation, job)
    return [where for where, content in places if any(needle in content for needle in needles)]


def _needles(values: tuple[str, ...]) -> list[bytes]:
    """The values as they are, and as base64 holds them wherever in a text they begin."""
    found = []
    for value in (each.encode() for each in values):
        found.append(value)
        found += [b64encode(b"\0" * lead + value)[4 if lead else 0 : -4] for lead in range(3)]
    return found


def _places(installation: Installation, job: str) -> Iterator[tuple[str, bytes]]:
    for process in psutil.process_iter():
        try:
            yield f"arguments of {process}", "\0".join(process.cmdline()).encode(errors="surrogateescape")
            environ = process.environ()
            if environ.get("RUNNER_JOB_ID") != job or MARKER not in environ:  # the command, and its children
                values = "\0".join(environ.values())
                yield f"environment of {process}", values.encode(errors="surrogateescape")
        except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            continue  # what we may not look into is nobody's of ours
    sim = installation.sim
    with httpx.Client(headers={"Authorization": f"Bearer {sim.token}"}) as client:
        root = sim.url.removesuffix("/api/v1")
        for route in ("/api/v1/instance", "/api/v1/ssh-keys", "/sim/ledger", "/sim/requests", "/sim/faults"):
            answer = client.get(root + route)
            assert answer.status_code == 200, route
            yield f"the cloud's {route}", answer.content
    machines = [machine.folder for machine in sim.instances()]
    assert (installation.home / "runner.db").exists() or isinstance(installation, Workers)
    for folder in (*machines, installation.home.parent):  # homes, the database with its WAL, logs of services
        for file in folder.rglob("*"):
            if file.is_file():
                yield str(file), file.read_bytes()
    yield from _tables(installation)
    with installation.quick() as client_:
        yield "events", repr(reads.history(client_.database, job)).encode()
    for words in (("show", job), ("show", job, "--json"), ("ls",), ("status",), ("logs", job), ("doctor",)):
        done = installation.run(*words)
        yield " ".join(words), done.stdout + done.stderr


def _tables(installation: Installation) -> Iterator[tuple[str, bytes]]:
    """All that PostgreSQL holds, as it would dump it."""
    if not isinstance(installation, Workers):
        return
    with installation.quick() as client, client.database.engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        assert {"jobs", "events", "log_chunks"} <= set(tables)
        for table in tables:
            rows = connection.execute(text(f"SELECT CAST(t AS text) FROM {table} t")).scalars()  # noqa: S608
            yield f"table {table}", "\n".join(rows).encode()


def _has_it(installation: Installation) -> bool:
    """Whether a process on the machine has the secret: what is looked for is there to be found."""
    for machine in installation.sim.instances():
        for process in installation.sim.processes(machine.uuid):
            with contextlib.suppress(psutil.Error):
                if process.environ().get("HF_TOKEN") == VALUE:
                    return True
    return False
