"""The container files: what they promise can be read off them, and the wheel holds what it should."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.acceptance.compose import (
    ROOT,
    Compose,
    dockerfile,
    dockerfile_environ,
    entrypoint,
    last_stage,
    of_image,
)

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PINNED = re.compile(r"[a-z-]+:\d+\.\d+(\.\d+)?(-[a-z]+)*(@sha256:[0-9a-f]{64})?")
SERVICES = ("postgres", "redis", "migrate", "worker")


@pytest.fixture
def compose(tmp_path: Path) -> Compose:
    """The file where nothing is set that it could take."""
    return Compose({}, tmp_path)


def test_docker_itself_takes_the_file(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    command = [docker or "docker", "compose"]
    if docker is None or subprocess.run([*command, "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed, so nothing was shown with it")
    done = subprocess.run(
        [*command, "--project-directory", str(tmp_path), "-f", str(ROOT / "docker-compose.yml"), "config"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("service", SERVICES)
def test_no_container_may_more_than_it_must(compose: Compose, service: str) -> None:
    about = compose.services[service]
    assert set(compose.services) == set(SERVICES)
    assert PINNED.fullmatch(about["image"]), about["image"]
    assert about["read_only"] is True
    assert about["cap_drop"] == ["ALL"]
    assert about["security_opt"] == ["no-new-privileges:true"]
    user, group = about["user"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert about["restart"] == ("no" if service == "migrate" else "unless-stopped")
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & about.keys()
    assert ("healthcheck" in about) == (service != "migrate")


def test_published_on_this_computer_only(compose: Compose, tmp_path: Path) -> None:
    """Unless somebody says otherwise."""
    ports = [port for about in compose.services.values() for port in about.get("ports", [])]
    assert ports == ["127.0.0.1:5432:5432", "127.0.0.1:6379:6379"]
    other = Compose({"PUBLISH_ADDRESS": "10.0.0.5", "POSTGRES_PORT": "6543"}, tmp_path)
    assert other.services["postgres"]["ports"] == ["10.0.0.5:6543:5432"]


def test_no_secret_stands_in_the_file(compose: Compose) -> None:
    """Each is a file; a variable names one, or takes what may be public from outside."""
    assert all(set(about) == {"file"} for about in compose.as_written["secrets"].values())
    used: set[str] = set()
    for about in compose.services.values():
        used.update(about["secrets"])
        for name, value in about.get("environment", {}).items():
            if name.endswith("_FILE") and value:  # an optional one is named in `.env`
                assert Path(value).name in about["secrets"], name
            else:
                assert not re.search(r"PASSWORD|KEY$|TOKEN|_URL$", name) or not value, name
    assert used == set(compose.as_written["secrets"])


def test_a_worker_waits_for_the_migration_and_has_time_to_end(compose: Compose) -> None:
    from runner.serving import STOP_SECONDS

    worker = compose.services["worker"]
    assert worker["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert worker["depends_on"]["postgres"] == {"condition": "service_healthy"}
    assert compose.container("worker").grace >= 1.5 * STOP_SECONDS
    assert worker["image"] == compose.services["migrate"]["image"]
    assert worker["image"] == f"gpu-job-runner:{PYPROJECT['project']['version']}"
    assert worker["image"].startswith(PYPROJECT["project"]["name"])
    assert "container_name" not in worker, "it could not be scaled"
    assert not worker.get("ports")


def test_the_image() -> None:
    bases = [rest.split()[0] for instruction, rest in dockerfile() if instruction == "FROM"]
    assert len(bases) == 2
    assert set(bases) == {bases[0]}, "what is built with one Python is run with it"
    assert PINNED.fullmatch(bases[0])
    major, minor = map(int, re.findall(r"\d+", bases[0])[:2])
    least = re.fullmatch(r">=(\d+)\.(\d+)", PYPROJECT["project"]["requires-python"])
    assert least is not None
    assert (major, minor) >= (int(least[1]), int(least[2]))
    assert entrypoint() == ["runner"]
    assert "runner" in PYPROJECT["project"]["scripts"]
    assert of_image("STOPSIGNAL") == "SIGTERM"
    assert of_image("VOLUME") == dockerfile_environ()["RUNNER_HOME"]
    assert [rest for instruction, rest in last_stage() if instruction == "USER"] == ["10001:10001"]
    installs = [rest for instruction, rest in dockerfile() if instruction == "RUN" and "pip install" in rest]
    for install in re.findall(r"pip install ([^&]+)", " ".join(installs)):
        assert "--require-hashes" in install or "--no-deps --no-index" in install, install


def test_the_user_of_the_image_is_that_of_the_file(compose: Compose) -> None:
    assert compose.services["worker"]["user"] == of_image("USER")
    made = next(rest for instruction, rest in last_stage() if instruction == "RUN")
    assert "--uid 10001 --gid 10001" in made
    assert f"install -d -o runner -g runner -m 0700 {of_image('VOLUME')}" in made


def test_the_script_that_makes_the_role_is_sound() -> None:
    shellcheck = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    assert shellcheck is not None
    script = ROOT / "docker" / "make-role.sh"
    done = subprocess.run([shellcheck, "-s", "sh", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert script.stat().st_mode & 0o111


def _copied(into: Path) -> None:
    """What the Dockerfile copies into its first stage, and .dockerignore lets it see."""
    rules = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    seen = {rule[1:] for rule in rules if rule.startswith("!")}
    hidden = [rule.removeprefix("**/") for rule in rules if rule.startswith("**/")]
    for instruction, rest in dockerfile():
        if instruction != "COPY" or rest.startswith("--from"):
            continue
        *sources, _ = rest.split()
        for source in sources:
            assert source in seen, f".dockerignore hides {source}"
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, into / source, ignore=shutil.ignore_patterns(*hidden))
            else:
                shutil.copy(ROOT / source, into / source)


def test_the_wheel_that_the_image_is_made_of(tmp_path: Path) -> None:
    """Built as the Dockerfile says, out of what it copies."""
    source = tmp_path / "src"
    source.mkdir()
    _copied(source)
    (command,) = [
        match[1]
        for instruction, rest in dockerfile()
        if (match := re.search(r"/opt/build/bin/python (-m hatchling [^&]+)", rest)) and instruction == "RUN"
    ]
    words = command.replace("/dist", str(tmp_path / "dist")).split()
    done = subprocess.run([sys.executable, *words], cwd=source, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    (wheel,) = (tmp_path / "dist").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    migrations = sorted((ROOT / "jobs" / "migrations" / "versions").glob("*.py"))
    assert migrations
    assert {file.relative_to(ROOT).as_posix() for file in migrations} <= names
    assert "workers/supervisor/supervisor.sh" in names
    typed = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("[jrw]*/py.typed"))
    assert typed
    assert set(typed) <= names
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"jobs", "workers", "runner"}
    ours = {
        path.relative_to(ROOT).as_posix()
        for top in ("jobs", "workers", "runner")
        for path in (ROOT / top).rglob("*.py")
    }
    assert ours <= names


def test_what_is_locked_for_the_build_is_what_it_needs() -> None:
    locked = (ROOT / "requirements-build.lock").read_text("utf-8")
    assert all(requirement.split(">")[0] in locked for requirement in PYPROJECT["build-system"]["requires"])
    assert PYPROJECT["dependency-groups"]["build"] == PYPROJECT["build-system"]["requires"]
    assert locked.count("--hash=sha256:") >= locked.count("==")
