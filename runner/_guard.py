"""One clear sentence where a script's own folder hides our packages.

Python puts the folder of a script first on its path. A ``jobs.py`` or a ``workers`` folder beside the
script would then be imported in place of ours, and run; this looks before anything is imported.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path

OURS = ("jobs", "workers")


def check() -> None:
    """Raise ImportError, naming the file that is in the way, where our packages are hidden.

    Where nobody imports us, but we are the program, the sentence is all that there is to see.
    """
    home = Path(__file__).resolve().parent.parent
    for name in OURS:
        loaded = sys.modules.get(name)
        if loaded is not None:
            origin = getattr(loaded, "__file__", None)
        else:
            spec = PathFinder.find_spec(name)  # finds, and executes nothing
            origin = spec.origin if spec is not None else None
            if spec is None:
                continue  # an import hook of an editable installation knows it
        found = Path(origin).resolve() if origin else None
        if found is None or found.parent != home / name:
            where = found or name
            hides = f"{where} hides a package of gpu-job-runner that has the same name; rename it, or"
            if _is_program():
                raise SystemExit(f"runner: {hides} run `runner` from another folder.")
            raise ImportError(f"{hides} move your script to another folder, and `import runner` works.")


def _is_program() -> bool:
    """Whether this is the command ``runner``, or ``python -m runner``, which is called just ``-m`` so far."""
    if sys.argv[0] == "-m":
        return sys.orig_argv[-len(sys.argv)].removeprefix("-m") == "runner"
    return Path(sys.argv[0]).name == "runner"
