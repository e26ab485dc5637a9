"""The session that the variables of a call are in.

An MCP session has one of its own in the host inside this server, opened by its first call. Where MCP knows no sessions,
a request may name one: key ``tool-bridge/session`` of its ``_meta``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Mapping
from time import monotonic
from typing import Any

import msgspec

from bridge.errors import BridgeError, Code
from bridge.host import CallScope
from bridge.hosts.sessions import SessionHost
from bridge.mcp.callers import Caller
from bridge.mcp.catalog import META

__all__ = ["Sessions"]


class _Opened(msgspec.Struct):
    session_id: str
    principal: str
    renewed: float
    """``monotonic()`` when its time began anew."""


class Sessions:
    """Finds and opens sessions.

    Args:
        host: who owns them, if it is inside this server; no other is asked to open any.
        default: of calls that name none; empty: as described above.
        most: MCP sessions that are remembered; of others, the one not used for the longest time is closed.
    """

    def __init__(self, host: SessionHost | None, *, default: str = "", most: int = 1000) -> None:
        self._host = host
        self._default, self._most = default, most
        self._opened: OrderedDict[str, _Opened] = OrderedDict()
        self._opening = asyncio.Lock()

    async def session_of(self, caller: Caller, meta: Mapping[str, Any]) -> str:
        """The id of the session of a call; empty: it has none. Raises ``BridgeError`` if it cannot be opened."""
        named = meta.get(META + "session", self._default)
        if not isinstance(named, str):
            message = f"_meta has {META}session, which is not a text: put the id of a session there, or leave it out"
            raise BridgeError(Code.INVALID_ARGUMENT, message, reason="SESSION_ID_REFUSED")
        if named or self._host is None or caller.session is None:
            return named
        opened = self._opened.get(caller.session)
        if opened is None or not self._is_fresh(self._host, opened):
            # To its end, even if the caller gives up: half way nobody knows which session was opened.
            opened = await asyncio.shield(asyncio.ensure_future(self._settle(self._host, caller, caller.session)))
        self._opened.move_to_end(caller.session)
        return opened.session_id

    @staticmethod
    def _is_fresh(host: SessionHost, opened: _Opened) -> bool:
        return monotonic() - opened.renewed < host.limits.default_ttl / 4

    async def _settle(self, host: SessionHost, caller: Caller, key: str) -> _Opened:
        """The session, opened or with its time begun anew."""
        async with self._opening:
            opened = self._opened.get(key)
            if opened is not None:
                if self._is_fresh(host, opened):  # another call was faster
                    return opened
                with contextlib.suppress(BridgeError):  # its time was over
                    await host.heartbeat(CallScope(opened.session_id, principal=opened.principal))
                    opened.renewed = monotonic()
                    return opened
            info = await host.open_session(CallScope(principal=caller.principal), metadata={"opened_by": "mcp"})
            opened = self._opened[key] = _Opened(info.session_id, caller.principal, monotonic())
            if len(self._opened) > self._most:
                await self._close(host, self._opened.popitem(last=False)[1])
            return opened

    @staticmethod
    async def _close(host: SessionHost, opened: _Opened) -> None:
        with contextlib.suppress(BridgeError):  # it is over already
            await host.close_session(CallScope(opened.session_id, principal=opened.principal))
