"""The values that travel along the path of a call."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.host import Host

__all__ = ["NO_VALUE", "Chunk", "Emit", "Headers", "Progress", "ToolCall", "as_chunk", "time_remaining"]


class _NoValue:
    """Stands where a chunk or a stream has no value; ``None`` is a value."""

    def __repr__(self) -> str:
        return "NO_VALUE"

    def __bool__(self) -> bool:
        return False


NO_VALUE: Any = _NoValue()


class Progress(msgspec.Struct, frozen=True, gc=False):
    """How far a tool is."""

    fraction: float | None = None
    """Done part of the work from 0 to 1, if the tool can tell."""
    message: str = ""
    """What it is doing, for people."""


class Chunk(msgspec.Struct, frozen=True):
    """What a tool gives before it ends: a value it yields, or a note of progress."""

    value: Any = NO_VALUE
    progress: Progress | None = None
    metadata: Mapping[str, str] | None = None
    """Free text beside a value, where the wire of the caller has room for it."""


def as_chunk(value: Any) -> Chunk:
    """What a tool has yielded; one that has more to say of it than a value yields a ``Chunk`` itself."""
    return value if type(value) is Chunk else Chunk(value)


Emit = Callable[[Chunk], Awaitable[None]]
"""Takes a chunk to the caller; returns when there is room for the next one. Raises when the caller is gone."""

Headers = Mapping[str, str]
"""Text metadata of a call, keys in lower case."""


async def _nowhere(chunk: Chunk) -> None:
    """Swallows chunks: the unary way has room for a result only."""


class ToolCall(msgspec.Struct):
    """One call of a tool, as a frontend hands it to the dispatcher.

    The dispatcher's answer is the return value of the tool, or ``NO_VALUE`` at the end of a stream; what comes before
    that goes through ``emit``. A unary call is the stream that has only an end.
    """

    tool: str
    """Name of the tool."""
    arguments: dict[str, Any]
    """Arguments by parameter name, decoded, not yet validated."""
    host: Host
    """The way back to whoever owns the session."""
    session_id: str = ""
    """Session, or empty."""
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Free text for the tool."""
    headers: Headers = msgspec.field(default_factory=dict)
    """Metadata of the transport: trace context, call path."""
    deadline: float | None = None
    """``time.monotonic()`` at which the caller stops waiting."""
    streaming: bool = False
    """Whether chunks reach the caller; if not, a streaming tool collects or is refused."""
    emit: Emit = _nowhere
    """Where chunks go."""
    answer: Callable[[BridgeError], None] | None = None
    """Answers the caller at once, while the tool is still dying; ``None`` where the transport cannot."""
    size: int = 0
    """Bytes of the request on its wire."""
    peer: str = ""
    """Address of the caller, for logs."""
    principal: str = ""
    """Who the caller proved to be; empty without authentication."""
    frontend: str = "grpc"
    """Which way it came in."""
    plain: str = ""
    """Rules (``bridge.snakepit.graceful.ResultRules``) by which what it gives becomes plain JSON already where it runs,
    if that is another process; empty: it stays as it is."""
    place: str = ""
    """Where to run it instead of the tool's own place (``Entry.place``); for frontends, not for callers."""

    def __repr__(self) -> str:
        # Arguments and sessions are the caller's; what is shown here may end up in a log.
        return f"<ToolCall {self.tool!r} of {len(self.arguments)} arguments, {self.size} bytes>"


def time_remaining(deadline: float | None) -> float | None:
    """Seconds until a ``time.monotonic()`` deadline, not below zero; ``None`` without a deadline."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
