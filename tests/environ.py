"""The environment of whoever runs the tests, and what of it no test may see."""

from __future__ import annotations

import os
from collections.abc import Mapping

OURS = ("RUNNER_", "MASSED_")
"""How the names of our settings begin."""


def clean_environ(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """An environment without a setting of ours."""
    return {name: value for name, value in environ.items() if not name.startswith(OURS)}
