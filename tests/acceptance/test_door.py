"""The door of a machine: who is in between gets nothing, who has only its password does not get in."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path

import asyncssh
import pytest

from runner.sim.config import SimConfig
from runner.sim.machine import Machine
from runner.sim.simulator import Simulator
from tests.acceptance.conftest import Make
from tests.acceptance.harness import GPU, Installation
from tests.acceptance.test_secrets import DIGEST, TELLS, VALUE, new_key, submit
from tests.waiting import wait_until

ARRANGEMENTS = ("service", "openssh", "workers")
IN_FULL = ("service", "workers")


class Between:
    """An SSH server with a key of its own: it lets everybody in, and notes all that it is told and given."""

    def __init__(self, simulator: Simulator, attests: str, kind: str = "ssh-ed25519") -> None:
        self.simulator = simulator
        self.key = asyncssh.generate_private_key(kind)
        self.fingerprint: str = self.key.get_fingerprint("sha256")
        self.attests = attests
        self.told: list[str] = []
        self.given = b""
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="between", daemon=True)

    def __enter__(self) -> Between:
        self._thread.start()
        assert self._listening.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncssh.listen(
                "127.0.0.1",
                0,
                server_factory=_LetsIn,
                server_host_keys=[self.key],
                process_factory=self._answer,
                encoding=None,
            )
        )
        self.port = server.get_port()
        self._listening.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                self._loop.run_until_complete(task)
        self._loop.close()

    async def _answer(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self.told.append(process.command or "a shell")
        self.given += await process.stdin.read()
        if self.attests == "the machine's own":  # which it may have seen elsewhere
            (machine,) = self.simulator.instances()
            found = machine.home.glob
            attest = await asyncio.to_thread(
                wait_until, lambda: next(found(".gpu-job-runner/*/attest"), None), what="its attestation"
            )
            process.stdout.write(attest.read_bytes())
        elif self.attests == "its own, forged":
            process.stdout.write(b"ssh-ed25519 " + b"0" * 64 + b"\n")
        process.exit(0 if self.attests else 3)


class _LetsIn(asyncssh.SSHServer):
    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return True


@pytest.fixture
def trusting(make: Make, arrangement: str) -> Installation:
    return _make(make, arrangement)


def _make(make: Make, arrangement: str, **environ: str) -> Installation:
    key = {"RUNNER_SECRET_KEY": new_key()} if arrangement == "workers" else {}
    return make(SimConfig(boot_seconds=0.2), **key, **environ)


def _machine(installation: Installation) -> Machine:
    """The one machine, as soon as it is rented."""
    wait_until(lambda: installation.sim.instances(), timeout=60, what="a machine")
    (machine,) = installation.sim.instances()
    return machine


def _fingerprint(machine: Machine) -> str:
    return str(machine.host_key.get_fingerprint("sha256"))


@pytest.mark.arrangements(full=("service",))
@pytest.mark.parametrize(
    ("attests", "kind"),
    [
        ("the machine's own", "ssh-ed25519"),
        ("its own, forged", "ssh-ed25519"),
        pytest.param("", "ssh-ed25519", marks=pytest.mark.full),
        pytest.param("the machine's own", "ecdsa-sha2-nistp256", marks=pytest.mark.full),
    ],
)
def test_who_is_in_between_gets_nothing(
    trusting: Installation, attests: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No secret, no file, no command: only the question for the attestation, which everybody may hear."""
    trusting.up()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "mine").write_text("for nobody else")
    with Between(trusting.sim, attests, kind) as between:
        # What the network makes of the machine's address.
        address = property(lambda _: between.port, lambda *_: None)
        monkeypatch.setattr(Machine, "port", address, raising=False)
        job = submit(trusting, TELLS, "--workdir", str(folder), "--output", "*")
        done = trusting.final(job, timeout=150)
        assert (done["state"], done["reason"], len(done["attempts"])) == ("failed", "host_key", 1), done
        assert between.fingerprint in done["detail"]
        assert between.told
        assert all(line.endswith('supervisor.sh" attest') for line in between.told), between.told
        assert between.given == b""
    assert trusting.log(job) == b""
    trusting.nothing_left()


