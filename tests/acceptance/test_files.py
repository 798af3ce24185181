"""A folder to the machine and what is left of it back, whatever happens in between."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select, update

from jobs.files import workdir
from jobs.files.store import Artifacts
from jobs.models import Effect, Job
from jobs.store import leases, reads
from tests import crashing
from tests.acceptance.conftest import Make
from tests.acceptance.harness import GPU, Installation
from tests.disks import resize, small_disk
from tests.servers import S3
from tests.trees import awkward, picture
from tests.waiting import wait_until

ARRANGEMENTS = ("service", "openssh", "workers")
IN_FULL = ("service",)
CEILING = ("--max-cost", "5")
DAY = timedelta(days=1)


def _pulled(served: Installation, job_id: str, folder: Path) -> dict[str, Any]:
    with served.quick() as client:
        client.get(job_id).download(folder)
    return picture(folder)


def test_a_folder_goes_there_and_comes_back(shared: Installation, tmp_path: Path) -> None:
    """By the command line: every name, mode and link is there and comes back; what is ignored stays."""
    folder = awkward(tmp_path / "my folder")
    before = picture(folder)
    (folder / ".gitignore").write_text("*.log\n/build/\n!keep.log\n")
    (folder / ".runnerignore").write_text("notes\n")
    (folder / "in plain" / ".gitignore").write_text("!wanted.log\n")
    for name in ("a.log", "notes", ".git/config", "__pycache__/x.pyc", "build/x", "in plain/.venv/y"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("stays here")
    for name in ("keep.log", "in plain/wanted.log"):
        (folder / name).write_text("goes")
    command = ("sh", "-c", 'cat setup.txt && exec "./run me.sh"')
    options = (
        *GPU,
        *CEILING,
        "--workdir",
        str(folder),
        "--setup",
        "echo set up > setup.txt; echo setting up",
    )
    job_id = shared.ok("submit", *options, "--output", "**", "--", *command).strip()
    job = shared.final(job_id)
    assert (job["state"], job["workdir"]["files"] > 20) == ("succeeded", True), (job, shared.tail())
    assert shared.log(job_id) == b"setting up\nset up\nit ran\n"
    results = tmp_path / "results"
    shared.ok("pull", job_id, str(results))
    found = picture(results)
    for name, what in before.items():
        if not (folder / name).is_dir():
            assert found.pop(name) == what, name
    there = {name for name in found if not (results / name).is_dir()}
    assert there == {
        *(".gitignore", ".runnerignore", "keep.log", "setup.txt"),
        *("in plain/.gitignore", "in plain/wanted.log"),
    }
    assert (results / "no files").is_dir()
    assert job["attempts"][0]["host_key"] == "attested"
    assert job["attempts"][0]["outputs"]["complete"]
    shared.nothing_left()


@pytest.mark.parametrize(
    ("command", "options", "end"),
    [
        ("exit 5", {}, ("failed", "exit_code", 5)),
        ("sleep 1000", {"max_runtime": "2s"}, ("expired", "max_runtime", 143)),
        ("true", {"setup": "echo partial > out/second; exit 3"}, ("failed", "setup_failed", None)),
    ],
)
def test_outputs_come_back_however_it_ends(
    shared: Installation, tmp_path: Path, command: str, options: dict[str, Any], end: tuple[Any, ...]
) -> None:
    folder = tmp_path / "work"
    (folder / "out").mkdir(parents=True)
    (folder / "out" / "first").write_text("first")
    job_id = shared.submit(
        f"echo second > out/second; {command}", workdir=folder, output=["out", "none/*"], **options
    )
    job = shared.final(job_id)
    assert (job["state"], job["reason"], job["exit_code"]) == end, (job, shared.tail())
    found = _pulled(shared, job_id, tmp_path / "results")
    assert {name for name in found if name != "out"} == {"out/first", "out/second"}
    assert "outputs_failed: nothing matches 'none/*'" in job["detail"], "what did not come is named"
    shared.nothing_left()


def test_outputs_of_a_job_that_is_cancelled(shared: Installation, tmp_path: Path) -> None:
    job_id = shared.submit("echo half > result; echo begun; sleep 1000", output="result")
    shared.until(job_id, "running")
    with shared.quick() as client:
        assert next(iter(client.get(job_id).logs(follow=True))) == "begun"
    shared.ok("cancel", job_id)
    job = shared.final(job_id)
    assert (job["state"], job["attempts"][0]["outputs"]["complete"]) == ("cancelled", True)
    assert list(_pulled(shared, job_id, tmp_path / "results")) == ["result"]


@pytest.mark.arrangements(full=("service", "openssh"))
def test_a_spot_machine_lost_twice(shared: Installation, tmp_path: Path) -> None:
    """Each attempt goes on from the last copy of the one before; no half file is ever taken for a copy."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.sh").write_text(
        """
        n=$(cat checkpoint 2>/dev/null || echo 0)
        echo "attempt $RUNNER_ATTEMPT resume ${RUNNER_RESUME:-0} from $n"
        exec 3>torn; echo half >&3  # open all the time: never whole
        while [ "$n" -lt 6 ]; do
            n=$((n + 1)); echo "$n" > new && mv new checkpoint
            while [ "$n" = $((RUNNER_ATTEMPT * 2)) ] && [ "$n" -lt 6 ]; do sleep 0.2; done
        done
        """
    )
    job_id = shared.submit(
        ["sh", "train.sh"], workdir=folder, output=["checkpoint", "torn"], sync_every="1s", retries=2
    )
    for attempt in (1, 2):
        got = tmp_path / f"{attempt}"
        uuid = _synced(shared, job_id, attempt, got, f"{2 * attempt}\n")
        assert not (got / "torn").exists()
        shared.sim.vanish(uuid)
    done = shared.final(job_id)
    assert (done["state"], [a["outcome"] for a in done["attempts"]]) == (
        "succeeded",
        ["lost", "lost", "exit_code"],
    ), (done, shared.tail())
    said = [line for line in shared.log(job_id).decode().splitlines() if line.startswith("attempt")]
    assert said == ["attempt 1 resume 0 from 0", "attempt 2 resume 1 from 2", "attempt 3 resume 1 from 4"]
    _pulled(shared, job_id, tmp_path / "results")
    assert (tmp_path / "results" / "checkpoint").read_text() == "6\n"
    assert (tmp_path / "results" / "torn").read_text() == "half\n", "now that nobody writes it it is whole"
    shared.nothing_left()


