"""`runner ssh`: beside the command that runs, by the system's own ssh."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
from pathlib import Path

import httpx
import psutil
import pytest

from tests.acceptance.harness import Installation
from tests.waiting import wait_until
from workers.ssh.keys import ensure_key

ARRANGEMENTS = ("service", "openssh", "workers")
IN_FULL = ("service", "workers")
WAITS = "echo begun; until [ -e done ]; do sleep 0.1; done"

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="NOT TESTED: there is no ssh here")


def _begun(served: Installation, command: str = WAITS, **options: object) -> str:
    job_id = served.submit(command, **options)
    served.until(job_id, "running")
    with served.quick() as client:
        assert next(iter(client.get(job_id).logs(follow=True))) == "begun"
    return job_id


def test_a_command_beside_the_one_that_runs(shared: Installation) -> None:
    """In its folder, with its environment, and with the exit code of its own."""
    job_id = _begun(shared, env={"WORD": "a b\nc"})
    assert shared.ok("ssh", job_id, "--", 'printf "%s " "$WORD" $RUNNER_JOB_ID; ls -a') == (
        f"a b\nc {job_id} .\n..\n"
    )
    assert shared.ok("ssh", job_id, "--", "printf", "%s|", "two words", "$HOME", "'") == "two words|$HOME|'|"
    done = shared.run("ssh", job_id, "--", "echo wrong >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"", b"wrong\n")
    assert shared.run("ssh", job_id, "--", "no-such-program-here", "x").returncode == 127
    shared.ok("ssh", job_id, "--", "touch", "done")
    assert shared.final(job_id)["state"] == "succeeded"
    done = shared.run("ssh", job_id)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b": succeeded; one can log in while its command runs" in done.stderr


def test_a_port_of_the_machine(shared: Installation, tmp_path: Path) -> None:
    serve = "import http.server as h; s=h.ThreadingHTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler)"
    program = (
        f"{serve}; open('port', 'w').write(str(s.server_port)); print('begun', flush=True); s.serve_forever()"
    )
    job_id = _begun(shared, f'exec python3 -c "{program}"')
    there = shared.ok("ssh", job_id, "--", "cat", "port")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        here = taken.getsockname()[1]
        done = shared.run("ssh", job_id, "-L", f"{here}:127.0.0.1:{there}", "--", "true")
        assert done.returncode == 1
        assert (
            done.stderr == f"runner: Port {here} of this computer is in use; forward another one.\n".encode()
        )
    forward = shared.spawn("ssh", job_id, "-L", f"{here}:127.0.0.1:{there}", "--", "sleep 1000")
    try:
        found: list[str] = []

        def answers() -> bool:
            assert forward.poll() is None, forward.communicate()
            with contextlib.suppress(httpx.HTTPError):
                found.append(httpx.get(f"http://127.0.0.1:{here}/port").text)
            return bool(found)

        wait_until(answers, timeout=30, what="the port of the machine, here")
        assert found == [there]
        children = psutil.Process(forward.pid).children()
        forward.send_signal(signal.SIGTERM)
        assert forward.wait(30) == 128 + signal.SIGTERM
        wait_until(lambda: not any(child.is_running() for child in children), what="the end of ssh")
    finally:
        forward.kill()
        forward.communicate()
    shared.ok("cancel", job_id)
    shared.final(job_id)


def test_the_secrets_of_the_command_are_in_no_argument(shared: Installation) -> None:
    value = "a-value-that-nobody-may-see"
    job_id = _begun(shared, env={"HIDDEN": value})
    assert shared.ok("ssh", job_id, "--", "printenv HIDDEN; tr '\\0' ' ' </proc/$$/cmdline").startswith(value)
    process = shared.spawn("ssh", job_id, "--", "echo there; sleep 1000")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        for pid in psutil.pids():
            with contextlib.suppress(OSError):
                assert value.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    finally:
        process.terminate()
        process.communicate()
    shared.ok("ssh", job_id, "--", "touch done")
    shared.final(job_id)


def test_another_host_key_is_refused(shared: Installation) -> None:
    from sqlalchemy import update

    from jobs.models import Attempt
    from tests.conformance.sim_client import new_key

    job_id = _begun(shared)
    with shared.quick() as client:
        attempt_id = client.views(limit=1)[0].attempts[-1].id
        with client.database.write() as session:
            was = new_key().line
            session.execute(update(Attempt).where(Attempt.id == attempt_id).values(host_key=was))
    done = shared.run("ssh", job_id, "--", "echo in")
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"does not show the host key SHA256:" in done.stderr
    assert b"Nothing was sent to it" in done.stderr
    shared.ok("cancel", job_id)
    shared.final(job_id)


def test_without_ssh_or_the_key(
    shared: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = _begun(shared)
    monkeypatch.setitem(shared.environ, "PATH", os.fspath(tmp_path))
    done = shared.run("ssh", job_id)
    assert done.returncode == 1
    assert b"There is no `ssh` on this computer; install OpenSSH's client" in done.stderr
    monkeypatch.undo()
    monkeypatch.setitem(shared.environ, "TMPDIR", os.fspath(tmp_path / "a folder, 100% odd"))
    (tmp_path / "a folder, 100% odd").mkdir()
    assert shared.ok("ssh", job_id, "--", "echo in") == "in\n"
    assert list((tmp_path / "a folder, 100% odd").iterdir()) == []
    assert shared.run("ssh", job_id, "--", "exit 255").stderr == b"", "that is the command's own code"
    other = ensure_key(tmp_path / "other")
    monkeypatch.setitem(shared.environ, "RUNNER_SSH_KEY", os.fspath(other.private_path))
    done = shared.run("ssh", job_id, "--", "echo in")
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"does not accept the key in RUNNER_SSH_KEY" in done.stderr
    monkeypatch.setitem(shared.environ, "RUNNER_SSH_KEY", os.fspath(tmp_path / "none"))
    done = shared.run("ssh", job_id)
    assert done.returncode == 1
    assert b"The key of the machines is not on this computer" in done.stderr
    monkeypatch.undo()
    shared.ok("ssh", job_id, "--", "touch done")
    shared.final(job_id)
