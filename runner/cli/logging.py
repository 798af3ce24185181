"""What a service and a worker say while they work: lines for people, or JSON for who collects them."""

from __future__ import annotations

import logging
import sys
import threading
import time
from enum import StrEnum

from jobs import subject

TIME = "%Y-%m-%dT%H:%M:%SZ"


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class _Subject(logging.Filter):
    """Puts the job and the attempt that a line is about into its record."""

    def filter(self, record: logging.LogRecord) -> bool:
        about = subject.current()
        record.job, record.attempt = about.job, about.attempt
        return True


def to_stderr(form: LogFormat = LogFormat.TEXT, *, level_shown: bool = False) -> None:
    """A line each on standard error; the libraries speak up only when something is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    if form is LogFormat.JSON:
        from pythonjsonlogger.json import JsonFormatter

        formatter: logging.Formatter = JsonFormatter(
            "%(asctime)s %(levelname)s %(name)s %(message)s %(job)s %(attempt)s",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            datefmt=TIME,
        )
    else:
        formatter = logging.Formatter(f"%(asctime)s {'%(levelname)-7s ' * level_shown}%(message)s", TIME)
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.addFilter(_Subject())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("workers", "runner", "jobs"):
        logging.getLogger(name).setLevel(logging.INFO)
    # A connection that broke is told of in a sentence of ours; theirs would be a traceback beside it.
    for name in ("sqlalchemy", "psycopg"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    threading.excepthook = _say_what_fell


def _say_what_fell(fallen: threading.ExceptHookArgs) -> None:
    """A thread that ends with an exception is told of as everything else is."""
    if fallen.exc_type is SystemExit:
        return
    name = "a thread" if fallen.thread is None else f"the thread {fallen.thread.name}"
    what = (fallen.exc_type, fallen.exc_value or fallen.exc_type(), fallen.exc_traceback)
    logging.getLogger("runner").critical("%s has fallen", name, exc_info=what)


def say(sentence: str) -> None:
    """Why a worker ends, as the last of its lines."""
    logging.getLogger("runner").error("%s", sentence)
