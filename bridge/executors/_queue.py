"""Whether a call may wait for a place, or would do so in vain."""

from __future__ import annotations

from bridge.call import time_remaining
from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.invocation import Invocation

__all__ = ["check_queue"]


def check_queue(invocation: Invocation, kind: str, *, places: int, hold: float, waiting: int, limit: int) -> None:
    """Refuses a call that would wait in vain, or behind too many.

    Args:
        kind: what it waits for: ``thread`` or ``worker``.
        places: how many of these there are.
        hold: seconds that a call has one, on average.
        waiting: calls that wait already.
        limit: calls that may.

    Raises:
        BridgeError: RESOURCE_EXHAUSTED, reason ``SERVER_BUSY``, with a time to retry.
    """
    wait = hold * (waiting + 1) / places
    remaining = time_remaining(invocation.call.deadline)
    if waiting >= limit:
        why = f"{places} {kind}s are busy and {waiting} calls wait (--{kind}s, --queue-size)"
    elif remaining is not None and wait > remaining:
        why = f"a {kind} is free in about {wait:.2f} s, and the deadline is in {remaining:.2f} s (--{kind}s)"
    else:
        return
    raise BridgeError(
        Code.RESOURCE_EXHAUSTED,
        f"tool {invocation.entry.tool.name!r} was not started: {why}; try again later",
        reason="SERVER_BUSY",
        details=ErrorDetails(retry_after=min(max(wait, 0.05), 5.0)),
    )
