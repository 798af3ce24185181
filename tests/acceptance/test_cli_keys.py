"""The account's SSH keys, as a person handles them; one of them is the one that reaches our machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.values import Secret
from runner.sim.faults import Rule
from tests.acceptance.account import FAILED, HOUR, UNREACHABLE, USAGE, Account, name, says
from tests.conformance.sim_client import new_key
from workers.cloud.client import Cloud
from workers.cloud.keys import ensure_account_key
from workers.ssh.keys import ensure_key


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A public key in a file, as ssh-keygen leaves it."""
    path = tmp_path / "a key.pub"
    path.write_text(f"{new_key().line} me@laptop\n")
    return path


def ours(account: Account) -> str:
    """Have the account know this runner's own key, as a service does; its name there."""
    pair = ensure_key(account.home / "ssh" / "id_ed25519")
    with Cloud(account.sim.url, Secret(account.sim.token)) as cloud:
        (found,) = ensure_account_key(cloud, pair.public_line, "gpu job runner")
    return found


def held(account: Account) -> list[str]:
    return [key["name"] for key in account.json("keys")]


def test_from_add_to_rm(account: Account, file: Path) -> None:
    assert account.json("keys") == account.json("keys", "ls") == []
    done = account.run("keys")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"no SSH keys" in done.stderr
    assert account.ok("keys", "add", "my laptop", str(file)).startswith("added my laptop (")
    (key,) = account.json("keys", "ls")
    text = " ".join(file.read_text().split()[:2])
    assert (key["name"], key["type"], key["public_key"], key["ours"]) == (
        "my laptop",
        "ssh-ed25519",
        text,
        False,
    )
    assert key["fingerprint"].startswith("SHA256:")
    assert account.ok("keys") == account.ok("keys", "ls")
    assert key["fingerprint"] in account.ok("keys")
    assert account.json("keys", "rm", "my laptop")["id"] == key["id"]
    assert held(account) == []
    assert account.json("keys", "add", "again", str(file))["public_key"] == text
    (key,) = account.json("keys")
    assert account.ok("keys", "rm", key["id"]) == f"removed again ({key['id']})\n"
    assert held(account) == []


def test_a_key_that_is_there_and_a_name_that_is_taken(account: Account, file: Path, tmp_path: Path) -> None:
    account.ok("keys", "add", "laptop", str(file))
    says(account.run("keys", "add", "laptop", str(file)), FAILED, "on the account already, as 'laptop'")
    says(account.run("keys", "add", "other", str(file)), FAILED, "on the account already, as 'laptop'")
    other = tmp_path / "other.pub"
    other.write_text(new_key().line)
    says(account.run("keys", "add", "laptop", str(other)), FAILED, "'laptop' is taken")
    assert held(account) == ["laptop"]


@pytest.mark.parametrize("text", ["", " ", "a-b", "schlüssel", " a", "a ", "x" * 65, "a\nb", "a\x1b[31m"])
def test_what_can_be_no_name(account: Account, file: Path, text: str) -> None:
    says(account.run("keys", "add", text, str(file)), USAGE, "name of a key")
    assert account.sim.requests() == ()


@pytest.mark.parametrize("content", ["", "hello", "ssh-ed25519 AAAA", "-----BEGIN OPENSSH PRIVATE KEY-----"])
def test_what_is_no_public_key(account: Account, tmp_path: Path, content: str) -> None:
    file = tmp_path / "file"
    file.write_text(content)
    says(account.run("keys", "add", "k", str(file)), USAGE, "key")
    assert account.sim.requests() == ()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("keys", "add", "k"), "FILE"),
        (("keys", "add", "k", "/no/such/file"), "cannot be read: no such file"),
        (("keys", "rm"), "NAME"),
        (("keys", "lst"), "lst"),
        (("keys", "--json", "ls"), "keys ls --json"),
    ],
)
def test_used_wrongly(account: Account, words: tuple[str, ...], part: str) -> None:
    says(account.run(*words), USAGE, part)
    assert account.sim.requests() == ()


