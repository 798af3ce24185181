"""Our SSH key: made on first use, once, however many processes come at the same time.

The private part is read from its file only; no key is replaced after it was handed out.
"""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from jobs import once
from jobs.errors import InvalidJob, InvalidSettings
from workers.ssh.errors import fingerprint

LARGEST_PUBLIC = 64 * 1024
"""Bytes of a file with a public key; the largest ones take a few thousand."""

PrivateKey = ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class KeyPair:
    """``public_line`` is "type base64" without a comment, ``fingerprint`` as OpenSSH writes it."""

    private_path: Path
    public_line: str
    fingerprint: str


def ensure_key(path: Path) -> KeyPair:
    """The key at *path*; an ed25519 key is made there, mode 0600, if there is none.

    Raises InvalidSettings where it cannot be read, written or used.
    """
    try:
        if not path.exists():
            _make(path)
        key = _private_key(path)
    except OSError as error:
        raise _invalid(path, f"cannot be used: {(error.strerror or str(error)).lower()}") from None
    return _pair(path, key)


def existing_key(path: Path) -> KeyPair | None:
    """The key at *path*; None where there is none, and none is made. Raises InvalidSettings."""
    try:
        return _pair(path, _private_key(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _invalid(path, f"cannot be read: {(error.strerror or str(error)).lower()}") from None


def read_public_key(path: Path) -> str:
    """The public key in a file that a person names, as "type base64". Raises InvalidJob where it holds none.

    No message shows what is in the file: it may be the private half.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_PUBLIC + 1)
    except OSError as error:
        raise InvalidJob(f"{path} cannot be read: {(error.strerror or 'it failed').lower()}.") from None
    except ValueError:
        raise InvalidJob(f"{str(path)!r} is not a path.") from None
    if b"PRIVATE KEY" in data:
        raise InvalidJob(f"{path} holds a private key, which nobody but you may have; give the public one.")
    lines = [line for line in data.splitlines() if line.strip() and not line.startswith(b"#")]
    if len(lines) != 1 or len(data) > LARGEST_PUBLIC:
        raise InvalidJob(f"{path} does not hold one public key on one line, as a file of ssh-keygen does.")
    try:
        words = lines[0].decode("ascii").split()[:2]
        serialization.load_ssh_public_key(" ".join(words).encode())
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidJob(
            f"{path} holds no public key in OpenSSH's format, such as ssh-ed25519 AAAA…."
        ) from None
    return " ".join(words)


def _pair(path: Path, key: PrivateKey) -> KeyPair:
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    public_line = " ".join(line.decode("ascii").split()[:2])
    return KeyPair(path, public_line, fingerprint(public_line))


def load_key(path: Path) -> paramiko.PKey:
    """The private key at *path* for paramiko. Raises InvalidSettings."""
    try:
        key = _private_key(path)
    except OSError as error:
        raise _invalid(path, f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    ).decode("ascii")
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return paramiko.Ed25519Key.from_private_key(io.StringIO(text))
    if isinstance(key, rsa.RSAPrivateKey):
        return paramiko.RSAKey.from_private_key(io.StringIO(text))
    return paramiko.ECDSAKey.from_private_key(io.StringIO(text))


def _private_key(path: Path) -> PrivateKey:
    with path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise _invalid(path, f"may be read by others; run `chmod 600 {path}`")
        data = file.read()
    try:
        if b"OPENSSH PRIVATE KEY" in data:
            key: object = serialization.load_ssh_private_key(data, password=None)
        else:
            key = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        raise _invalid(path, "has a passphrase, and nobody is there to type it; use one without") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _invalid(path, "holds no private key in OpenSSH's format") from None
    if isinstance(key, PrivateKey):
        return key
    raise _invalid(path, "is of a kind that is not supported; use an ed25519 key")


def _make(path: Path) -> None:
    data = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    once.make(path, data)


def _invalid(path: Path, what: str) -> InvalidSettings:
    return InvalidSettings(f"The SSH key {path} (RUNNER_SSH_KEY) {what}.")
