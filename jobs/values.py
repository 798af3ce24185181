"""How each kind of value that a person gives is read: durations, sizes, addresses, paths, secrets.

Each reader takes the value and what to call it, and raises InvalidJob or InvalidSettings with one
sentence that says what the value may be.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from jobs.errors import InvalidJob, InvalidSettings
from jobs.ids import FLEET

DEFAULT_API_URL = "https://vm.massedcompute.com/api/v1"
DAY = 86_400
LONGEST_DURATION = 365 * DAY
_DURATION = re.compile(r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")
_LONG = re.compile(r"(?:[0-9]+[dhms])+")
_SIZE = re.compile(r"([0-9]{1,15})(B|[KMGT]iB|[kMGT]B)?")
_PLAIN = " /!\"#$&'()*+,:;<=>@[\\]^`{|}"
"""What may stand in the path of a database's address as it is: all of ASCII's signs but ``%`` and ``?``."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": DAY}
_SIZES = {None: 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    unit: 1024**power for power, unit in enumerate(("KiB", "MiB", "GiB", "TiB"), 1)
}


def fingerprint(text: str, salt: str) -> str:
    """What tells one text from another and shows neither. *salt*: 32 hexadecimal digits."""
    return hashlib.blake2b(text.encode(), salt=bytes.fromhex(salt), digest_size=16).hexdigest()


class Secret:
    """A text that shows itself to nobody who does not ask for it by :meth:`reveal`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself: for the header that carries it, and for nothing else."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    def __str__(self) -> str:
        return "…"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not written anywhere")


def parse_duration(
    value: str | int | timedelta, what: str, *, least: int = 1, most: int = LONGEST_DURATION
) -> int:
    """Whole seconds from ``90s``, ``45m``, ``2h``, ``1d``, ``1h30m``, a number of seconds, or a timedelta.

    Raises InvalidJob where it is none of these, or not from *least* to *most* seconds.
    """
    seconds: int | None = None
    if isinstance(value, timedelta):
        seconds = value // timedelta(seconds=1)
    elif isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str) and value.strip() and (match := _DURATION.fullmatch(value.strip())):
        units = reversed(_UNITS.values())
        seconds = sum(int(number or 0) * unit for number, unit in zip(match.groups(), units, strict=True))
    if seconds is None and isinstance(value, str) and _LONG.fullmatch(value.strip()):
        seconds = most + 1  # of more digits than anything that may be
    if seconds is None:
        raise InvalidJob(
            f"{what} must be a whole number with a unit, such as 90s, 45m, 2h or 1d, not {shown(value)}."
        )
    if not least <= seconds <= most:
        raise InvalidJob(f"{what} must be from {period(least)} to {period(most)}, not {shown(value)}.")
    return seconds


def parse_size(value: str | int, what: str = "the size") -> int:
    """Bytes from ``1GiB``, ``500MB``, ``4096`` and the like. Raises InvalidJob for anything else and 0."""
    size = None
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value.strip().replace(" ", ""))):
        size = int(match[1]) * _SIZES[match[2]]
    if size is None or not 0 < size <= 2**60:
        raise InvalidJob(f"{what} must be a size, such as 500MB or 1GiB, not {shown(value)}.")
    return size


def size_text(size: int) -> str:
    """A number of bytes for people: ``512 B``, ``3.4 MiB``."""
    if size < 1024:
        return f"{size} B"
    amount, units = size / 1024, ["KiB", "MiB", "GiB", "TiB"]
    while amount >= 999.95 and len(units) > 1:
        amount /= 1024
        del units[0]
    return f"{amount:.1f} {units[0]}"


def shown(value: object) -> str:
    """A value as a message shows it: escaped where it is text, and never longer than a line."""
    try:
        text = repr(value) if isinstance(value, str) else str(value)
    except ValueError:  # Python writes out no integer of more than a few thousand digits
        return "a number of thousands of digits"
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 60 else text[:60] + "…"


def read_token(value: object, what: str) -> Secret:
    if isinstance(value, Secret):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if not re.fullmatch(r"[!-~]{1,4096}", text):
        raise InvalidSettings(f"{what} is not an API token: it may hold no spaces and only ASCII characters.")
    return Secret(text)


def read_api_url(value: object, what: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    url = _split(text) or urlsplit("")
    if url.username is not None or url.password is not None:
        raise InvalidSettings(f"{what} must not hold a user or a password; the token is sent by itself.")
    plain = re.fullmatch(r"[!-~]+", text) and not url.query and not url.fragment
    if not plain or url.scheme not in ("http", "https") or not url.hostname:
        raise InvalidSettings(f"{what} must be an address such as {DEFAULT_API_URL}, not {shown(value)}.")
    if url.scheme == "http" and not is_loopback(url.hostname):
        raise InvalidSettings(
            f"{what} must begin with https://, not {shown(text)}: the token would go over the network "
            "in clear (http is only for a loopback address such as http://127.0.0.1:8080)."
        )
    return text.rstrip("/")


def _split(address: str) -> SplitResult | None:
    """The parts of an address; None where its host or its port cannot be one."""
    try:
        url = urlsplit(address)
        _ = url.hostname, url.port
    except ValueError:
        return None
    return url


def is_loopback(host: str) -> bool:
    """Whether *host* is this computer."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_url(value: object, what: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    # The value may hold a password, so the message does not show it.
    if not re.fullmatch(r"[a-z][a-z0-9+.]*://[^\x00-\x1f\x7f]+", text):
        raise InvalidSettings(f"{what} must be an address such as sqlite:////path/to/runner.db.")
    return text