def test_no_key_is_made_by_looking(account: Account) -> None:
    assert account.json("keys") == []
    assert not account.home.exists()


def test_ours_is_marked(account: Account, file: Path) -> None:
    found = ours(account)
    account.ok("keys", "add", "laptop", str(file))
    assert {key["name"]: key["ours"] for key in account.json("keys")} == {found: True, "laptop": False}
    assert [line.endswith("this runner's") for line in account.ok("keys").splitlines()[1:]] == [True, False]


def test_ours_stays_while_machines_of_the_fleet_live(account: Account, file: Path) -> None:
    found = ours(account)
    machine, other = name("default", HOUR), name("other", HOUR)
    (uuid, _) = account.rent(machine, other)
    account.ok("keys", "add", "laptop", str(file))
    says(account.run("keys", "rm", found), FAILED, machine)
    assert found in held(account)
    account.ok("keys", "rm", "laptop")  # another one is nobody's concern
    account.ok("terminate", uuid)
    account.ok("keys", "rm", found)  # machines of another fleet are reached by another key
    assert held(account) == []


def test_ours_is_removed_by_force(account: Account) -> None:
    found = ours(account)
    account.rent(name("default", HOUR))
    account.ok("keys", "rm", "--force", found)
    assert held(account) == []


def test_ours_stays_where_the_listing_cannot_be_read_whole(account: Account) -> None:
    found = ours(account)
    account.sim.faults.listing_bad_items = 1
    says(account.run("keys", "rm", found), FAILED, "only in part")
    assert held(account) == [found]


def test_where_our_own_key_cannot_be_used(account: Account) -> None:
    found = ours(account)
    (account.home / "ssh" / "id_ed25519").chmod(0o644)
    done = account.run("keys", "ls")
    assert (done.returncode, b"unknown" in done.stdout) == (0, True)
    assert b"not known" in done.stderr
    says(account.run("keys", "rm", found), USAGE, "chmod 600")
    account.ok("keys", "rm", "--force", found)


def test_a_key_that_is_not_there(account: Account) -> None:
    says(account.run("keys", "rm", "nope"), FAILED, "There is no key 'nope'")


@pytest.mark.parametrize("words", [("keys",), ("keys", "ls", "--json"), ("keys", "rm", "k")])
def test_an_account_without_keys(account: Account, words: tuple[str, ...]) -> None:
    account.sim.faults.no_key_api = True
    says(account.run(*words), FAILED, "keeps no SSH keys for this account (404)")


def test_an_account_without_keys_takes_none(account: Account, file: Path) -> None:
    account.sim.faults.no_key_api = True
    says(account.run("keys", "add", "k", str(file)), FAILED, "keeps no SSH keys for this account (404)")


def test_a_read_only_token_changes_nothing(account: Account, file: Path) -> None:
    account.ok("keys", "add", "laptop", str(file))
    account.environ["MASSED_COMPUTE_API_KEY"] = account.sim.read_only_token
    assert held(account) == ["laptop"]
    says(account.run("keys", "rm", "laptop"), UNREACHABLE, "may only read")
    file.write_text(new_key().line)
    says(account.run("keys", "add", "other", str(file)), UNREACHABLE, "may only read")
    assert held(account) == ["laptop"]


def test_an_answer_that_is_lost_is_looked_up(account: Account, file: Path) -> None:
    account.sim.faults.add(Rule(operation="addSshKey", kind="lost", times=1))
    assert account.json("keys", "add", "laptop", str(file))["id"] == account.json("keys")[0]["id"]
    assert len(account.sim.requests("addSshKey")) == 1
    account.ok("keys", "rm", "laptop")
    account.sim.faults.add(Rule(operation="addSshKey", status=503, times=1))
    says(account.run("keys", "add", "laptop", str(file)), UNREACHABLE, "503")
    assert held(account) == []
