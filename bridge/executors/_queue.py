"""Calls that wait for a place: a thread, a worker process, or one of the places that their tool has."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from bridge.call import ToolCall, time_remaining
from bridge.errors import BridgeError, Code, ErrorDetails

__all__ = ["OnWait", "Queue"]

P = TypeVar("P")

OnWait = Callable[[str, float], None]
"""Told the tool and the seconds that it has waited."""


class Queue(Generic[P]):
    """First come, first served.

    Args:
        kind: what a place is, for messages: ``thread``, ``worker``.
        option: what says how many there are, for messages.
        places: how many there are.
        limit: most calls that wait.
        take_back: takes the place that a call got in the same turn in which it was cancelled.
        on_wait: told the tool and the seconds it waited for its place.
    """

    def __init__(
        self,
        kind: str,
        option: str,
        *,
        places: int,
        limit: int,
        take_back: Callable[[P], None],
        on_wait: OnWait | None = None,
    ) -> None:
        self._kind, self._option = kind, option
        self._places, self._limit = places, limit
        self._take_back, self._on_wait = take_back, on_wait
        self._waiting: deque[asyncio.Future[P]] = deque()
        self._hold = 0.0
        """Seconds that a call has its place, as a moving average."""

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, seconds: float) -> None:
        """A call had its place so long."""
        self._hold += 0.2 * (seconds - self._hold)

    def check(self, call: ToolCall) -> None:
        """Refuses a call that would wait in vain, or behind too many.

        Raises ``BridgeError`` RESOURCE_EXHAUSTED, reason ``SERVER_BUSY``, with a time to retry.
        """
        waiting, places, kind = len(self._waiting), self._places, self._kind
        wait = self._hold * (waiting + 1) / places
        remaining = time_remaining(call.deadline)
        if waiting >= self._limit:
            why = f"{places} {kind}s are busy and {waiting} calls wait ({self._option}, --queue-size)"
        elif remaining is not None and wait > remaining:
            why = f"a {kind} is free in about {wait:.2f} s, and the deadline is in {remaining:.2f} s ({self._option})"
        else:
            return
        raise BridgeError(
            Code.RESOURCE_EXHAUSTED,
            f"tool {call.tool!r} was not started: {why}; try again later",
            reason="SERVER_BUSY",
            details=ErrorDetails(retry_after=min(max(wait, 0.05), 5.0)),
        )

    def join(self, *, first: bool = False) -> asyncio.Future[P]:
        """A turn, for ``wait``: the last one, or the first."""
        turn: asyncio.Future[P] = asyncio.get_running_loop().create_future()
        if first:
            self._waiting.appendleft(turn)
        else:
            self._waiting.append(turn)
        return turn

    async def wait(self, call: ToolCall, turn: asyncio.Future[P]) -> P:
        """The place, when it is there. Raises what ``fail`` was given."""
        since = time.monotonic()
        try:
            place = await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._take_back(turn.result())  # handed over in the same turn as the cancel
            elif turn in self._waiting:  # else a place came free in the same turn and passed over it
                self._waiting.remove(turn)
            raise
        if self._on_wait is not None:
            self._on_wait(call.tool, time.monotonic() - since)
        return place

    def hand_on(self, place: P) -> bool:
        """Gives a place to whoever waits; whether somebody did."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(place)
                return True
        return False

    def fail(self, error: BridgeError) -> None:
        """Lets the first one fail."""
        if self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(error)

    def fail_all(self, error: BridgeError) -> None:
        """Lets all of them fail."""
        while self._waiting:
            self.fail(error)
