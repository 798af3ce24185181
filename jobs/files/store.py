"""The artifact store: where workdirs and outputs are kept, a local folder or anything that fsspec knows.

An object is written once, whole, and never changed. Below ``workdirs/INSTALLATION/``, ``pieces/`` and
``trees/`` are named by what they hold, so that the same folder is kept once; ``outputs/ATTEMPT/`` is what one
attempt brought back, with its trees. So several installations may share a store.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zstandard

from jobs.errors import ArtifactError, ArtifactMissing, InvalidSettings
from jobs.files.portable import digest
from jobs.files.tree import Piece, Tree, UnreadableTree, load, tree_key

SUFFIXES = {"zstd": ".zst", "zlib": ".zz", "raw": ""}
_LOGIN = re.compile(r"(?<=://)[^/@]*@")
_WRITTEN = ("mtime", "LastModified", "last_modified", "updated", "created")
_S3 = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 3}}


class Artifacts:
    """One store. *url*: a folder, or an address such as ``s3://bucket/prefix``. May be used by many threads.

    Every method raises ArtifactError where the store cannot be reached or used.
    """

    def __init__(self, url: str) -> None:
        self.shown = _LOGIN.sub("", url)
        import fsspec.core  # takes a while, and most commands have no files

        options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        if url.startswith(("s3://", "s3a://")):
            options["config_kwargs"] = _S3
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url, **(options if "://" in url else {}))
        except ImportError:
            extra = "pip install 'gpu-job-runner[s3]'" if url.startswith("s3") else "what fsspec wants for it"
            raise InvalidSettings(
                f"The artifact store {self.shown} needs more to be installed: {extra}."
            ) from None
        except ValueError as error:
            raise InvalidSettings(f"RUNNER_ARTIFACTS_URL {self.shown}: {error}.") from None
        protocol = self._fs.protocol
        self._local = "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def put(self, key: str, data: bytes) -> None:
        """Keep *data* under *key*, durably; what is there already stays, where it is as long."""
        with self._mapped(f"write {key}"):
            if self._local:
                _put_locally(Path(self._root) / key, data)
            elif self._size(key) != len(data):  # a death in the middle may leave a part, in some stores
                self._fs.pipe_file(self._at(key), data)

    def _size(self, key: str) -> int | None:
        try:
            return int(self._fs.info(self._at(key))["size"])
        except FileNotFoundError:
            return None

    def has(self, key: str) -> bool:
        """Whether there is something under *key*."""
        with self._mapped(f"look for {key}"):
            return bool(self._fs.exists(self._at(key)))

    def get(self, key: str) -> bytes:
        """What is under *key*. Raises ArtifactMissing where nothing is."""
        with self._mapped(f"read {key}"):
            return bytes(self._fs.cat_file(self._at(key)))

    def remove(self, prefix: str) -> None:
        """Remove all below *prefix*; nothing there is no error."""
        with self._mapped(f"remove {prefix}"):
            try:
                self._fs.rm(self._at(prefix), recursive=True)
            except FileNotFoundError:
                return

    def remove_one(self, key: str) -> None:
        """Remove what is under *key*, and nothing else; nothing there is no error."""
        with self._mapped(f"remove {key}"):
            try:
                self._fs.rm_file(self._at(key))
            except FileNotFoundError:
                return

    def listed(self, prefix: str) -> Iterator[tuple[str, datetime | None]]:
        """The keys below *prefix*, a folder, and when each was last written, where that is known."""
        with self._mapped(f"list {prefix}"):
            top = self._at(prefix).rstrip("/")
            above = len(self._at(""))
            if not self._fs.exists(top):
                return
            for _, _, files in self._fs.walk(top, detail=True, on_error="raise"):
                for info in files.values():
                    if info.get("type") == "file":
                        yield str(info["name"])[above:], _written(info)

    def piece(self, piece: Piece) -> bytes:
        """The bytes of a piece, proved. Raises ArtifactMissing, also where they are others."""
        return self.stored(piece)[1]

    def stored(self, piece: Piece) -> tuple[bytes, bytes]:
        """A piece as it is stored, and its bytes; otherwise as ``piece``."""
        data = self.get(piece.key)
        raw = expand(piece, data)
        if raw is None or digest(raw) != piece.sha256:
            raise ArtifactMissing(
                f"The artifact store {self.shown} does not hold {piece.key} as it was written."
            )
        return data, raw

    def put_tree(self, tree: Tree, prefix: str = "") -> str:
        """Keep a tree, whose pieces are there already; returns its key, which begins with *prefix*."""
        dump = tree.dump()
        key = prefix + tree_key(dump)
        self.put(key, dump)
        return key

    def tree(self, key: str) -> Tree:
        """The tree under *key*. Raises ArtifactMissing, also where there is no sound one."""
        try:
            return load(self.get(key))
        except UnreadableTree as error:
            raise ArtifactMissing(
                f"The artifact store {self.shown} does not hold {key} as it was written: {error}."
            ) from None

    def _at(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{key}"

    @contextmanager
    def _mapped(self, doing: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise ArtifactMissing(
                f"The artifact store {self.shown} cannot {doing}: it is not there. What was stored with "
                "another RUNNER_ARTIFACTS_URL is found with that one only."
            ) from error
        except Exception as error:
            # Each kind of store has errors of its own, and any of them means the same to us.
            said = (error.strerror or "").lower() if isinstance(error, OSError) else ""
            said = said or " ".join(str(error).split())[:200] or type(error).__name__
            raise ArtifactError(f"The artifact store {self.shown} cannot {doing}: {said}.") from error


def _written(info: Mapping[str, Any]) -> datetime | None:
    """When an object was last written; each kind of store has a name of its own for it."""
    found = next((info[name] for name in _WRITTEN if info.get(name) is not None), None)
    if isinstance(found, int | float):
        return datetime.fromtimestamp(found, tz=UTC)
    if isinstance(found, str):
        try:
            found = datetime.fromisoformat(found)
        except ValueError:
            return None
    return found if isinstance(found, datetime) and found.tzinfo is not None else None


def expand(piece: Piece, data: bytes) -> bytes | None:
    """The bytes of a piece as they are; None where *data* is not its stored form."""
    import zlib

    try:
        if piece.encoding == "raw":
            return data
        if piece.encoding == "zlib":
            return zlib.decompressobj().decompress(data, piece.size + 1)
        if zstandard.frame_content_size(data) > piece.size:
            return None
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=piece.size)
    except (zlib.error, zstandard.ZstdError):
        return None


def _put_locally(path: Path, data: bytes) -> None:
    """Written beside its place, synced, and given its name: nobody ever reads half of it."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
