"""What others can tell of a service, by the file that it leaves beside its database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from jobs.settings import load_settings
from runner import daemon
from runner.daemon import Running

SALT = "0123456789abcdef" * 2


def test_a_limit_that_nobody_has_is_no_difference(home: Path) -> None:
    """A service of an earlier version does not tell of one that it has not."""
    ours = load_settings(anywhere=True)
    prints = daemon._prints(ours, SALT)
    older = {name: found for name, found in prints.items() if name != "RUNNER_MAX_BURN"}
    for known in (prints, older):
        service = Running(1, 0.0, background=True, leaves=False, salt=SALT, prints=known)
        assert service.differs(ours) == []
        assert service.differs(replace(ours, max_burn=5_000_000)) == ["RUNNER_MAX_BURN"]
    limited = daemon._prints(replace(ours, max_burn=5_000_000), SALT)
    assert Running(1, 0.0, True, False, SALT, limited).differs(ours) == ["RUNNER_MAX_BURN"]