KILLS = """
import os, time
home = os.environ["HOME"].encode()
while True:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = open(f"/proc/{pid}/cmdline", "rb").read()
            if b"\\0send\\0" + home in line:
                os.kill(int(pid), 9)
                raise SystemExit
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            pass
"""


@pytest.mark.arrangements(full=("service", "workers"))
def test_a_sync_that_fails_is_not_the_last(shared: Installation, tmp_path: Path) -> None:
    """Its end on the machine is killed in the middle of it; the command, and whoever follows it, go on."""
    job_id = shared.submit(
        "python3 kills.py && echo one > checkpoint && sleep 1000",
        workdir=_with(tmp_path / "folder", "kills.py", KILLS),
        output="checkpoint",
        sync_every="1s",
    )
    _synced(shared, job_id, 1, tmp_path / "results", "one\n")
    shared.ok("cancel", job_id)
    assert shared.final(job_id)["attempts"][0]["outputs"]["complete"]
    shared.nothing_left()


@pytest.mark.full
def test_superseded_copies_do_not_pile_up(shared: Installation) -> None:
    """What stays is the last copy, and the one before it for whoever is reading that."""
    endless = "while :; do head -c 200000 /dev/urandom > new; mv new out; sleep 1.5; done"
    job_id = shared.submit(endless, output="out", sync_every="1s")
    seen: set[str] = set()

    def synced() -> bool:
        attempts = reads.show(client.database, job_id).attempts
        seen.update(item.outputs for item in attempts if item.outputs_state and item.outputs)
        return len(seen) > 4

    with shared.quick() as client:
        wait_until(synced, timeout=60, what="several copies")
        (attempt,) = reads.show(client.database, job_id).attempts
        place = Path(client.settings.artifacts) / "outputs" / attempt.id
    shared.ok("cancel", job_id)
    assert shared.final(job_id)["attempts"][0]["outputs"]["complete"]
    kept = [path for path in place.rglob("*") if path.is_file()]
    assert len(kept) <= 4, "two lists, and a piece of each"
    shared.nothing_left()


def _with(folder: Path, name: str, text: str) -> Path:
    folder.mkdir()
    (folder / name).write_text(text)
    return folder


