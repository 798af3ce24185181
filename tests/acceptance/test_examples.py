"""The documents are true: their examples run, their commands and links exist, their tables are complete.

In the README, ``console`` blocks hold commands that are run here, line by line, and ``python`` blocks
programs that are run as they stand. ``sh`` blocks are only checked: each `runner …` in them must parse.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from jobs import settings
from runner.cli import main
from runner.sim.faults import Faults, Rule
from tests.acceptance.harness import Installation

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
MACHINE_HAS = {"nvidia-smi": "uname -s"}
"""What a simulated machine lacks, and what stands in for it here."""
EXPORTED = {"HF_TOKEN": "hf_a-value-that-nobody-may-see"}
"""What the reader is told to have in the environment."""
MASKS = ((r"\bjob [a-z0-9]{12}\b", "job ID"), (r"\(pid \d+\)", "(pid N)"))


def _blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(encoding="utf-8"), re.M | re.S)


def _id(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


@pytest.mark.timeout(300)
def test_the_commands_of_the_readme(installation: Installation, tmp_path: Path) -> None:
    """In their order, as one person would type them; what they are shown to print, they print."""
    ran = _typed(README, installation, tmp_path)
    assert {"init", "gpus", "run", "submit", "up", "logs", "show", "pull", "down"} <= set(ran)
    installation.run("down")
    installation.nothing_left()


@pytest.mark.timeout(300)
def test_the_commands_of_files(served: Installation, tmp_path: Path) -> None:
    assert _typed(ROOT / "docs" / "files.md", served, tmp_path).count("run") == 3
    served.nothing_left()


def _typed(document: Path, installation: Installation, tmp_path: Path) -> list[str]:
    """Type the commands of a document, and look at what they print; the first words of all of them."""
    installation.environ |= EXPORTED
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text("print('training')\n")
    ran = []
    for block in _blocks(document, "console"):
        for words, shown in _commands(block):
            if words[0] == "ls" and words[1:]:
                assert sorted(path.name for path in (folder / words[1]).iterdir()) == shown
                continue
            done = installation.run(*words, cwd=folder, stdin=installation.sim.token.encode() + b"\n")
            said = done.stdout + done.stderr
            assert done.returncode == 0, (words, said)
            if words[0] != "init":
                assert installation.sim.token.encode() not in said
            assert not any(value.encode() in said for value in EXPORTED.values())
            printed = {_masked(line) for line in said.decode().splitlines()}
            assert [line for line in shown if _masked(line) not in printed] == [], (words, said.decode())
            ran.append(words[0])
        installation.run("wait", *installation.jobs())
    return ran


@pytest.mark.parametrize("number", range(len(_blocks(README, "python"))))
def test_the_python_of_the_readme(installation: Installation, tmp_path: Path, number: int) -> None:
    _run_python(_blocks(README, "python")[number], installation, tmp_path)
    installation.nothing_left()


def test_the_python_of_the_simulator(installation: Installation, tmp_path: Path) -> None:
    (program,) = _blocks(ROOT / "docs" / "simulator.md", "python")
    said = _run_python(program, installation, tmp_path)
    assert said == "0 ['once']\n1 deploy, 1 minute\n"


@pytest.mark.parametrize("document", DOCUMENTS, ids=_id)
def test_every_command_parses(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for block in [*_blocks(document, "console"), *_blocks(document, "sh")]:
        for line in block.splitlines():
            if line.removeprefix("$ ").startswith("runner "):
                _parse(shlex.split(line.removeprefix("$ "), comments=True)[1:], whole=True)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    for quoted in re.findall(r"`runner ([^`\n]+)`", prose):
        words = re.sub(r"\bCOMMAND\b", "run", quoted).replace("\n", " ").split()
        _parse(words[: words.index("--")] if "--" in words else words, whole=False)


@pytest.mark.parametrize("document", DOCUMENTS, ids=_id)
def test_every_link_and_every_named_test_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for label, target in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        file = document.parent / path if path else document
        assert file.exists(), f"{_id(document)} links to {target}"
        if anchor:
            assert anchor in _anchors(file), f"{_id(document)} links to {target}"
        if name := re.fullmatch(r"`(test_\w+)`", label):
            assert re.search(rf"^def {name[1]}\(", file.read_text(encoding="utf-8"), re.M), (target, name[1])


def test_every_setting_is_documented() -> None:
    """The table holds each setting, its variable and its default, and nothing else."""
    table = _table(ROOT / "docs" / "settings.md", "variable", "default")
    known = {setting.variable: (name, setting) for name, setting in settings._SETTINGS.items()}
    assert set(table) == {*known, "RUNNER_HOME"}
    home = Path("/a/home")
    found = settings.load_settings({}, home=home)
    for variable, (name, setting) in known.items():
        shown = table[variable].strip("`").replace("<RUNNER_HOME>", str(home))
        is_ = getattr(found, name)
        if shown in ("none", "empty"):
            assert is_ in (None, ""), variable
        else:
            assert setting.read(shown, variable) == is_, variable


def test_every_key_of_a_job_is_documented() -> None:
    """The example of a working folder's file holds every key that may stand there, and is valid."""
    import tomllib

    examples = [tomllib.loads(block) for block in _blocks(ROOT / "docs" / "settings.md", "toml")]
    assert set(examples[1]) == settings.JOB_KEYS
    keys = {setting.key for setting in settings._SETTINGS.values()}
    assert set(examples[0]) <= keys


