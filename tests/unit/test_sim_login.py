"""Which keys open a simulated machine: those in authorized_keys, if nobody else could have written it."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.sim.login import authorized_blobs

LINE = "ssh-ed25519 AAAAblob a comment"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / ".ssh"
    folder.mkdir(mode=0o700)
    tmp_path.chmod(0o700)
    (folder / "authorized_keys").touch(mode=0o600)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "blobs"),
    [
        ("", set()),
        (LINE, {b"AAAAblob"}),
        (f"# {LINE}\n\n  {LINE}\r\n", {b"AAAAblob"}),
        (
            f'no-pty,command="echo x" {LINE}\nnonsense\n\x00\xff\necdsa-sha2-nistp256 BBBB\n',
            {b"AAAAblob", b"BBBB"},
        ),
    ],
)
def test_lines(home: Path, text: str, blobs: set[bytes]) -> None:
    (home / ".ssh" / "authorized_keys").write_text(text, encoding="latin-1")
    assert authorized_blobs(home) == blobs


@pytest.mark.parametrize("path", [".", ".ssh", ".ssh/authorized_keys"])
def test_what_others_may_write_opens_nothing(home: Path, path: str) -> None:
    (home / ".ssh" / "authorized_keys").write_text(LINE)
    (home / path).chmod((home / path).stat().st_mode | 0o020)
    assert authorized_blobs(home) == set()


def test_no_file_opens_nothing(tmp_path: Path) -> None:
    assert authorized_blobs(tmp_path) == set()
