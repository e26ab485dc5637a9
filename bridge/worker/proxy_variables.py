"""Variables for a plugin that has no host: in memory, one session, as long as its proxy runs."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from bridge.blocking_variables import BlockingVariables
from bridge.host import CallScope, Host
from bridge.hosts.limits import HostLimits
from bridge.hosts.sessions import SessionHost
from bridge.session_variables import SessionVariables
from bridge.stores.memory import MemoryStore
from bridge.variable_exchange import Exchange
from bridge.worker.callers_loop import Place

__all__ = ["BlockingProxyVariables", "ProxyVariables", "memory_host"]

T = TypeVar("T")

_FOR_EVER = 100 * 366 * 86400.0


def memory_host() -> tuple[SessionHost, str]:
    """A host with one session that does not expire, and its id."""
    host = SessionHost(MemoryStore(), limits=HostLimits(default_ttl=_FOR_EVER), auto_open=True)
    return host, secrets.token_hex(16)


class ProxyVariables(SessionVariables):
    """The variables that the tools of a plugin see."""

    def __init__(self, host: Host, session_id: str) -> None:
        self._host, self._scope = host, CallScope(session_id)
        self._exchange = Exchange(remember=False)

    def _session(self) -> CallScope:
        return self._scope

    def _talk(self) -> Exchange:
        return self._exchange

    async def _ask(self, operation: Callable[[Host], Awaitable[T]], scope: CallScope, *, idempotent: bool = False) -> T:
        return await operation(self._host)


class BlockingProxyVariables(BlockingVariables):
    """``ProxyVariables``, blocking."""

    def __init__(self, variables: ProxyVariables, place: Place) -> None:
        self._own, self._place = variables, place

    def _variables(self) -> ProxyVariables:
        return self._own

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._place.run(coroutine)

    def _finish(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._place.finish(coroutine)