def _synced(served: Installation, job_id: str, attempt: int, folder: Path, expected: str) -> str:
    """Wait until the checkpoint of an attempt has come while it runs; its machine's uuid."""
    with served.quick() as client:
        job = client.get(job_id)

        def there() -> str | None:
            job.refresh()
            if len(job.attempts) < attempt or job.state != "running":
                return None
            try:
                job.download(folder)
            except ValueError:
                return None
            found = (folder / "checkpoint").read_text() == expected
            return job.attempts[-1].instance_uuid if found else None

        uuid: str = wait_until(there, timeout=60, what=f"the copy of attempt {attempt}")
        return uuid


def _moving(served: Installation, job_id: str, what: str) -> str:
    """Wait until a transfer is in the middle; the machine's uuid."""
    with served.quick() as client:

        def middle() -> str | None:
            view = reads.show(client.database, job_id)
            last = view.attempts[-1] if view.attempts else None
            if last is None or last.transfer is None or last.transfer["what"] != what:
                return None
            return last.instance_uuid if 0 < last.transfer["bytes"] < last.transfer["of"] else None

        found: str = wait_until(middle, timeout=60, what=f"the middle of {what}")
        return found


@pytest.mark.arrangements(full=("service", "workers"))
def test_cut_in_the_middle_of_both_ways(make: Make, tmp_path: Path) -> None:
    served = make()
    _there_and_back_again(served, tmp_path, served.sim.drop_ssh)


@pytest.mark.arrangements(full=("service", "openssh"))
def test_killed_in_the_middle_of_both_ways(make: Make, tmp_path: Path) -> None:
    served = make()

    def kill(_: str) -> None:
        served.stop(signal.SIGKILL)
        served.up()

    _there_and_back_again(served, tmp_path, kill)


def _there_and_back_again(served: Installation, tmp_path: Path, breaks: Callable[[str], None]) -> None:
    """Whatever breaks in the middle of a transfer: it goes on where it was, and the trees are the same."""
    served.up()
    folder = awkward(tmp_path / "work", large=120_000_000)
    before = picture(folder)
    job_id = served.submit("echo it runs", workdir=folder, output="**")
    for what in ("bringing files", "fetching outputs"):
        breaks(_moving(served, job_id, what))
    job = served.final(job_id)
    assert (job["state"], len(job["attempts"])) == ("succeeded", 1), (job, served.tail())
    assert job["attempts"][0]["outputs"]["complete"], job
    assert served.log(job_id) == b"it runs\n"
    found = _pulled(served, job_id, tmp_path / "results")
    assert {name: what for name, what in found.items() if not isinstance(what, int)} == {
        name: what for name, what in before.items() if not isinstance(what, int)
    }
    served.nothing_left()


def test_a_store_that_is_down_at_the_end_and_comes_back(make: Make, tmp_path: Path) -> None:
    served = make()
    served.up()
    job_id = served.submit("echo result > out; until [ -e go ]; do sleep 0.1; done", output="out")
    job = served.until(job_id, "running")
    work = served.sim.machine(job["attempts"][0]["instance_uuid"]).home / ".gpu-job-runner"
    go = wait_until(lambda: next(work.glob("*/run/work"), None), what="the folder of the job") / "go"
    with served.without_store():
        go.touch()
        served.until(job_id, "finishing")
        wait_until(lambda: "its outputs wait on the machine" in served.tail(), what="its absence is seen")
    job = served.final(job_id)
    assert (job["state"], job["attempts"][0]["outputs"]["complete"]) == ("succeeded", True), served.tail()
    assert list(_pulled(served, job_id, tmp_path / "results")) == ["out"]
    served.nothing_left()


