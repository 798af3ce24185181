"""Records the picture of the README: a real run of `runner demo` on a terminal, as an SVG.

The demo runs on a pseudo-terminal. What the picture shows is that terminal at one moment, while the third job
boots, so that the line for what happens now is seen as well. `make picture` runs this.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

COLUMNS = 108
PICTURE = Path(__file__).parent / "demo.svg"
BEGIN = b"# A job that succeeds."
LAST_JOB = b"--name endless"
NOW = rb"\r\x1b\[K(booting [^\r\n]*ceiling \$0\.50)"
SECONDS = 180


def main() -> int:
    """Record, cut and draw. Returns the exit code."""
    shown = record()
    begin, third = shown.find(BEGIN), shown.find(LAST_JOB)
    now = re.compile(NOW).search(shown, max(third, 0))
    if begin < 0 or third < 0 or now is None:
        sys.stderr.write("the demo did not show what the picture is about\n")
        return 1
    start = shown.rfind(b"\n", 0, begin) + 1
    draw(shown[start : now.end()].decode())
    sys.stdout.write(f"{PICTURE}\n")
    return 0


def record() -> bytes:
    """All bytes that the demo writes on a terminal of COLUMNS. Raises CalledProcessError where it fails."""
    environ = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environ |= {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": "50"}
    words = [sys.executable, "-P", "-m", "runner", "demo"]
    master, slave = pty.openpty()
    process = subprocess.Popen(words, env=environ, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    try:
        while data := os.read(master, 65_536):
            shown += data
    except OSError:  # Linux says so when the other side is closed
        pass
    finally:
        os.close(master)
    if code := process.wait(SECONDS):
        raise subprocess.CalledProcessError(code, words, shown)
    return shown


def draw(text: str) -> None:
    """Write the picture."""
    from rich.ansi import AnsiDecoder
    from rich.console import Console
    from rich.terminal_theme import MONOKAI

    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, highlight=False)
        for line in text.split("\n"):
            # A terminal ends its lines with CR LF; a bare CR before text begins the line again.
            last = line.rstrip("\r").rsplit("\r", 1)[-1]
            console.print(AnsiDecoder().decode_line(last))
        console.print()  # room for what hangs below the last line
        svg = console.export_svg(title="runner demo", theme=MONOKAI, unique_id="demo")
    # No fonts from elsewhere: the reader's own monospace will do.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    fonts = "ui-monospace, Menlo, Consolas, monospace"
    PICTURE.write_text(svg.replace("Fira Code, monospace", fonts), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
