"""What a handler knows of the message it answers, and how it talks to the client meanwhile.

What goes to the client goes as calls of tools of the handler's host, so handlers in worker processes have the same.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any, Final, NoReturn

import msgspec

from bridge.cancel_event import CancelEvent
from bridge.errors import BridgeError, Code
from bridge.protocols.messages import Id
from bridge.protocols.rpc_errors import RpcFailure
from bridge.session import SessionContext, SyncSessionContext

__all__ = [
    "ABOUT",
    "ASK",
    "NOTIFY",
    "PROGRESS",
    "SCRIPT",
    "About",
    "Context",
    "Responded",
    "ScriptContext",
    "script_context",
]

ASK: Final = "client.request"
NOTIFY: Final = "client.notify"
PROGRESS: Final = "client.progress"
"""Tools of the host that ``bridge.jsonrpc.clients`` has."""


class About(msgspec.Struct, frozen=True):
    """The message that a handler answers."""

    method: str
    params: Any
    """As they came; ``None`` if there were none."""
    id: Id | None
    """``None``: a notification."""
    connection: int
    """Which of the server's connections it came by."""
    token: Id | None = None
    """By which name the client wants to hear of progress; ``None``: it does not."""


ABOUT: ContextVar[About] = ContextVar("bridge_jsonrpc_message")
"""Set before a handler is called."""


class _Message:
    """What ``Context`` and ``SyncContext`` have in common."""

    __slots__ = ("_about", "_session")

    def __init__(self, session: SessionContext, about: About) -> None:
        self._session, self._about = session, about

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.method!r}>"

    @property
    def method(self) -> str:
        """The method."""
        return self._about.method

    @property
    def params(self) -> Any:
        """The params as they came: a dict, a list, or ``None``."""
        return self._about.params

    @property
    def id(self) -> Id | None:
        """The id of the request; ``None``: it is a notification."""
        return self._about.id

    @property
    def connection(self) -> int:
        """The number of the client's connection: another one for each, from 1 on."""
        return self._about.connection

    @property
    def cancelled(self) -> CancelEvent:
        """Set when nobody waits for the handler any more."""
        return self._session.cancelled

    def time_remaining(self) -> float | None:
        """Seconds until the handler's time is over."""
        return self._session.time_remaining()

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry the method."""
        return self._session.log

    def fail(self, number: int, message: str, data: Any = None) -> NoReturn:
        """Ends the handler by an error of the protocol's own: raises ``RpcFailure``."""
        raise RpcFailure(number, message, data)

    def _message(self, method: str, params: Any) -> dict[str, Any]:
        return {"connection": self._about.connection, "method": method, "params": params}

    def _progress(self, value: Any) -> dict[str, Any]:
        return {"connection": self._about.connection, "token": self._about.token, "value": value}


class Context(_Message):
    """A handler's view of its message, its client and its time. A parameter annotated with it gets it.

    All methods raise ``BridgeError`` CANCELLED, reason ``CLIENT_GONE``, when the client has gone.
    """

    __slots__ = ("_sync",)

    def __init__(self, session: SessionContext, about: About) -> None:
        super().__init__(session, about)
        self._sync: SyncContext | None = None

    @property
    def session(self) -> SessionContext:
        """The variables, which are all that handlers share: ``await ctx.session.get("x")``, ``set``, ``watch``, ..."""
        return self._session

    @property
    def sync(self) -> SyncContext:
        """The same, blocking, for plain handlers."""
        if self._sync is None:
            self._sync = SyncContext(self._session, self._about)
        return self._sync

    async def request(self, method: str, params: Any = None, *, timeout: float | None = None) -> Any:
        """Asks the client and returns its result.

        Args:
            method: what the client is to do.
            params: a dict or a list; ``None``: without.
            timeout: seconds to wait; at most what the handler has left.

        Raises:
            BridgeError: what the client answered, with its text, and a code that is none of our own answers (see
                ``bridge.jsonrpc.clients``); DEADLINE_EXCEEDED.
        """
        return await self._session.call(ASK, **self._message(method, params), timeout=timeout)

    async def notify(self, method: str, params: Any = None) -> None:
        """Tells the client something, before the answer and in order; waits while it takes nothing."""
        await self._session.call(NOTIFY, **self._message(method, params))

    async def progress(self, value: Any) -> None:
        """Tells the client how far the handler is (``$/progress``), if it has given a token for that."""
        if self._about.token is not None:
            await self._session.call(PROGRESS, **self._progress(value))


class SyncContext(_Message):
    """``Context`` for plain handlers: the same calls, blocking; not in the event loop."""

    __slots__ = ()

    @property
    def session(self) -> SyncSessionContext:
        """The variables: ``ctx.session.get("x")``, or like a mapping."""
        return self._session.sync

    def request(self, method: str, params: Any = None, *, timeout: float | None = None) -> Any:
        """See ``Context.request``."""
        return self.session.call(ASK, **self._message(method, params), timeout=timeout)

    def notify(self, method: str, params: Any = None) -> None:
        """See ``Context.notify``."""
        self.session.call(NOTIFY, **self._message(method, params))

    def progress(self, value: Any) -> None:
        """See ``Context.progress``."""
        if self._about.token is not None:
            self.session.call(PROGRESS, **self._progress(value))


class Responded(BaseException):
    """Ends a script that has said its result. No error, so a script's ``except Exception`` does not catch it."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


class ScriptContext(SyncContext):
    """What ``script_context()`` gives to a script."""

    __slots__ = ()

    def respond(self, value: Any = None) -> NoReturn:
        """Ends the script; the value is the result."""
        raise Responded(value)


SCRIPT: ContextVar[ScriptContext | None] = ContextVar("bridge_jsonrpc_script", default=None)
"""Set while a script runs."""


def script_context() -> ScriptContext:
    """The message that a script answers.

    Raises ``BridgeError`` FAILED_PRECONDITION, reason ``NO_SCRIPT``, elsewhere.
    """
    found = SCRIPT.get()
    if found is None:
        message = "this is no script of a server: a function gets its context by a parameter annotated with Context"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="NO_SCRIPT")
    return found