@pytest.mark.arrangements(full=("service", "openssh"))
def test_disks_that_are_full(make: Make, tmp_path: Path) -> None:
    """The store's when a folder goes in and when outputs do, and that of the person who pulls."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "noise").write_bytes(os.urandom(6_000_000))
    with small_disk(tmp_path / "store", "3m") as disk, small_disk(tmp_path / "mine", "3m") as mine:
        served = make(RUNNER_ARTIFACTS_URL=str(disk))
        served.up()
        done = served.run("submit", *GPU, "--workdir", str(tmp_path / "folder"), "--", "true")
        assert (done.returncode, done.stdout) == (3, b""), done.stderr
        assert b"cannot write workdirs/" in done.stderr
        assert b": no space left on device." in done.stderr
        assert b"Traceback" not in done.stderr
        assert served.jobs() == []
        job_id = served.submit("head -c 6000000 /dev/urandom > out; sha256sum < out", output="out")
        served.until(job_id, "finishing")
        wait_until(lambda: "its outputs wait on the machine" in served.tail(), what="the full disk is seen")
        resize(disk, "30m")
        job = served.final(job_id)
        assert (job["state"], job["attempts"][0]["outputs"]["complete"]) == ("succeeded", True), served.tail()
        assert not list(disk.rglob(".*")), "what could not be kept is gone"
        done = served.run("pull", job_id, str(mine))
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.startswith(f"runner: {mine} cannot be written to: no space left on".encode())
        assert done.stderr.count(b"\n") == 1
        assert not (mine / "out").exists(), "a file is there when it is whole"
        resize(mine, "30m")
        served.ok("pull", job_id, str(mine))
        assert [path.name for path in mine.iterdir()] == ["out"]
        with (mine / "out").open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == served.log(job_id).split()[0].decode()
        served.nothing_left()


@pytest.mark.arrangements("openssh")
def test_another_store_than_that_of_the_service(shared: Installation, tmp_path: Path) -> None:
    """It would look for the files where none are, on a machine that is paid for."""
    before = dict(shared.environ)
    shared.environ["RUNNER_ARTIFACTS_URL"] = str(tmp_path / "another")
    try:
        done = shared.run("submit", *GPU, *CEILING, "--output", "x", "--", "true")
    finally:
        shared.environ = before
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"RUNNER_ARTIFACTS_URL is not that of the service that runs (pid " in done.stderr
    assert b"`runner down` first" in done.stderr


@pytest.mark.arrangements(full=("service", "workers"))
def test_the_same_folder_is_stored_once(shared: Installation, tmp_path: Path) -> None:
    folder = awkward(tmp_path / "work", large=3_000_000)
    with shared.quick() as client:
        store = Path(client.settings.artifacts)
        first = [client.submit("true", gpu=GPU[1], max_cost=5, workdir=folder).id]
        before = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
        specs = [{"command": "true", "gpu": GPU[1], "max_cost": 5, "workdir": folder} for _ in range(50)]
        first += [job.id for job in client.submit_many(specs)]  # type: ignore[arg-type]
        after = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
        assert after == before
        (folder / "new").write_text("a small file")
        first.append(client.submit("true", gpu=GPU[1], max_cost=5, workdir=folder).id)
        added = sum(path.stat().st_size for path in store.rglob("*") if path.is_file() and path not in after)
        assert added < 50_000, "a changed file does not cost the others"
        for job_id in first:
            client.get(job_id).cancel()
    for job_id in first:
        shared.final(job_id)
    shared.nothing_left()


def _submit(served: Installation, folder: Path, order: str) -> subprocess.CompletedProcess[bytes]:
    """`runner submit`, which does as it is told at its points."""
    before = dict(served.environ)
    served.environ[crashing.VARIABLE] = order
    try:
        return served.run("submit", *GPU, *CEILING, "--workdir", str(folder), "--", "cat data")
    finally:
        served.environ = before


def _named(served: Installation) -> set[str]:
    """All objects in the store that a job's folder is made of."""
    with served.quick() as client, client.database.read() as session:
        store = Artifacts(client.settings.artifacts)
        keys = [key for key in session.execute(select(Job.workdir)).scalars() if key is not None]
        return {*keys, *(piece.key for key in keys for piece in store.tree(key).pieces)}


