"""Signals to `run`: each comes in the middle of something, a write that nobody reads among them."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pytest

from tests.acceptance.harness import GPU, Installation
from tests.waiting import wait_until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_ended_leaves_its_job(served: Installation, number: signal.Signals) -> None:
    process = served.spawn("run", *GPU, "--name", "left", "--", "echo on; sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    job = served.show("left")
    assert job["state"] == "running"
    assert f"runner cancel {job['id']}".encode() in err
    served.ok("cancel", "left")
    assert served.final("left")["state"] == "cancelled"
    served.nothing_left()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_ctrl_c_while_nobody_reads(served: Installation, unbuffered: str) -> None:
    """The cancel does not wait for the reader, and no byte of the log is lost to the signal."""
    served.environ["PYTHONUNBUFFERED"] = unbuffered
    with _unread(served) as (process, stderr):
        process.send_signal(signal.SIGINT)
        assert served.final("unread")["state"] == "cancelled"
    err = stderr.read()
    out, _ = process.communicate(timeout=60)
    stderr.close()
    assert process.returncode == 130, err[-300:]
    assert json.loads(out)["state"] == "cancelled"
    assert b"cancelling job" in err
    assert re.sub(rb"[a-z][^\n]*\n", b"", err) == b"".join(b"%d\n" % n for n in range(1, 100_001))


def test_a_second_ctrl_c_returns_at_once(served: Installation) -> None:
    """Also where nobody reads, and nobody ends the job."""
    with _unread(served) as (process, stderr):
        served.stop(signal.SIGKILL)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: served.show("unread")["cancel_requested"], what="the cancel")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        stderr.close()
    assert (process.returncode, out) == (130, b"")
    served.up()
    assert served.final("unread")["state"] == "cancelled"


def test_a_second_ctrl_c_does_not_take_the_first_one_back(served: Installation) -> None:
    """A key that is held down, or a terminal and a wrapper that both pass it on."""
    process = served.spawn("run", *GPU, "--name", "held", "--", "echo on; sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert served.show("held")["cancel_requested"]
    assert b"goes on" not in err
    assert served.final("held")["state"] == "cancelled"


@contextmanager
def _unread(served: Installation) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO]]:
    """A `run` that waits to write to its standard error."""
    read, write = os.pipe()
    words = ("run", *GPU, "--name", "unread", "--json", "--", "seq 1 100000; sleep 1000")
    process = served.spawn(*words, stderr=write)
    try:
        wait_until(lambda: not select.select([], [write], [], 0)[1], what="a full pipe")
        yield process, os.fdopen(read, "rb")
    except BaseException:
        process.kill()
        process.communicate()
        raise
    finally:
        os.close(write)
