"""`python -P -m bench [NAME...]`: measure, print one table, and keep it in bench/RESULTS.md."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import resting, streaming, submitting, waiting
from bench.table import Row, circumstances, render

GROUPS: dict[str, Callable[[], Iterator[Row]]] = {
    "submitting": submitting.measure,
    "waiting": waiting.measure,
    "resting": resting.measure,
    "streaming": streaming.measure,
}
RESULTS = Path(__file__).with_name("RESULTS.md")
PAGE = """# First figures

Made by `make bench`, against the simulated cloud on one computer; [what they mean](../docs/benchmarks.md).
{circumstances}.

{table}
"""


def main() -> int:
    """Run the groups that were named, or all; only a whole run is written down."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or several of: {', '.join(GROUPS)}")
    names = parser.parse_args().names
    if unknown := [name for name in names if name not in GROUPS]:
        parser.error(f"there is no {unknown[0]!r}; there are: {', '.join(GROUPS)}")
    load = os.getloadavg()
    rows: list[Row] = []
    for name in names or GROUPS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += GROUPS[name]()
    table = render(rows)
    print(table)
    if not names:
        RESULTS.write_text(PAGE.format(circumstances=circumstances(load), table=table), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
