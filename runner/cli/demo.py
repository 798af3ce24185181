"""`runner demo`."""

from __future__ import annotations

from jobs.errors import RunnerError


class DemoFailed(RunnerError):
    """The story did not go as told."""


def demo() -> None:
    """Tell the whole story on this computer: a simulated cloud, a service, three jobs, their receipts.

    Needs no account, costs nothing, and leaves nothing running.

    Example: runner demo
    """
    from runner import demo as story

    try:
        story.demo()
    except story.DemoFailed as error:
        raise DemoFailed(f"The demo did not go as it should have: {error}.") from error
