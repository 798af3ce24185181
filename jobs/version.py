"""Which version of this code runs."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def code_version() -> str:
    """The version of this code, as it was installed; ``unknown`` where it was not."""
    try:
        return version("gpu-job-runner")
    except PackageNotFoundError:
        return "unknown"
