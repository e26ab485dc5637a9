"""Waiting for the BEAM, which may start its workers a moment before it listens to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from bridge.errors import BridgeError, Code

__all__ = ["wait_for_listener"]

PING_TIMEOUT = 1.0
"""Seconds for the answer to one Ping."""
FIRST_DELAY, LONGEST_DELAY = 0.05, 2.0
"""Seconds between two tries."""

log = logging.getLogger("bridge.snakepit")


async def wait_for_listener(ping: Callable[[float], Awaitable[object]], address: str, tries: int) -> None:
    """Returns when the BEAM has answered.

    Args:
        ping: asks it once, with a timeout in seconds.
        address: where it listens, for the error.
        tries: how often it is asked.

    Raises ``BridgeError`` UNAVAILABLE, reason ``NO_LISTENER``, if it never answers.
    """
    delay = FIRST_DELAY
    for left in reversed(range(tries)):
        try:
            await ping(PING_TIMEOUT)
            return
        except BridgeError as error:
            problem = error.message
            log.debug("the BEAM does not answer yet: %s", problem)
        if left:
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)
    message = (
        f"the BEAM did not answer at {address}, asked {tries} times: does its listener run, and is --elixir-address "
        f"where it listens? The last time: {problem}"
    )
    raise BridgeError(Code.UNAVAILABLE, message, reason="NO_LISTENER")
