"""The process behind `runner sim`: a simulated cloud by itself, until it is interrupted.

It prints its URL and token and is quiet afterwards. SIGINT, SIGTERM and a closed terminal end it in order:
every process of every machine is killed, the ports are closed, its folder is removed unless one was given to
keep.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from runner.sim.config import SimConfig
from runner.sim.faults import Faults
from runner.sim.simulator import Simulator


def serve(
    *,
    port: int = 0,
    boot_seconds: float = 2.0,
    as_json: bool = False,
    folder: Path | None = None,
    faults: Mapping[str, object] | None = None,
    openssh: bool = False,
) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP and return 0. Call it on the main thread.

    *faults* are fields of `Faults` by name. Raises ValueError naming a field that is wrong, OSError if the
    port is taken.
    """
    try:
        wrong = Faults.model_validate(dict(faults or {}))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    config = SimConfig(port=port, boot_seconds=boot_seconds, folder=folder, faults=wrong, openssh=openssh)
    with _interruption() as interrupted, Simulator(config) as simulator:
        if as_json:
            lines = [json.dumps({"url": simulator.url, "token": simulator.token})]
        else:
            lines = [
                "A simulated Massed Compute, on this computer only; nothing costs anything. Ctrl-C ends it.",
                "",
                f"  export RUNNER_API_URL={simulator.url}",
                f"  export MASSED_COMPUTE_API_KEY={simulator.token}",
            ]
        print(*lines, sep="\n", flush=True)  # noqa: T201
        interrupted.recv(1)
    return 0


@contextlib.contextmanager
def _interruption() -> Iterator[socket.socket]:
    """What can be read once SIGINT or SIGTERM came, also where SIGINT was ignored when this process began.

    A closed terminal counts too, unless under nohup. The byte is written as the signal arrives; a handler
    would be run by the main thread, which may be about to wait for a lock, when it has got that.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)
        fd = signal.set_wakeup_fd(writing.fileno())
        before = {number: signal.signal(number, lambda number, frame: None) for number in numbers}
        try:
            yield reading
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(fd)


if __name__ == "__main__":
    sys.exit(serve())
