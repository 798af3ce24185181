"""`python -P -m bench [NAME...]`: measure, print one table, and keep it in bench/RESULTS.md.

`scale` is measured only where it is named, and kept in bench/SCALE.md.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench import moving, resting, scale, streaming, submitting, waiting
from bench.table import Row, circumstances, render
from bench.turns import Violation

GROUPS: dict[str, Callable[[], Iterator[Row]]] = {
    "submitting": submitting.measure,
    "waiting": waiting.measure,
    "resting": resting.measure,
    "streaming": streaming.measure,
    "moving": moving.measure,
}
SCALE = "scale"
RESULTS = Path(__file__).with_name("RESULTS.md")
RESULTS_AT_SCALE = Path(__file__).with_name("SCALE.md")
MEANING = "../docs/benchmarks.md"
PAGE = """# {title}

Made by `{made_by}`, against the simulated cloud on one computer; [what they mean]({meaning}).
{circumstances}.

{table}
"""


def main() -> int:
    """Run the groups that were named, or all the usual ones; only a whole run is written down."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    known = [*GROUPS, SCALE]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or several of: {', '.join(known)}")
    parser.add_argument("--quick", action="store_true", help=f"{SCALE} with small numbers; writes nothing")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in known]:
        parser.error(f"there is no {unknown[0]!r}; there are: {', '.join(known)}")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # by way of all that cleans up
    load = os.getloadavg()
    rows: list[Row] = []
    violation: Violation | None = None
    groups: dict[str, Callable[[], Iterator[Row]]] = {
        **GROUPS,
        SCALE: partial(scale.measure, quick=given.quick),
    }
    for name in given.names or GROUPS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            for row in groups[name]():
                rows.append(row)  # at once: what was measured before a violation is shown as well
                print(f"  {row.what}: {row.figure}", file=sys.stderr, flush=True)
        except Violation as error:
            violation = error
            break
    table = render(rows)
    print(table)
    if violation is not None:
        print(f"VIOLATION: {violation}", file=sys.stderr, flush=True)
        return 1
    facts = {"circumstances": circumstances(load), "table": table}
    if not given.names:
        page = PAGE.format(title="First figures", made_by="make bench", meaning=MEANING, **facts)
        RESULTS.write_text(page, encoding="utf-8")
    elif given.names == [SCALE] and not given.quick:
        made_by = f"make bench NAMES={SCALE}"
        page = PAGE.format(
            title="First figures at scale", made_by=made_by, meaning=f"{MEANING}#at-scale", **facts
        )
        RESULTS_AT_SCALE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
