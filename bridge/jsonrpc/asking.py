"""The requests of this side of a connection, and who waits for their answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from msgspec import Raw

from bridge.errors import BridgeError, Code
from bridge.jsonrpc.sending import Sending
from bridge.protocols.jsonrpc import Peer
from bridge.protocols.messages import Response, Unmatched
from bridge.protocols.rpc_errors import from_rpc_error

__all__ = ["Asking"]

log = logging.getLogger("bridge.jsonrpc")


class Asking:
    """Asks the other side.

    Args:
        peer: knows which answers are awaited.
        sending: the way there.
    """

    def __init__(self, peer: Peer, sending: Sending) -> None:
        self._peer, self._sending = peer, sending
        self._waiting: dict[int, asyncio.Future[Raw | None]] = {}
        self._is_over = False
        self.complaint = ""
        """What the other side has said at last that is no answer to anything."""

    async def ask(self, method: str, params: Any, timeout: float | None, on_id: Callable[[int], object] | None) -> Any:
        """As ``Connection.request``."""
        if timeout is None:
            return await self._ask(method, params, on_id)
        try:
            async with asyncio.timeout(timeout):
                return await self._ask(method, params, on_id)
        except TimeoutError:
            message = f"{method!r} was not answered within {timeout:g} s"
            raise BridgeError(Code.DEADLINE_EXCEEDED, message, reason="DEADLINE_EXCEEDED") from None

    def answered(self, response: Response) -> None:
        """An answer has come."""
        self.complaint = ""
        answer = self._waiting.get(response.id)
        if answer is None or answer.done():
            return
        if response.error is not None:
            answer.set_exception(from_rpc_error(response.error))
        else:
            answer.set_result(response.result)

    def unmatched(self, response: Unmatched) -> None:
        """An answer has come that nobody waits for."""
        if response.id is None and response.error is not None:
            self.complaint = from_rpc_error(response.error).message
            log.info("the other side says: %s", self.complaint)
        else:
            log.debug("an answer nobody waits for")

    def end(self) -> None:
        """No answer comes any more."""
        self._is_over = True
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(self._lost())

    async def _ask(self, method: str, params: Any, on_id: Callable[[int], object] | None) -> Raw | None:
        await self._sending.room()
        if self._is_over:
            raise self._lost()
        id, text = self._peer.request(method, params)
        answer: asyncio.Future[Raw | None] = asyncio.get_running_loop().create_future()
        self._waiting[id] = answer
        if on_id is not None:
            on_id(id)
        self._sending.write(text)
        try:
            return await answer
        except asyncio.CancelledError:
            self._sending.write(self._peer.cancel(id))
            raise
        finally:
            self._waiting.pop(id, None)

    def _lost(self) -> BridgeError:
        message = "the connection is gone" + (f"; the other side said: {self.complaint}" if self.complaint else "")
        return BridgeError(Code.UNAVAILABLE, message, reason="CONNECTION_LOST")
