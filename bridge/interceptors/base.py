"""The seam for features that wrap a call: each sees the call go in and the result or the error come out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from bridge.call import ToolCall

__all__ = ["Interceptor", "Proceed", "chain"]

Proceed = Callable[[ToolCall], Awaitable[Any]]
"""The rest of the way of a call: returns the result of the tool, or ``NO_VALUE`` at the end of a stream."""


class Interceptor(Protocol):
    """Wraps calls of tools."""

    async def __call__(self, call: ToolCall, proceed: Proceed, /) -> Any:
        """Does something before ``await proceed(call)``, after it, or instead of it, and returns the result.

        A failure comes out of ``proceed`` as ``BridgeError``, a caller that went away as ``asyncio.CancelledError``;
        both must go on outwards. Chunks of a stream do not pass here: whoever must see them replaces ``call.emit``
        before proceeding. Whatever runs on the way of a call must be quick and must not block.
        """


def chain(interceptors: Iterable[Interceptor], innermost: Proceed) -> Proceed:
    """One function out of many: the first interceptor is the outermost.

    Without interceptors it is ``innermost`` itself, so what is switched off costs nothing.
    """
    proceed = innermost
    for interceptor in reversed(tuple(interceptors)):
        proceed = _bind(interceptor, proceed)
    return proceed


def _bind(interceptor: Interceptor, proceed: Proceed) -> Proceed:
    # A plain function that hands out the interceptor's own coroutine: one coroutine a layer, not two.
    def step(call: ToolCall) -> Awaitable[Any]:
        return interceptor(call, proceed)

    return step
