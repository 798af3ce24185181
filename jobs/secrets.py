"""Secrets of jobs: where they come from, and how they lie in the database until the job is final.

All of a job's secrets are one ciphertext, bound to the job's id: a row that somebody copies to another job is
worth nothing there. It can be read by whoever has RUNNER_SECRET_KEY, which is not in the database.
"""

from __future__ import annotations

import json
import os
import stat
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from jobs import once
from jobs.errors import InvalidJob, InvalidSettings
from jobs.settings import Settings
from jobs.values import Secret, read_secret_keys

VARIABLE = "RUNNER_SECRET_KEY"
FILE_NAME = "secret.key"
LARGEST_FILE = 64 * 1024

_taken: set[str] = set()  # the variables of this process from which secrets were read


class Unreadable(Exception):
    """These secrets were not encrypted with any of the keys that are here. A sentence that says why."""


class Cipher:
    """The keys, of which the first one encrypts and any one decrypts."""

    def __init__(self, keys: Sequence[str]) -> None:
        from cryptography.fernet import Fernet, MultiFernet  # only who has secrets waits for it

        self.keys = tuple(keys)
        self._fernet = MultiFernet([Fernet(key.encode("ascii")) for key in keys])

    def __repr__(self) -> str:
        return "Cipher(…)"

    def seal(self, job_id: str, secrets: Mapping[str, Secret]) -> str:
        """The ciphertext of a job's secrets."""
        content = {"job": job_id, "secrets": {name: value.reveal() for name, value in secrets.items()}}
        return self._fernet.encrypt(json.dumps(content).encode()).decode("ascii")

    def open(self, job_id: str, sealed: str) -> dict[str, Secret]:
        """The secrets of a job. Raises Unreadable."""
        from cryptography.fernet import InvalidToken

        try:
            content = json.loads(self._fernet.decrypt(sealed.encode("ascii")))
        except (InvalidToken, ValueError):
            raise Unreadable(
                f"the job's secrets were encrypted with another {VARIABLE} than the one of this worker"
            ) from None
        if content["job"] != job_id:
            raise Unreadable("the secrets that stand at this job were encrypted for another one")
        return {name: Secret(value) for name, value in content["secrets"].items()}


def key_file(settings: Settings) -> Path:
    """Where the key is, if RUNNER_SECRET_KEY does not say it."""
    return settings.home / FILE_NAME


def existing_keys(settings: Settings) -> tuple[str, ...]:
    """The keys that are here, the one that encrypts first; none is made. Raises InvalidSettings."""
    if settings.secret_key is not None:
        return tuple(settings.secret_key.reveal().split(","))
    path = key_file(settings)
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise _invalid(path, f"may be read by others; run `chmod 600 {path}`")
            data = file.read(LARGEST_FILE)
        return tuple(read_secret_keys(data.decode("ascii").strip(), str(path)).reveal().split(","))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _invalid(path, f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise _invalid(path, "holds no key") from None


def cipher(settings: Settings) -> Cipher:
    """What decrypts here; no key is made. Raises Unreadable where there is none that can be used."""
    try:
        keys = existing_keys(settings)
    except InvalidSettings as error:
        raise Unreadable(str(error).rstrip(".")) from None
    if not keys:
        raise Unreadable(
            f"the job has secrets, and this worker has no key to read them: {VARIABLE} is not set, and "
            f"{key_file(settings)} does not exist"
        )
    return Cipher(keys)


def ensure_cipher(settings: Settings) -> Cipher:
    """What encrypts here; a key is made, mode 0600, where there is none. Raises InvalidSettings."""
    keys = existing_keys(settings)
    if not keys:
        path = key_file(settings)
        try:
            once.make(path, urlsafe_b64encode(os.urandom(32)) + b"\n")
        except OSError as error:
            raise _invalid(path, f"cannot be made: {(error.strerror or str(error)).lower()}") from None
        keys = existing_keys(settings)
    return Cipher(keys)


def from_environment(
    words: Iterable[object], what: str, environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The values of ``KEY`` or ``KEY=ENV_VAR``, out of this process's environment. Raises InvalidJob.

    What stands behind ``=`` is never repeated: somebody may have written the value itself there.
    """
    ours, environ = environ is None, os.environ if environ is None else environ
    found: dict[str, str] = {}
    for word in words:
        if not isinstance(word, str):
            raise InvalidJob(f"{what} takes names of variables, such as HF_TOKEN.")
        name, equals, variable = word.partition("=")
        variable = variable if equals else name
        if ours:
            _taken.add(variable)
        value = environ.get(variable)
        if not value:
            which = "the variable that you name behind the '='" if equals else "that variable"
            raise InvalidJob(
                f"{what} {name[:100] or 'KEY'}: {which} is not set, or is empty; a secret's value is taken "
                "from the environment of whoever submits, and never written on the command line."
            )
        found[name] = value
    return found


def environment_of_a_service(settings: Settings) -> dict[str, str]:
    """This process's environment without what secrets were read from: no process that stays may have those.

    But for what the artifact store logs in with, which a service needs for itself.
    """
    needed = {name for name in _taken if settings.artifacts_url is not None and name.startswith("AWS_")}
    return {name: value for name, value in os.environ.items() if name not in _taken - needed}


def _invalid(path: Path, what: str) -> InvalidSettings:
    return InvalidSettings(f"The key of the secrets, {path} ({VARIABLE}), {what}.")
