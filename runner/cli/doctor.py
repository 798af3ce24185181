"""`runner doctor`."""

from __future__ import annotations

from dataclasses import asdict

from jobs.settings import load_settings
from runner import doctor as examination
from runner.cli import output
from runner.cli.options import Json


def doctor(
    json: Json = False,
) -> None:
    """Check token, database, clock, disk, and that account and books agree; exit 1 if anything is wrong.

    Example: runner doctor
    """
    findings = []
    for finding in examination.examine(load_settings()):
        findings.append(finding)
        if not json:
            mark = "ok" if finding.ok else "WRONG"
            print(f"{mark:<6} {finding.what:<9} {output.clean(finding.detail)}", flush=True)
            if finding.mend and not finding.ok:
                print(f"       {'':<9} -> {output.clean(finding.mend)}", flush=True)
    if json:
        output.print_json([asdict(finding) for finding in findings])
    if not all(finding.ok for finding in findings):
        raise SystemExit(1)