def test_a_key_that_changes_on_a_later_connection(trusting: Installation) -> None:
    """Also of a job without secrets: the first key is pinned for the attempt."""
    trusting.up()
    job = trusting.submit("echo begun; sleep 60")
    trusting.until(job, "running")
    wait_until(lambda: trusting.log(job) == b"begun\n", what="its log")
    machine = _machine(trusting)
    before = _fingerprint(machine)
    machine.host_key = asyncssh.generate_private_key("ssh-ed25519")
    if machine.sshd is not None:
        file: Path = machine.folder / "sshd" / "host_key"
        file.write_bytes(machine.host_key.export_private_key("openssh"))
    trusting.sim.drop_ssh(machine.uuid)
    done = trusting.final(job)
    assert (done["state"], done["reason"]) == ("failed", "host_key"), done
    assert before in done["detail"]
    assert _fingerprint(machine) in done["detail"]
    assert trusting.log(job) == b"begun\n"
    trusting.nothing_left()


def test_logins_by_password_are_off_before_anything_private_goes(trusting: Installation) -> None:
    trusting.up()
    job = submit(trusting, f"{TELLS}; until [ -e go-on ]; do sleep 0.05; done")
    running = trusting.until(job, "running", "failed")
    assert running["state"] == "running", running
    machine = _machine(trusting)
    assert not machine.password_login
    (work,) = machine.home.glob(".gpu-job-runner/*/run/work")
    (work / "go-on").touch()
    assert trusting.final(job)["state"] == "succeeded"
    assert trusting.log(job) == DIGEST
    shown = trusting.ok("show", job)
    assert "verified: it is the one that the machine itself has attested" in shown
    assert "HF_TOKEN, WANDB_API_KEY" in shown


@pytest.mark.parametrize(
    ("fault", "said"),
    [({"sudo": "refused"}, "a password is required"), ({"passwords_stay": True}, "offers password")],
    ids=str,
)
def test_where_they_stay_on_nothing_is_sent(
    trusting: Installation, fault: dict[str, object], said: str
) -> None:
    trusting.sim.faults.change(fault)
    trusting.up()
    job = submit(trusting, "echo it began; sleep 60")
    done = trusting.final(job)
    assert (done["state"], done["reason"], len(done["attempts"])) == ("failed", "host_key", 1), done
    assert said in done["detail"]
    assert done["started_at"] is None
    assert trusting.log(job) == b""
    assert VALUE not in trusting.tail() + str(done)
    assert done["attempts"][0]["instance_uuid"] is not None, "there was a machine, and it was asked"
    # A job without secrets is not concerned.
    other = trusting.ok("submit", *GPU, "--", "echo it began").strip()
    assert trusting.final(other)["state"] == "succeeded"


def test_whoever_wants_the_first_key_to_be_taken_gets_that(make: Make, arrangement: str) -> None:
    """RUNNER_HOST_KEYS counts for all jobs, also for those with secrets."""
    installation = _make(make, arrangement, RUNNER_HOST_KEYS="accept-new")
    installation.sim.faults.startup_skipped = 1
    installation.up()
    done = installation.final(submit(installation, TELLS))
    assert (done["state"], done["attempts"][0]["host_key"]) == ("succeeded", "accepted"), done
    assert "not verified" in installation.ok("show", done["id"])


@pytest.mark.full
def test_a_machine_that_attests_nothing_gets_no_secrets(trusting: Installation) -> None:
    trusting.sim.faults.host_keys = "missing"
    trusting.up()
    done = trusting.final(submit(trusting, TELLS), timeout=150)
    assert (done["reason"], len(done["attempts"])) == ("host_key", 1), done
    assert "has not attested" in done["detail"]
    assert "SHA256:" in done["detail"]
