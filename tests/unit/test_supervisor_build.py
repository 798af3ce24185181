"""What is sent to a machine: as the golden files have it, within what a field or an argument may hold."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from workers.supervisor import bootstrap_script, go_payload, shell, startup_command, supervisor_script
from workers.supervisor.build import DeadlineCause

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
ATTEMPT = "abc123" + "0" * 20
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7ynhdoQ4UYKuC8mhmZkn2cJmGtn7PTbBGWlSrFNMfG somebody@somewhere"
ATTESTATION_KEY = bytes(range(32))


def _payload(
    command: str | list[str] = "true",
    env: dict[str, str] | None = None,
    deadline_seconds: int = 60,
    cause: DeadlineCause = "max_cost",
) -> bytes:
    return go_payload(
        command=command,
        env=env or {},
        deadline_seconds=deadline_seconds,
        deadline_cause=cause,
        grace_seconds=30,
        max_log_bytes=1 << 30,
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("startup_command.txt", startup_command(ATTEMPT, KEY, ATTESTATION_KEY) + "\n"),
        ("bootstrap.sh", bootstrap_script(ATTEMPT, KEY, ATTESTATION_KEY)),
        ("go_line.txt", _payload('echo "it\'s"\n', {"A": "1", "UID": "2"}).decode()),
        ("go_words.txt", _payload(["printf", "%s", "it's", "😁"], deadline_seconds=-5).decode()),
    ],
)
def test_golden(name: str, text: str) -> None:
    """Look at the difference; if it is meant: RUNNER_GOLDEN=write .venv/bin/python -P -m pytest THIS FILE."""
    path = GOLDEN / name
    if os.environ.get("RUNNER_GOLDEN") == "write":
        path.write_text(text)
    assert path.read_text() == text, (
        f"{path.relative_to(ROOT)} differs; if that is meant, regenerate it with\n"
        f"  RUNNER_GOLDEN=write .venv/bin/python -P -m pytest {Path(__file__).relative_to(ROOT)}"
    )


def test_the_startup_command_is_one_short_line_without_our_comments() -> None:
    line = startup_command(ATTEMPT, KEY, ATTESTATION_KEY)
    match = re.fullmatch(r"printf %s '([A-Za-z0-9+/=]+)' \| base64 --decode \| sh", line)
    assert match is not None
    script = base64.b64decode(match[1]).decode("ascii")
    assert script == bootstrap_script(ATTEMPT, KEY, ATTESTATION_KEY)
    assert "somebody" not in script
    assert len(line) < 24_000
    assert "@" not in re.sub(r'"?\$@"?|@ARGV', "", script), "a mark was left in"


@pytest.mark.parametrize("name", ["supervisor.sh", "bootstrap.sh", "keys_only.sh"])
def test_shellcheck(name: str) -> None:
    shellcheck = shutil.which("shellcheck", path=f"{ROOT}/.venv/bin:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("NOT TESTED: there is no shellcheck")
    script = ROOT / "workers" / "supervisor" / name
    done = subprocess.run([shellcheck, "-s", "sh", str(script)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize("sh", ["dash", "bash", "busybox"])
def test_what_is_shipped_parses(sh: str) -> None:
    if shutil.which(sh) is None:
        pytest.skip(f"NOT TESTED UNDER {sh}: not installed")
    words = [sh, "sh", "-n"] if sh == "busybox" else [sh, "-n"]
    for script in (supervisor_script(), bootstrap_script(ATTEMPT, KEY, ATTESTATION_KEY)):
        done = subprocess.run(words, input=script, capture_output=True, text=True, check=False)
        assert (done.stderr, done.returncode) == ("", 0)


def test_exec_lines() -> None:
    folder = f'sh "$HOME/.gpu-job-runner/{ATTEMPT}/supervisor.sh"'
    assert shell(ATTEMPT, "state") == f"{folder} state"
    assert shell(ATTEMPT, "follow", 12) == f"{folder} follow 12"
    assert shell(ATTEMPT, "stop", "a; b", 3) == f"{folder} stop 'a; b' 3"


@pytest.mark.parametrize("attempt", ["", "../x", "A", "a b", "a" * 65, "x\n"])
def test_what_is_no_attempt_is_refused(attempt: str) -> None:
    with pytest.raises(ValueError, match="attempt"):
        shell(attempt, "state")
    with pytest.raises(ValueError, match="attempt"):
        bootstrap_script(attempt, KEY, ATTESTATION_KEY)


@pytest.mark.parametrize(
    "key", ["", "ssh-rsa", "ssh-rsa AA'BB", "two words of nonsense!", "-----BEGIN KEY-----"]
)
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="public key"):
        bootstrap_script(ATTEMPT, key, ATTESTATION_KEY)


@pytest.mark.parametrize("command", ["", [], "a\0b", ["a", "b\0"]])
def test_what_no_process_can_be_given_is_refused(command: str | list[str]) -> None:
    with pytest.raises(ValueError, match="command"):
        _payload(command)


@pytest.mark.parametrize("env", [{"A-B": ""}, {"": ""}, {"1A": ""}, {"A": "\0"}, {"A\n": ""}])
def test_what_is_no_variable_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="environment"):
        _payload(env=env)


def test_a_payload_is_ascii_and_ends_with_its_proof() -> None:
    payload = _payload("echo €", {"A": "\udcff"})
    assert payload.isascii()
    lines = payload.decode().splitlines()
    assert lines[0] == "gpu-job-runner go 1 60 max_cost 30 1073741824 line"
    assert b"export A='\xff'" in base64.b64decode(lines[1])
    assert base64.b64decode(lines[2]) == "echo €\n".encode()
    assert lines[3:] == ["end"]


def test_the_shipped_script_is_the_one_that_was_tested() -> None:
    """Comments and indentation go; every other line stays, in order."""
    source = (ROOT / "workers" / "supervisor" / "supervisor.sh").read_text().splitlines()
    kept = [line.strip() for line in source[1:] if line.strip() and not line.lstrip().startswith("#")]
    assert supervisor_script().splitlines()[1:] == kept
    assert len(hashlib.sha256(supervisor_script().encode()).hexdigest()) == 64