@pytest.mark.arrangements("service")
def test_a_submit_that_is_killed_leaves_nothing(make: Make, tmp_path: Path) -> None:
    """At each of its points: no job, or one that runs; and what nobody names is removed when it is old."""
    served = make()
    store, folder, noted = served.home / "artifacts", tmp_path / "work", tmp_path / "points"
    folder.mkdir()

    def fill(number: int) -> None:
        (folder / "data").write_text(f"{number}\n")
        (folder / "noise").write_bytes(os.urandom(workdir.ALONE_BYTES))

    def stored() -> set[str]:
        return {str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()}

    fill(0)
    assert _submit(served, folder, f"note:{noted}").returncode == 0
    passed = noted.read_text().splitlines()
    points = [point for point in passed if re.search(r"artifact|store/(uploads|submissions)", point)]
    assert len(points) >= 6, passed
    contents = ["0"]
    for number, point in enumerate(points, 1):
        fill(number)
        assert _submit(served, folder, f"kill:{point}").returncode == -signal.SIGKILL, point
        if len(served.jobs()) > len(contents):
            contents.append(str(number))
    assert 1 < len(contents) < len(points), "some are killed before the job is there, some after"
    wanted = _named(served)
    left = stored() - wanted
    assert left
    with served.quick() as client, client.database.write() as session:
        long_ago = client.database.now(session) - 3 * DAY
        session.execute(update(Effect).values(began_at=long_ago, seen_at=long_ago))
    assert "came to nothing (first " in served.run("doctor").stdout.decode()
    for name in left:
        os.utime(store / name, (long_ago.timestamp(), long_ago.timestamp()))
    served.up()
    wait_until(lambda: stored() == wanted, timeout=60, what="the end of what nobody names")
    jobs = served.jobs()
    assert sorted(served.final(job_id)["state"] for job_id in jobs) == ["succeeded"] * len(contents)
    assert sorted(served.log(job_id).decode().strip() for job_id in jobs) == sorted(contents)
    assert re.search(r"^ok +uploads ", served.ok("doctor"), re.M)
    served.nothing_left()


@pytest.mark.arrangements("workers")
def test_workers_that_share_a_store_in_s3(
    make: Make, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who submits, who attends and who pulls have homes of their own, and nothing but S3 in common."""
    for name, value in s3.environ.items():
        monkeypatch.setenv(name, value)
    served = make(RUNNER_ARTIFACTS_URL=s3.url("shared"), **s3.environ)
    served.up()
    folder = awkward(tmp_path / "work", large=20_000_000)
    job_id = served.submit("echo more > result", workdir=folder, output="**")
    job = served.final(job_id)
    assert (job["state"], job["attempts"][0]["outputs"]["complete"]) == ("succeeded", True), served.tail()
    found = _pulled(served, job_id, tmp_path / "results")
    assert found.pop("result")
    assert {name for name, what in found.items() if not isinstance(what, int)} == {
        name for name, what in picture(folder).items() if not isinstance(what, int)
    }
    done = served.run("submit", *GPU, "--workdir", str(folder), "--", "true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    another = done.stdout.decode().strip()
    served.ok("cancel", another)
    assert served.final(another)["state"] == "cancelled"
    served.environ["RUNNER_ARTIFACTS_URL"] = s3.url("another")
    done = served.run("submit", *GPU, "--workdir", str(folder), "--", "true")
    assert done.returncode == 2
    assert b"RUNNER_ARTIFACTS_URL is not that of the workers" in done.stderr
    served.nothing_left()


def _resident(served: Installation) -> int:
    """The memory of the largest process that attends to jobs, in bytes; those that were killed have none."""
    sizes = [0]
    with served.quick() as client:
        for worker in leases.workers(client.database):
            with suppress(psutil.Error):
                sizes.append(psutil.Process(worker.pid).memory_info().rss)
    return max(sizes)


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.arrangements("service", "workers")
@pytest.mark.parametrize("breaks", ["connection", "killed"])
def test_ten_thousand_files_and_a_large_one(make: Make, tmp_path: Path, breaks: str) -> None:
    """1 GB and 10,000 files there and back, cut in the middle of both; memory stays flat."""
    served = make()
    served.up()
    folder = awkward(tmp_path / "work", large=1_000_000_000)
    for number in range(10_000):
        inner = folder / f"{number % 100} of ünïts"
        inner.mkdir(exist_ok=True)
        (inner / f"file {number}").write_bytes(b"%d" % number * (number % 500))
    before = picture(folder)
    job_id = served.submit("echo it runs", workdir=folder, output="**")
    largest = 0
    for what in ("bringing files", "fetching outputs"):
        uuid = _moving(served, job_id, what)
        largest = max(largest, _resident(served))
        if breaks == "connection":
            served.sim.drop_ssh(uuid)
        else:
            served.stop(signal.SIGKILL)
            served.up()
    job = served.final(job_id, timeout=400)
    largest = max(largest, _resident(served))
    assert (job["state"], len(job["attempts"])) == ("succeeded", 1), (job, served.tail())
    assert job["attempts"][0]["outputs"]["complete"], job
    assert largest < 400 << 20, "no file is held in memory"
    found = _pulled(served, job_id, tmp_path / "results")
    assert {name: what for name, what in found.items() if not isinstance(what, int)} == {
        name: what for name, what in before.items() if not isinstance(what, int)
    }
    served.nothing_left()
