"""How property tests run: the same examples each time, no deadline, nothing written."""

from __future__ import annotations

from hypothesis import settings

examples = settings(deadline=None, database=None, derandomize=True, max_examples=300)
