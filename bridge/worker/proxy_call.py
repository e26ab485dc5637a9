"""One call by a proxy: what its caller wants to know of it, and why it was ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from bridge.call import NO_VALUE, Chunk, Emit, Progress
from bridge.errors import BridgeError, Code

__all__ = ["CallOptions", "Ongoing", "cancelled", "closed", "no_values", "stalled", "timed_out"]

OnProgress = Callable[[Progress], object]


class CallOptions(msgspec.Struct, frozen=True):
    """How calls are made; their arguments are another thing."""

    timeout: float | None = None
    """Seconds until a call is cancelled; ``None``: as the manifest says, or no limit."""
    call_id: str = ""
    """Name by which it can be cancelled and its progress looked up; no two that run may have the same."""
    on_progress: OnProgress | None = None
    """Called with each note of progress, in the event loop: it must not block."""
    retries: int = 0
    """Times that a call is repeated which was not begun, or whose worker has died if its tool is idempotent and has
    yielded nothing."""
    session_id: str = ""
    """Session whose variables the tool may use; empty: the proxy's own, if it has one."""
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Free text for the tool."""

    @property
    def follows(self) -> bool:
        """Whether somebody wants to know how far it is."""
        return bool(self.call_id) or self.on_progress is not None


class Ongoing(msgspec.Struct, eq=False):
    """A call that has begun."""

    tool: str
    task: asyncio.Task[Any]
    """In which it runs; its caller's."""
    on_progress: OnProgress | None
    cancels: int
    """How often the task was cancelled before."""
    progress: Progress | None = None
    """The latest note."""
    error: BridgeError | None = None
    """Why it was ended, if it was."""
    has_given: bool = False
    """Its caller has got some of its values."""
    stall_timeout: float = 0.0
    """Seconds without a note of progress after which it is; 0: any number."""
    _timer: asyncio.TimerHandle | None = None

    def limit(self, seconds: float, error: Callable[[str, float], BridgeError]) -> float:
        """Ends it after so many seconds, and forgets an earlier limit; when that is, of ``time.monotonic``."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, lambda: self.end(error(self.tool, seconds)))
        return time.monotonic() + seconds

    def relay(self, emit: Emit | None) -> Emit:
        """Takes notes of progress here, and all else to ``emit``."""

        async def take(chunk: Chunk) -> None:
            if chunk.progress is not None:
                self._note(chunk.progress)
            if emit is not None and chunk.value is not NO_VALUE:
                self.has_given = True
                await emit(chunk)

        return take

    def _note(self, progress: Progress) -> None:
        self.progress = progress
        if self.stall_timeout:
            self.limit(self.stall_timeout, stalled)
        if self.on_progress is not None:
            self.on_progress(progress)

    def end(self, error: BridgeError) -> None:
        """Has it end with an error; the first one counts."""
        if self.error is None:
            self.error = error
            self.task.cancel()

    @property
    def was_alone(self) -> bool:
        """Nobody else has cancelled the task, who would have to be told."""
        return self.task.cancelling() <= self.cancels + 1

    def over(self) -> None:
        """It has ended."""
        if self._timer is not None:
            self._timer.cancel()
        if self.error is not None:
            self.task.uncancel()  # it goes on, for all that its caller does


async def no_values(chunk: Chunk) -> None:
    """Where values go of tools that yield none."""


def timed_out(tool: str, seconds: float) -> BridgeError:
    """Its time is over."""
    message = f"tool {tool!r} did not end within {seconds:.3g} s"
    return BridgeError(Code.DEADLINE_EXCEEDED, message, reason="DEADLINE_EXCEEDED")


def stalled(tool: str, seconds: float) -> BridgeError:
    """It does not say that it gets on."""
    message = f"{tool!r} told of no progress for {seconds:.3g} s: have the plugin report progress, or give it longer"
    return BridgeError(Code.DEADLINE_EXCEEDED, message, reason="NO_PROGRESS")


def cancelled(call_id: str) -> BridgeError:
    """Somebody wanted it to end."""
    return BridgeError(Code.CANCELLED, f"call {call_id!r} was cancelled", reason="CANCELLED")


def closed() -> BridgeError:
    """Nothing is there to run it: not yet, or not any more."""
    message = "the proxy is not running: use it inside `with` or `async with`, or start it"
    return BridgeError(Code.FAILED_PRECONDITION, message, reason="CLOSED")
