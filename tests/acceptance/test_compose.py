"""What docker-compose.yml starts, started here: its own commands, environment and secrets, on real servers.

PostgreSQL and Redis are those of the wheels, the image is the installed package, and a container's paths and
names are those of this computer; all else is as the file and `docs/production.md` say.
"""

from __future__ import annotations

import json
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from jobs.settings import load_settings
from jobs.values import Secret
from runner.sim.config import SimConfig
from runner.sim.simulator import Simulator
from tests.acceptance.compose import ROOT, Compose, Container, entrypoint, seconds
from tests.acceptance.harness import GPU, PATIENCE
from tests.environ import clean_environ
from tests.servers import PASSWORD, Postgres, Redis
from tests.waiting import wait_until

BIN = Path(sys.executable).parent
PAGE = (ROOT / "docs" / "production.md").read_text("utf-8")
CLEAN = clean_environ()


def _block(beginning: str) -> str:
    """The block of the page that begins so."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
    (found,) = [block for block in blocks if block.startswith(beginning)]
    return str(found)


class GuardedRedis(Redis):
    """Redis as the file starts it, by the shell line that it has there; its program is that of the wheel."""

    def __init__(self, words: list[str], password: str) -> None:
        super().__init__()
        self._words = words
        self._password = password

    def _ask(self, port: int, command: str) -> None:
        import redis

        with redis.Redis(port=port, password=self._password, socket_timeout=5) as client:
            getattr(client, command)()

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        shim = self.folder / "redis-server"
        shim.write_text(f"#!/bin/sh\nexec '{self._program}' \"$@\" --port {port} --bind 127.0.0.1\n")
        shim.chmod(0o755)
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                self._words,
                env={**CLEAN, "PATH": f"{self.folder}:{CLEAN['PATH']}"},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


class Stack:
    """The services of the file, and what people do beside them."""

    def __init__(self, project: Path, sim: Simulator) -> None:
        self.project = project
        self.sim = sim
        self._make_secrets()
        self.compose = Compose({"RUNNER_API_URL": sim.url, "RUNNER_MAX_INSTANCES": "4"}, project)
        (project / "volumes" / "home").mkdir(parents=True, mode=0o700)
        self.workers: list[subprocess.Popen[bytes]] = []

    def _make_secrets(self) -> None:
        """By the very lines of the page; the token is what a person pastes then."""
        script = _block("mkdir -m 700 secrets")
        (self.project / "docker").mkdir()
        (self.project / "docker" / "make-role.sh").write_text("")
        subprocess.run(["sh", "-eu", "-c", script], cwd=self.project, check=True)
        (self.project / "secrets" / "api_token").write_text(f"{self.sim.token}\n")

    def read(self, secret: str) -> str:
        return self.compose.secret(secret).read_text("utf-8").strip()

    def point_at(self, secret: str, name: str, port: int) -> None:
        """A server's name among containers is an address of this computer here."""
        file = self.compose.secret(secret)
        text = file.read_text("utf-8")
        assert text.count(f"@{name}/") == 1
        file.write_text(text.replace(f"@{name}/", f"@127.0.0.1:{port}/"))

    def run(self, container: Container, *words: str) -> subprocess.CompletedProcess[bytes]:
        """One command in a container, to its end."""
        return subprocess.run(
            [*self._program(), *(words or container.words)],
            env={**CLEAN, **container.environ},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )

    def start_worker(self) -> subprocess.Popen[bytes]:
        container = self.compose.container("worker")
        with (self.project / f"worker-{len(self.workers)}.log").open("wb") as log:
            worker = subprocess.Popen(
                [*self._program(), *container.words],
                env={**CLEAN, **container.environ},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.workers.append(worker)
        return worker

    def said(self) -> str:
        return "".join(path.read_text("utf-8") for path in sorted(self.project.glob("worker-*.log")))

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()

    @staticmethod
    def _program() -> list[str]:
        (program,) = entrypoint()
        return [str(BIN / program)]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Nothing runs yet but the cloud; the secrets have been made."""
    project = tmp_path / "a project"
    project.mkdir()
    with Simulator(SimConfig(boot_seconds=0.2)) as sim:
        stack = Stack(project, sim)
        yield stack
        stack.close()


@pytest.fixture
def database(stack: Stack) -> Iterator[Postgres]:
    """PostgreSQL after what its image does with our script when it makes its data."""
    server = Postgres()
    try:
        server.start()
        environ = stack.compose.services["postgres"]["environment"]
        assert environ["GPU_JOB_RUNNER_PASSWORD_FILE"] == "/run/secrets/database_password"
        subprocess.run(
            [ROOT / "docker" / "make-role.sh"],
            env={
                **CLEAN,
                "PATH": f"{server.programs}:{CLEAN['PATH']}",
                "PGHOST": "127.0.0.1",
                "PGPORT": str(server.port),
                "PGPASSWORD": PASSWORD,
                "POSTGRES_USER": "runner",
                "GPU_JOB_RUNNER_PASSWORD_FILE": str(stack.compose.secret("database_password")),
            },
            cwd="/",
            check=True,
            capture_output=True,
        )
        stack.point_at("database_url", "postgres", server.port)
        yield server
    finally:
        server.close()


@pytest.fixture
def broker(stack: Stack) -> Iterator[Redis]:
    words = stack.compose.secrets_of("redis", stack.compose.services["redis"]["command"])
    server = GuardedRedis(words, stack.read("redis_password"))
    try:
        server.start()
        stack.point_at("broker_url", "redis", server.port)
        yield server
    finally:
        server.close()


def _submitter(stack: Stack, home: Path) -> Mapping[str, str]:
    """Somebody's own computer: what the page says to set there, and nothing else of ours."""
    names = re.findall(r"^export (\w+)=", _block("export RUNNER_DATABASE_URL"), re.M)
    values = {
        "RUNNER_DATABASE_URL": stack.read("database_url"),
        "RUNNER_BROKER_URL": stack.read("broker_url"),
        "RUNNER_SECRET_KEY": stack.read("secret_key"),
    }
    return {**CLEAN, "RUNNER_HOME": str(home), **{name: values[name] for name in names}}


@pytest.mark.timeout(300)
def test_the_stack_as_it_is_written(stack: Stack, database: Postgres, broker: Redis, tmp_path: Path) -> None:
    worker = stack.compose.container("worker")
    health = stack.compose.services["worker"]["healthcheck"]
    assert health["test"] == ["CMD", *entrypoint(), "health"]
    early = stack.run(worker)
    assert (early.returncode, b"runner db upgrade" in early.stderr) == (3, True), early.stderr
    for _ in range(2):  # each `up` does it again
        migrated = stack.run(stack.compose.container("migrate"))
        assert migrated.returncode == 0, migrated.stderr
    assert stack.run(worker, "health").returncode == 3

    for process in (stack.start_worker(), stack.start_worker()):
        wait_until(
            lambda: process.poll() is not None or f"(pid {process.pid})" in stack.said(),  # noqa: B023
            timeout=PATIENCE,
            what="a worker",
        )
        assert process.poll() is None, stack.said()
    healthy = stack.run(worker, "health")
    assert (healthy.returncode, healthy.stderr) == (0, b"")
    assert b"of 4 jobs" in healthy.stdout

    home = tmp_path / "somebody"
    submitter = _submitter(stack, home)

    def by_submitter(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [BIN / "runner", *words],
            env=submitter,
            cwd=tmp_path,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )

    done = by_submitter("submit", *GPU, "--max-cost", "5", "--", "echo from a container")
    assert (done.returncode, b"cannot be reached" in done.stderr) == (0, False), done.stderr
    job = done.stdout.decode().strip()
    waited = by_submitter("wait", job)
    assert waited.returncode == 0, (waited, stack.said())
    assert by_submitter("logs", job).stdout == b"from a container\n"
    assert not home.exists() or not any(home.rglob("*")), "a submitter needs no key and no file"

    for process in stack.workers:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(worker.grace) for process in stack.workers] == [0, 0]
    assert stack.run(worker, "health").returncode == 3
    assert not stack.sim.instances()

    lines = [json.loads(line) for line in stack.said().splitlines()]
    assert any(line["job"] == job for line in lines)
    secrets = [stack.read(path.name) for path in (stack.project / "secrets").iterdir()]
    assert not [secret for secret in secrets if secret and secret in stack.said()]
    shared = stack.project / "volumes" / "home"
    written = sorted(path.relative_to(shared).as_posix() for path in shared.rglob("*"))
    assert written == ["ssh", "ssh/id_ed25519"], "the key, which both share, and nothing else"
    assert stat.S_IMODE((shared / "ssh" / "id_ed25519").stat().st_mode) == 0o600


