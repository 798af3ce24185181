"""Our key: made once however many come at once, private, and refused in plain words where it is not."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519, rsa

from jobs.errors import InvalidJob, InvalidSettings
from workers.ssh.keys import ensure_key, existing_key, load_key, read_public_key


def test_it_is_made_once_private_and_without_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "a home" / "keys" / "ssh_key"
    made = ensure_key(path)
    assert ensure_key(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["ssh_key"]
    assert path.read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    kind, blob = made.public_line.split(" ")
    assert kind == "ssh-ed25519"
    assert load_key(path).get_base64() == blob
    assert load_key(path).fingerprint == made.fingerprint
    assert "PRIVATE" not in repr(made)


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="NOT COMPARED WITH OpenSSH: no ssh-keygen")
def test_openssh_reads_it_the_same(tmp_path: Path) -> None:
    made = ensure_key(tmp_path / "key")
    for option, expected in (("-y", made.public_line), ("-l", made.fingerprint)):
        done = subprocess.run(
            ["ssh-keygen", option, "-f", str(made.private_path)], capture_output=True, text=True, check=True
        )
        assert expected in done.stdout


def test_processes_that_come_at_the_same_time_get_the_same_key(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from workers.ssh.keys import ensure_key\n"
        "print('ready', flush=True); sys.stdin.readline(); print(ensure_key(Path(sys.argv[1])).public_line)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "new" / "key")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(5)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    lines = {process.communicate(timeout=60)[0] for process in processes}
    assert lines == {ensure_key(tmp_path / "new" / "key").public_line + "\n"}
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_without_hard_links_it_is_made_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    made = ensure_key(tmp_path / "key")
    assert ensure_key(tmp_path / "key") == made
    assert len(list(tmp_path.iterdir())) == 1


def _written(path: Path, key: object, password: bytes | None = None) -> Path:
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        protection = serialization.BestAvailableEncryption(password)
    private_bytes = key.private_bytes  # type: ignore[attr-defined]
    form = serialization.PrivateFormat.OpenSSH
    if isinstance(key, ed448.Ed448PrivateKey):
        form = serialization.PrivateFormat.PKCS8
    path.write_bytes(private_bytes(serialization.Encoding.PEM, form, protection))
    path.chmod(0o600)
    return path


def test_a_key_of_the_users_own_will_do(tmp_path: Path) -> None:
    path = _written(tmp_path / "rsa", rsa.generate_private_key(65537, 2048))
    assert ensure_key(path).public_line == f"ssh-rsa {load_key(path).get_base64()}"


def test_what_is_no_usable_key_is_said_in_a_sentence(tmp_path: Path) -> None:
    locked = _written(tmp_path / "locked", ed25519.Ed25519PrivateKey.generate(), b"secret")
    with pytest.raises(InvalidSettings, match="has a passphrase"):
        ensure_key(locked)
    odd = _written(tmp_path / "odd", ed448.Ed448PrivateKey.generate())
    with pytest.raises(InvalidSettings, match="of a kind that is not supported"):
        ensure_key(odd)
    public = tmp_path / "public"
    public.write_text(ensure_key(tmp_path / "key").public_line)
    public.chmod(0o600)
    with pytest.raises(InvalidSettings, match="holds no private key"):
        ensure_key(public)
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(InvalidSettings, match="chmod 600"):
        ensure_key(tmp_path / "key")
    with pytest.raises(InvalidSettings, match="cannot be used: is a directory"):
        ensure_key(tmp_path)
    with pytest.raises(InvalidSettings, match="public is not a folder"):
        ensure_key(public / "key")
    with pytest.raises(InvalidSettings, match="cannot be read: no such file"):
        load_key(tmp_path / "none")
    (tmp_path / "empty").touch(mode=0o600)
    with pytest.raises(InvalidSettings, match="holds no private key"):
        ensure_key(tmp_path / "empty")


def test_a_key_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    assert existing_key(tmp_path / "ssh" / "key") is None
    assert list(tmp_path.iterdir()) == []
    made = ensure_key(tmp_path / "key")
    assert existing_key(tmp_path / "key") == made
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(InvalidSettings, match="chmod 600"):
        existing_key(tmp_path / "key")
    with pytest.raises(InvalidSettings, match="cannot be read"):
        existing_key(tmp_path / "key" / "below")


def test_a_public_key_is_read_without_its_comment(tmp_path: Path) -> None:
    made = ensure_key(tmp_path / "key")
    file = tmp_path / "key.pub"
    for text in (f"{made.public_line} me@laptop\n", f"# mine\r\n\r\n{made.public_line}", made.public_line):
        file.write_text(text)
        assert read_public_key(file) == made.public_line


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "one public key on one line"),
        (b"ssh-ed25519 AAAA\nssh-ed25519 BBBB\n", "one public key on one line"),
        (b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", "no public key"),
        (b"ssh-ed25519", "no public key"),
        ("ssh-ed25519 ключ".encode(), "no public key"),
        (b"ssh-nothing AAAA", "no public key"),
        (b"\x00\xff", "no public key"),
        (b"x" * 100_000, "one public key on one line"),
    ],
)
def test_what_is_no_public_key(tmp_path: Path, content: bytes, part: str) -> None:
    file = tmp_path / "key.pub"
    file.write_bytes(content)
    with pytest.raises(InvalidJob, match=part):
        read_public_key(file)


def test_the_private_half_is_refused_and_not_shown(tmp_path: Path) -> None:
    ensure_key(tmp_path / "key")
    with pytest.raises(InvalidJob, match="private key") as refused:
        read_public_key(tmp_path / "key")
    assert "BEGIN" not in str(refused.value)
    for path in (tmp_path, tmp_path / "none", Path("a\0b")):
        with pytest.raises(InvalidJob, match=r"cannot be read|is not a path"):
            read_public_key(path)
