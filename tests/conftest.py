"""What every test stands on: a home of its own, no network but loopback, and nothing left behind."""

from __future__ import annotations

import ipaddress
import os
import shutil
import signal
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import sqlalchemy

from jobs.store import database as on_sqlite
from jobs.store import schema
from jobs.store.database import Database
from jobs.store.schema import open_database
from runner.sim.processes import MARKER
from tests import prefork
from tests.environ import OURS
from tests.servers import S3, NotInstalled, Postgres, Redis

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # begun in the background; what we start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONG = 200
"""Seconds: a test that asks for so many takes long."""
SETTLE_SECONDS = 10.0
"""How long a thread or a process of a test may take to end after it."""
POOLED = ("asyncio_", "ThreadPoolExecutor", "execnet", "fsspecIO")
"""Threads of pools, of pytest-xdist and of fsspec: they idle on, and end with the interpreter."""
Server = TypeVar("Server", Postgres, Redis)
_lasting_servers: set[int] = set()
HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


ON_BOTH = ("accidents", "logs", "old_data", "schema", "submissions", "transitions")
"""Suites of the store where the two databases themselves are at work, or several writers at once."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes long is shared out; what both databases do alike is shown on one of them, or in full.

    Each process of pytest-xdist begins with its share of what takes long, or the last would end alone.
    """
    _choose_databases(items)
    count = getattr(config, "workerinput", {}).get("workercount", 1)
    long = [item for item in items if (mark := item.get_closest_marker("timeout")) and mark.args[0] >= LONG]
    rest = [item for item in items if item not in set(long)]
    size = -(-len(items) // count)
    items.clear()
    for number in range(count):
        share = long[number::count]
        items += share + rest[: size - len(share)]
        rest = rest[size - len(share) :]


def _choose_databases(items: list[pytest.Item]) -> None:
    """Transactions that decide do so alone on both databases, so `make test` has each decision on one.

    Mostly on SQLite, where a test takes half as long.
    """
    twins: dict[str, dict[str, pytest.Item]] = {}
    for item in items:
        callspec = getattr(item, "callspec", None)
        kind = callspec.params.get("backend") if callspec is not None else None
        suite = item.path.stem.removeprefix("test_store_")
        if kind is not None and suite not in ON_BOTH:
            twins.setdefault(item.nodeid.replace(kind, "*"), {})[kind] = item
    for name, found in twins.items():
        if len(found) == 2:
            found["sqlite" if zlib.crc32(name.encode()) % 4 == 0 else "postgresql"].add_marker("full")


@pytest.fixture(autouse=True, scope="session")
def statements_compiled_once() -> Iterator[None]:
    """All SQLite files share what SQLAlchemy makes of a statement: a third of a store test's time."""
    first: list[sqlalchemy.Engine] = []

    def sharing(*args: Any, **kwargs: Any) -> sqlalchemy.Engine:
        engine = sqlalchemy.create_engine(*args, **kwargs)
        shared = first[0] if first else engine
        if not first:  # whichever connects first would initialize only the dialect that it was made with
            with sqlalchemy.create_engine("sqlite://").connect() as connection:
                shared.dialect.initialize(connection)
        first[:] = [shared]
        engine.dialect = engine.pool._dialect = shared.dialect
        engine._compiled_cache = shared._compiled_cache
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_sqlite, "create_engine", sharing)
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A RUNNER_HOME with a space in its name; no other setting is in the environment."""
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    folder = tmp_path / "runner home"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("RUNNER_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for all tests of this process; each has databases of its own there."""
    with _started(Postgres) as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    """One Redis for all tests of this process that leave it as they found it."""
    with _started(Redis) as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """One S3 for all tests of this process; each has a bucket of its own."""
    with _started(S3) as server:
        yield server


@contextmanager
def _started(kind: type[Server]) -> Iterator[Server]:
    try:
        server = kind()
    except NotInstalled as error:
        if "CI" in os.environ:
            raise
        pytest.skip(f"{error}, so nothing was shown against it")
    try:
        server.start()
        assert server.process is not None
        _lasting_servers.add(server.process.pid)
        yield server
    finally:
        server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """The kind of the database."""
    kind: str = request.param
    return kind


@pytest.fixture
def database_url(backend: str, request: pytest.FixtureRequest, home: Path) -> Iterator[str]:
    """The address of a database with nothing in it, or of the one that ``db`` has opened."""
    if backend == "sqlite":
        yield f"sqlite:///{home / 'runner.db'}"
        return
    template = "migrated_template" if "db" in request.fixturenames else None
    server: Postgres = request.getfixturevalue("postgres")
    name = server.create(request.getfixturevalue(template) if template else "template1")
    yield server.url(name)
    server.drop(name)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database in which nothing has happened yet: migrating one takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "runner.db"
    open_database(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session")
def migrated_template(postgres: Postgres) -> str:
    """The same on PostgreSQL: the name of a database to copy."""
    name = postgres.create(name="migrated")
    with closing(Database(postgres.url(name))) as database:
        schema.upgrade(database)
    return name


@pytest.fixture
def db(backend: str, database_url: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    """An open, migrated database."""
    if backend == "sqlite":
        shutil.copy(request.getfixturevalue("migrated"), database_url.removeprefix("sqlite:///"))
    with closing(open_database(database_url)) as database:
        yield database


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves threads or child processes; what wider fixtures started is theirs."""
    threads, children = set(threading.enumerate()), _children()
    yield
    end = time.monotonic() + SETTLE_SECONDS
    simulated = any(thread.name == "simulator" and thread.is_alive() for thread in threads)
    while left := [*_new_threads(threads), *_new_children(children, simulated)]:
        if time.monotonic() > end:
            pytest.fail(f"the test left behind: {', '.join(left)}")
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every socket of this process that would leave the machine."""
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))


def _guarded(call: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, *args: Any) -> Any:
        address = args[-1]
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(str(address[0])):
            raise AssertionError(f"a test may not reach {address!r}")
        return call(self, *args)

    return guarded


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host in ("localhost", "")


def _new_threads(before: set[threading.Thread]) -> list[str]:
    return [
        f"thread {thread.name}"
        for thread in threading.enumerate()
        if thread not in before and not thread.name.startswith(POOLED)
    ]


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _new_children(before: set[psutil.Process], simulated: bool) -> list[str]:
    found = []
    for child in _children() - before:
        try:
            command = " ".join(child.cmdline())
            if child.status() == psutil.STATUS_ZOMBIE and not _is_ours(child):
                continue  # its parent, a process that was there before, will wait for it
            if simulated and MARKER in child.environ():
                continue  # a machine of a simulated cloud that wider fixtures started
            if child.pid in (*_lasting_servers, prefork.pid()) or command.startswith("postgres: "):
                continue  # a server that all tests share, or one of a server's own
            if child.ppid() in _lasting_servers:
                continue  # one of its own that bears the server's name still: nobody has logged in to it yet
        except psutil.Error:
            continue
        if not any(helper in command for helper in HELPERS):
            found.append(f"process {child.pid} ({command or 'ended, but nobody waited for it'})")
    return found


def _is_ours(child: psutil.Process) -> bool:
    return child.ppid() == os.getpid()