def test_the_role_may_do_nothing_to_the_server(stack: Stack, database: Postgres) -> None:
    """People who submit have its password as well."""
    import psycopg

    with psycopg.connect(stack.read("database_url"), autocommit=True) as connection:
        found = connection.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication FROM pg_roles "
            "WHERE rolname = current_user"
        ).fetchone()
        assert found == (False, False, False, False)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("COPY (SELECT 1) TO PROGRAM 'true'")


def test_the_secrets_are_for_the_containers_alone(stack: Stack) -> None:
    """Compose hands the files on as they are: readable, in a folder that is not."""
    folder = stack.project / "secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}
    assert {path.name for path in folder.iterdir()} == set(stack.compose.as_written["secrets"])
    assert stack.read("api_token") == stack.sim.token
    assert stack.project.joinpath("docker", "make-role.sh").stat().st_mode & 0o005 == 0o005


def test_a_guard_token_goes_to_the_workers_where_there_is_one(stack: Stack) -> None:
    """By what the page says to write into `.env`; else its file is empty, and nobody looks at it."""
    assert load_settings(stack.compose.container("worker").environ).guard_token is None
    (line,) = re.findall(r"^(RUNNER_GUARD_TOKEN_FILE)=(\S+)$", _block("RUNNER_GUARD_TOKEN_FILE="), re.M)
    (stack.project / "secrets" / "guard_token").write_text("a-token\n")
    compose = Compose(dict([line]), stack.project)
    assert load_settings(compose.container("worker").environ).guard_token == Secret("a-token")


def test_a_health_check_has_time_to_answer(stack: Stack) -> None:
    from jobs.store.answering import CONNECT_SECONDS

    health = stack.compose.services["worker"]["healthcheck"]
    assert seconds(health["timeout"]) > CONNECT_SECONDS
