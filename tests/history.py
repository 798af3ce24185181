"""The repository's history: code of before, unpacked, and run with the interpreter and libraries of now."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCHEMA = "jobs/migrations/__init__.py"
HEAD = re.compile(r'^HEAD = "(\w+)"', re.MULTILINE)


def git(*words: str) -> str:
    """What git says; nothing where it refuses, or where there is no history."""
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def schema_of(commit: str) -> str | None:
    """The last migration that a commit knows; None where it has none."""
    found = HEAD.search(git("show", f"{commit}:{SCHEMA}"))
    return found[1] if found else None


def schemas() -> Iterator[tuple[str, str]]:
    """Each schema that main has ever had, and the last commit that had it; the newest first.

    Then those that only a branch had before it was merged: their migrations are on everybody's way too.
    """
    seen = set()
    for commit in _before_each_change():
        schema = schema_of(commit)
        if schema is not None and schema not in seen:
            seen.add(schema)
            yield schema, commit


def _before_each_change() -> Iterator[str]:
    """This commit, and those after which the schema may have become another one."""
    yield "HEAD"
    changes = "log", "--format=%P"
    for parents in git(*changes, "--first-parent", "HEAD", "--", SCHEMA).splitlines():
        yield from parents.split()[:1]
    for parents in git(*changes, "--full-history", "HEAD", "--", SCHEMA).splitlines():
        yield from parents.split()[1:]


def unpack(commit: str, folder: Path) -> Path:
    """The files of a commit, in a new folder."""
    archive = folder.with_suffix(".tar")
    subprocess.run(["git", "archive", "-o", archive, commit], cwd=ROOT, check=True)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    archive.unlink()
    return folder


def command(*words: str) -> Sequence[str]:
    """The command line; which code runs, the environment says."""
    return sys.executable, "-P", "-m", "runner", *words


def environ_of(code: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The same environment, in which the code in that folder is the one that is imported."""
    return {**environ, "PYTHONPATH": str(code)}


def run(code: Path, *words: str, environ: Mapping[str, str], cwd: Path) -> bytes:
    """One command of the code in that folder, to its end; what it printed. Fails where the command does."""
    done = subprocess.run(
        command(*words),
        env=environ_of(code, environ),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout
