"""The container files as Docker reads them, so that what they say can be run where there is no Docker.

Only what our files use is understood; anything else in them fails a test instead of being passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SECRETS = "/run/secrets/"
_REFERENCE = re.compile(r"\$(?:\$|\{(\w+)(?:(:-|:\?)([^}]*))?\})")


@dataclass(frozen=True)
class Container:
    """What one container is started with, in paths of this computer.

    ``words``: what follows the image's entry point.
    """

    words: list[str]
    environ: dict[str, str]
    grace: float


class Compose:
    """docker-compose.yml, its variables taken from *environ*, beside the folder *project*.

    ``services`` is the file as it stands, variables resolved.
    """

    def __init__(self, environ: Mapping[str, str], project: Path) -> None:
        text = (ROOT / "docker-compose.yml").read_text("utf-8")
        self.as_written: dict[str, Any] = yaml.safe_load(text)
        self._file: dict[str, Any] = _resolved(self.as_written, environ)
        self._project = project
        self.services: dict[str, dict[str, Any]] = self._file["services"]

    def secret(self, name: str) -> Path:
        """Where a secret lies on this computer."""
        return self._project / self._file["secrets"][name]["file"]

    def container(self, service: str) -> Container:
        """What Compose would start for a service that is built here."""
        about = self.services[service]
        environ = {**dockerfile_environ(), **about.get("environment", {})}
        places = {SECRETS + name: str(self.secret(name)) for name in about.get("secrets", [])}
        for mount in about.get("volumes", []):
            volume, _, inside = mount.partition(":")
            assert volume in self._file["volumes"], mount
            places[inside] = str(self._project / "volumes" / volume)
        del environ["PATH"]
        return Container(
            [str(word) for word in about["command"]],
            {name: _here(str(value), places) for name, value in environ.items()},
            seconds(about.get("stop_grace_period", "10s")),
        )

    def secrets_of(self, service: str, words: list[str]) -> list[str]:
        """A command of a service, with its secrets where they are on this computer."""
        found = list(words)
        for name in self.services[service]["secrets"]:
            found = [word.replace(SECRETS + name, f"'{self.secret(name)}'") for word in found]
        return found


def seconds(text: str) -> float:
    """A duration of Compose's."""
    match = re.fullmatch(r"(\d+)s", text)
    assert match is not None, text
    return float(match[1])


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, each with what follows it."""
    text = (ROOT / "Dockerfile").read_text("utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", " ")
    found = []
    for line in filter(None, text.splitlines()):
        instruction, _, rest = line.partition(" ")
        found.append((instruction, re.sub(r"\s+", " ", rest).strip()))
    return found


def last_stage() -> list[tuple[str, str]]:
    """The instructions that make the image itself."""
    lines = dockerfile()
    return lines[max(number for number, line in enumerate(lines) if line[0] == "FROM") :]


def of_image(instruction: str) -> str:
    """What the image's one instruction of this name says."""
    (found,) = [rest for name, rest in last_stage() if name == instruction]
    return found


def dockerfile_environ() -> dict[str, str]:
    """What the image sets for every container."""
    return dict(word.split("=", 1) for word in of_image("ENV").split())


def entrypoint() -> list[str]:
    words: list[str] = json.loads(of_image("ENTRYPOINT"))
    return words


def _here(value: str, places: Mapping[str, str]) -> str:
    """A path in a container as the path on this computer that is mounted there."""
    return places.get(value, value)


def _resolved(value: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _resolved(item, environ) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, environ) for item in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, how, other = match.groups()
        found = environ.get(name, "")
        assert found or how != ":?", f"{name} is required: {other}"
        return found or (other if how == ":-" else "")

    left = _REFERENCE.sub("", value)
    assert "$" not in left, value
    return _REFERENCE.sub(fill, value)
