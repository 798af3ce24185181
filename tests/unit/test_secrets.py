"""Secrets on their way into the database: whose they are, with which keys, and what is never repeated."""

from __future__ import annotations

import os
import stat
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.errors import InvalidJob, InvalidSettings
from jobs.secrets import (
    Cipher,
    Unreadable,
    cipher,
    ensure_cipher,
    existing_keys,
    from_environment,
    key_file,
)
from jobs.settings import Settings, load_settings
from jobs.spec import Spec, validate
from jobs.values import Secret

VALUE = "hf_a-value-that-nobody-may-see"
SECRETS = {"HF_TOKEN": Secret(VALUE)}


def new_key() -> str:
    return urlsafe_b64encode(os.urandom(32)).decode()


def settings(home: Path, **environ: str) -> Settings:
    return load_settings({"RUNNER_HOME": str(home), **environ}, anywhere=True)


def checked(home: Path, **options: object) -> Spec:
    return validate({"command": "true", "gpu": "gpu_1x_l40", **options}, settings(home))  # type: ignore[typeddict-item]


def test_there_and_back() -> None:
    ours = Cipher([new_key()])
    sealed = ours.seal("job1", SECRETS)
    assert VALUE not in sealed
    assert ours.open("job1", sealed) == SECRETS
    assert ours.seal("job1", SECRETS) != sealed


def test_the_keys_are_rotated() -> None:
    old, new = new_key(), new_key()
    sealed = Cipher([old]).seal("job1", SECRETS)
    assert Cipher([new, old]).open("job1", sealed) == SECRETS
    with pytest.raises(Unreadable, match="another RUNNER_SECRET_KEY"):
        Cipher([new]).open("job1", sealed)
    with pytest.raises(Unreadable):
        Cipher([old]).open("job1", Cipher([new, old]).seal("job1", SECRETS))


@pytest.mark.parametrize("sealed", ["", "gAAAA", "nonsense"])
def test_what_is_no_ciphertext_is_unreadable(sealed: str) -> None:
    with pytest.raises(Unreadable):
        Cipher([new_key()]).open("job1", sealed)


def test_a_row_that_was_copied_to_another_job_is_unreadable() -> None:
    ours = Cipher([new_key()])
    with pytest.raises(Unreadable, match="another one"):
        ours.open("job2", ours.seal("job1", SECRETS))


def test_the_key_s_file_is_made_once_and_is_private(tmp_path: Path) -> None:
    found = settings(tmp_path / "a" / "home")
    with pytest.raises(Unreadable, match="no key to read them"):
        cipher(found)
    assert existing_keys(found) == ()
    assert not key_file(found).exists(), "looking makes none"
    with ThreadPoolExecutor(16) as pool:
        keys = {made.keys for made in pool.map(lambda _: ensure_cipher(found), range(64))}
    assert len(keys) == 1
    assert stat.S_IMODE(key_file(found).stat().st_mode) == 0o600
    assert {cipher(found).keys, existing_keys(found)} == keys
    assert sorted(key_file(found).parent.iterdir()) == [key_file(found)], "no rest of the others"


def test_the_variable_comes_before_the_file(tmp_path: Path) -> None:
    first, second = new_key(), new_key()
    found = settings(tmp_path, RUNNER_SECRET_KEY=f"{first},{second}")
    assert ensure_cipher(found).keys == (first, second)
    assert not key_file(found).exists()


@pytest.mark.parametrize(
    ("content", "mode", "part"),
    [
        ("short", 0o600, "32 bytes"),
        ("é", 0o600, "no key"),
        ("", 0o600, "32 bytes"),
        ("A" * 44, 0o644, "chmod 600"),
    ],
)
def test_a_key_s_file_that_is_none(tmp_path: Path, content: str, mode: int, part: str) -> None:
    found = settings(tmp_path)
    key_file(found).write_text(content)
    key_file(found).chmod(mode)
    with pytest.raises(InvalidSettings, match=part) as caught:
        ensure_cipher(found)
    assert content.strip() == "" or content not in str(caught.value)
    with pytest.raises(Unreadable, match=part):
        cipher(found)


def test_nothing_shows_a_value(tmp_path: Path) -> None:
    spec = checked(tmp_path, secret={"HF_TOKEN": VALUE})
    assert spec.secrets == SECRETS
    assert VALUE not in repr(spec) + str(spec.secrets) + repr(Cipher([new_key()]))


def test_names_alone_are_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", VALUE)
    monkeypatch.setenv("MY_KEY", "another")
    spec = checked(tmp_path, secret=["HF_TOKEN", "WANDB_API_KEY=MY_KEY"])
    assert {name: value.reveal() for name, value in spec.secrets.items()} == {
        "HF_TOKEN": VALUE,
        "WANDB_API_KEY": "another",
    }


@pytest.mark.parametrize("word", ["HF_TOKEN", "HF_TOKEN=hf_pasted", "HF_TOKEN=", "=hf_pasted", ""])
def test_a_variable_that_is_not_set(word: str) -> None:
    """Somebody may have written the value behind the ``=``: it is not repeated."""
    with pytest.raises(InvalidJob, match=r"--secret .* not set") as caught:
        from_environment([word], "--secret", {"HF_TOKEN": ""})
    assert "hf_pasted" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"secret": "HF_TOKEN"}, "map names"),
        ({"secret": 5}, "map names"),
        ({"secret": [5]}, "takes names"),
        ({"secret": {"NO NAME": "x"}}, "no name of a variable"),
        ({"secret": {"RUNNER_X": "x"}}, "the runner's own"),
        ({"secret": {"A": 5}}, "must be a text"),
        ({"secret": {"A": ""}}, "is empty"),
        ({"secret": {"A": "x\0y"}}, "NUL"),
        ({"secret": {"A": "x" * 200_000}}, "128 KiB"),
        ({"secret": {"A": "x"}, "env": {"A": "y"}}, "give it once"),
        ({"secret": {f"A{n}": "x" * 100_000 for n in range(11)}}, "1 MiB"),
    ],
)
def test_what_makes_no_sense(tmp_path: Path, options: dict[str, object], part: str) -> None:
    with pytest.raises(InvalidJob, match=part):
        checked(tmp_path, **options)