def test_every_fault_is_documented() -> None:
    table = _table(ROOT / "docs" / "simulator.md", "fault", "value")
    assert set(table) == set(Faults.model_fields)
    rule = _table(ROOT / "docs" / "simulator.md", "field of a rule", "meaning")
    assert {name for names in rule for name in re.findall(r"\w+", names)} == set(Rule.model_fields)


def _commands(block: str) -> list[tuple[list[str], list[str]]]:
    """Each `$ runner …` and `$ ls FOLDER` of a block, with the lines that are shown below it."""
    found: list[tuple[list[str], list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            program, *words = shlex.split(line[2:], comments=True)
            assert program in ("runner", "ls"), line
            words = [program, *words] if program == "ls" else words
            found.append(([MACHINE_HAS.get(word, word) for word in words], []))
        else:
            found[-1][1].append(line)
    return found


def _masked(line: str) -> str:
    for pattern, mask in MASKS:
        line = re.sub(pattern, mask, line)
    return line


def _run_python(program: str, installation: Installation, folder: Path) -> str:
    file = folder / "example.py"
    file.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(file)],
        env=installation.environ,
        cwd=folder,
        capture_output=True,
        timeout=90,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    return done.stdout.decode()


def _parse(words: list[str], *, whole: bool) -> None:
    """Check a command line, without running it: *whole* as it stands, else only that all in it exists."""
    command: Any = typer.main.get_command(main.app)
    context = command.make_context("runner", [], resilient_parsing=True)
    while words and hasattr(command, "get_command") and not words[0].startswith("-"):
        name, words = words[0], words[1:]
        command = command.get_command(context, name)
        assert command is not None, f"there is no `runner {name}`"
        context = context.__class__(command, info_name=name, parent=context)
    if whole:
        command.parse_args(context, words)
        return
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    for word in words:
        if word.startswith("-"):
            assert word.partition("=")[0] in options, f"`{context.command_path}` has no {word}"


def _anchors(file: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _table(document: Path, first: str, second: str) -> dict[str, str]:
    """The first two columns of the table that has these two headings."""
    lines = iter(document.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith(f"| {first} | {second} |"):
            break
    next(lines)
    found = {}
    for line in lines:
        if not line.startswith("|"):
            break
        key, value = [cell.strip() for cell in line.split("|")][1:3]
        found[key.replace("`", "")] = value
    return found
