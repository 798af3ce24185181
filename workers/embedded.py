"""The broker of the embedded mode: Celery's in-memory transport, without its sleeping.

kombu's own polls its queues once a second, or with a shorter interval at the cost of a busy processor.
This one waits on a condition that is rung by whoever puts a message: a message is delivered in about two
milliseconds, an idle worker does nothing, and a stop is noticed at once.
"""

from __future__ import annotations

import threading
import time
from queue import Empty
from typing import Any

from celery.worker import state
from kombu.transport import memory

_rung = threading.Condition()
_count = 0


def ring() -> None:
    """Wake whoever waits for a message: there is one, or the worker is to stop."""
    global _count
    with _rung:
        _count += 1
        _rung.notify_all()


class Channel(memory.Channel):
    """Queues in this process's memory."""

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        super()._put(queue, message, **kwargs)
        ring()

    def basic_ack(self, delivery_tag: Any, multiple: bool = False) -> None:
        super().basic_ack(delivery_tag, multiple)
        ring()  # the prefetch limit may have kept the next message waiting


class Transport(memory.Transport):
    """Delivers as soon as something is there."""

    Channel = Channel

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            with _rung:
                seen = _count
            try:
                self.cycle.get(self._deliver)  # type: ignore[union-attr]
            except Empty:
                pass
            else:
                return
            if state.should_stop is not None:
                raise TimeoutError  # the worker looks at this flag between two calls
            with _rung:
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError
                if not _rung.wait_for(lambda: _count != seen, timeout=left):  # noqa: B023 - called at once
                    raise TimeoutError
