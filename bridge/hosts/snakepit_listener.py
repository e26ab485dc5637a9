"""Snakepit's listener as it is talked to: deadlines, correlation ids, and sessions that it has to know first."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from bridge.engines.base import Channel
from bridge.errors import BridgeError, Code
from bridge.host import CallScope
from bridge.hosts.scopes import headers_of, session_of, time_left
from bridge.snakepit import SERVICE, messages
from bridge.telemetry.propagation import CORRELATION
from bridge.tool_messages import parse_response

__all__ = ["TIMEOUT", "Listener", "said"]

M = TypeVar("M", bound=Message)
T = TypeVar("T")

Headers = Sequence[tuple[str, str]]

TIMEOUT = 30.0
"""Seconds for an answer that nobody has set a deadline for. A tool takes as long as its caller lets it."""
MAX_KNOWN = 10_000
"""Sessions remembered as known to the listener; it has no more itself."""


class Listener:
    """Asks Snakepit's listener.

    Args:
        channel: the connection; ``aclose`` closes it.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._known: dict[str, None] = {}

    async def initialize_session(
        self, session_id: str, metadata: Mapping[str, str] | None = None, *, timeout: float = TIMEOUT
    ) -> None:
        """Tells the listener of a session; one that it knows stays as it is."""
        request = messages.InitializeSessionRequest(session_id=session_id, metadata=dict(metadata or {}))
        answer = await self.send("InitializeSession", request, messages.InitializeSessionResponse, timeout=timeout)
        if not answer.success:
            raise BridgeError(Code.FAILED_PRECONDITION, said(answer.error_message), reason="SESSION_REFUSED")
        while len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[session_id] = None

    def forget(self, session_id: str) -> None:
        """Lets the listener be told of a session again."""
        self._known.pop(session_id, None)

    async def in_session(self, scope: CallScope, operation: Callable[[], Awaitable[T]]) -> T:
        """Does what needs a session that the listener knows."""
        was_told = await self.tell(scope)
        try:
            return await operation()
        except BridgeError as error:
            if was_told or error.reason != "SESSION_NOT_FOUND":
                raise
        # It has been restarted, or the session has expired there. Nothing was done.
        self.forget(scope.session_id)
        await self.tell(scope)
        return await operation()

    async def tell(self, scope: CallScope) -> bool:
        """Tells the listener of the session if that has not been done; whether it was now."""
        session_id = session_of(scope)
        if session_id in self._known:
            return False
        left = time_left(scope)
        await self.initialize_session(session_id, timeout=TIMEOUT if left is None else min(left, TIMEOUT))
        return True

    async def ask(
        self,
        method: str,
        request: Message,
        kind: type[M],
        scope: CallScope,
        headers: Headers = (),
        *,
        timeout: float | None = TIMEOUT,
    ) -> M:
        """Sends a request on somebody's behalf; ``timeout`` if there is no deadline."""
        left = time_left(scope)
        headers = (*headers_of(scope), *headers)
        return await self.send(method, request, kind, headers, timeout=timeout if left is None else left)

    async def send(
        self,
        method: str,
        request: Message,
        kind: type[M],
        headers: Headers = (),
        *,
        timeout: float | None,
    ) -> M:
        """Sends a request and reads the answer."""
        return parse_response(kind, await self.relay(method, request.SerializeToString(), headers, timeout))

    async def relay(self, method: str, request: bytes, headers: Headers, timeout: float | None) -> bytes:
        """Sends a request and returns the answer, both as they are."""
        return await self._channel.unary(SERVICE + method, request, headers=_correlated(headers), timeout=timeout)

    def stream(self, method: str, request: Message, scope: CallScope) -> AsyncGenerator[bytes, None]:
        """Sends a request that is answered by a stream of messages."""
        return self._channel.stream(
            SERVICE + method,
            request.SerializeToString(),
            headers=_correlated(headers_of(scope)),
            timeout=time_left(scope),
        )

    async def aclose(self) -> None:
        """Closes the channel."""
        await self._channel.aclose()


def said(text: str) -> str:
    """What the listener says of a failure, at most so much of it that it can be shown."""
    return text[:2000] or "the listener gave no reason"


def _correlated(headers: Headers) -> Headers:
    """Headers with an id by which the two sides' logs can be laid side by side, made as Elixir makes one."""
    if any(key == CORRELATION for key, _ in headers):
        return headers
    return (*headers, (CORRELATION, f"sp-{secrets.token_hex(12)}"))
