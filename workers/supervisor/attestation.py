"""How a machine proves that its SSH host keys are its own.

The startup command carries a one-time key of the attempt; with it the machine writes an HMAC over the
attempt's id and each of its host keys. This module says the same thing in Python, for the attendant that
compares, and prepares the two key blocks with which a shell computes it, so that the key is never an argument
of a process.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from workers.supervisor.errors import UnreadableAnswer

_BLOCK = 64  # bytes in a block of SHA-256
_LINE = re.compile(r"([a-z0-9@.-]{1,64}) ([0-9a-f]{64})")


def new_attestation_key() -> bytes:
    """A one-time key: 32 random bytes."""
    return secrets.token_bytes(32)


def attestation(key: bytes, attempt_id: str, key_type: str, blob_b64: str) -> str:
    """The HMAC-SHA256, in hex, over ``attempt_id key_type blob_b64`` (one space between, no newline)."""
    return hmac.new(key, f"{attempt_id} {key_type} {blob_b64}".encode(), hashlib.sha256).hexdigest()


def attested(key: bytes, attempt_id: str, host_key: str, attestations: dict[str, str]) -> bool:
    """Whether *host_key* (``type blob``, as a connection showed it) is among what the machine attested."""
    key_type, _, blob = host_key.partition(" ")
    return hmac.compare_digest(attestations.get(key_type, ""), attestation(key, attempt_id, key_type, blob))


def parse_attestations(answer: bytes | str) -> dict[str, str]:
    """What the verb ``attest`` printed, as host-key type to hex. Raises UnreadableAnswer."""
    text = answer.decode("ascii", "replace") if isinstance(answer, bytes) else answer
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise UnreadableAnswer("attest", text)
        found[match[1]] = match[2]
    return found


def key_block(key: bytes, pad: int) -> str:
    """One of HMAC's two key blocks (*pad* 0x36 or 0x5C) as octal escapes for the shell's own ``printf``."""
    if len(key) > _BLOCK:
        key = hashlib.sha256(key).digest()
    return "".join(f"\\{byte ^ pad:03o}" for byte in key.ljust(_BLOCK, b"\0"))