def absolute_sqlite(url: str, base: Path) -> str:
    """The same address; where it is a relative path to a SQLite file, that file seen from *base*."""
    match = re.fullmatch(r"(sqlite(?:\+\w+)?:///)(?!/|:memory:|file:)(.+)", url)
    return url if match is None else f"{match[1]}{quote(str(base), safe=_PLAIN)}/{match[2]}"


def sqlite_url(file: Path) -> str:
    """The address of a SQLite file, whatever is in its name."""
    return f"sqlite:///{quote(str(file), safe=_PLAIN)}"


def read_broker(value: object, what: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    url = _split(text)  # None: a password with a sign that should be written as %2F, perhaps
    if url is None or not re.fullmatch(r"[a-z][a-z0-9+.]*://[!-~]*", text):
        raise InvalidSettings(
            f"{what} must be a broker's address such as redis://:PASSWORD@localhost:6379/0; special signs in "
            "a password must be percent-encoded."
        )
    checks = dict(parse_qsl(url.query)).get("ssl_cert_reqs")
    if url.scheme == "rediss" and checks not in ("required", "none"):
        # Celery would take any certificate, and only say so.
        raise InvalidSettings(
            f"{what} begins with rediss:// and does not say whether a certificate is checked: end it "
            "with ?ssl_cert_reqs=required (and &ssl_ca_certs=/path/to/ca.pem for an authority of your own)."
        )
    return text


def read_fleet(value: object, what: str) -> str:
    if not isinstance(value, str) or not FLEET.fullmatch(value):
        raise InvalidSettings(
            f"{what} must be 1 to 24 of a-z, 0-9 and '-', and not begin with '-', not {shown(value)}."
        )
    return value


def read_image(value: object, what: str) -> str:
    text = str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not 1 <= len(text) <= 200 or not text.isprintable():
        raise InvalidSettings(
            f"{what} must be the name or the id of an image (`runner images` lists them), not {shown(value)}."
        )
    return text


def whole_number(least: int, most: int) -> Callable[[Any, str], int]:
    def read(value: object, what: str) -> int:
        number = value if isinstance(value, int) and not isinstance(value, bool) else None
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value.strip()):
            number = int(value)
        if number is None or not least <= number <= most:
            raise InvalidSettings(
                f"{what} must be a whole number from {least} to {most}, not {shown(value)}."
            )
        return number

    return read


def read_path(value: object, what: str) -> Path:
    text = str(value) if isinstance(value, (str, Path)) else ""
    if not text.strip() or "\0" in text:
        raise InvalidSettings(f"{what} must be a path, not {shown(value)}.")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InvalidSettings(f"{what} names a home folder that does not exist: {shown(value)}.") from None


def read_retention(value: Any, what: str) -> int:
    return parse_duration(value, what, least=60, most=100 * 365 * DAY)


def read_secret_keys(value: object, what: str) -> Secret:
    """Keys of 32 bytes in URL-safe base64, separated by commas."""
    texts = [text.strip() for text in value.split(",")] if isinstance(value, str) else []
    try:
        sound = bool(texts) and all(len(urlsafe_b64decode(text)) == 32 for text in texts)
    except ValueError:
        sound = False
    if not sound:
        raise InvalidSettings(
            f"{what} must be 32 bytes in URL-safe base64, or several such keys separated by commas; make one "
            "with: python3 -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())'"
        )
    return Secret(",".join(texts))


def read_artifacts_url(value: object, what: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not text or not text.isprintable():
        raise InvalidSettings(f"{what} must be a folder or an address such as s3://bucket/prefix.")
    return text


def read_notify_url(value: object, what: str) -> Secret:
    """Where notifications go. It may hold a token of its own, so it is shown to nobody."""
    text = value.strip() if isinstance(value, str) else ""
    url = _split(text)
    sound = url is not None and url.scheme in ("http", "https") and url.hostname
    if not sound or not text.isprintable() or " " in text:
        raise InvalidSettings(f"{what} must be an address that begins with https:// or http://.")
    return Secret(text)


def read_host_keys(value: object, what: str) -> str:
    if value not in ("verify", "accept-new"):
        raise InvalidSettings(f"{what} must be 'verify' or 'accept-new', not {shown(value)}.")
    return str(value)


def period(seconds: int) -> str:
    """A duration as a person would have given it: the largest unit in which it is whole."""
    for unit in "dhms":
        if seconds % _UNITS[unit] == 0 and seconds >= _UNITS[unit]:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"
