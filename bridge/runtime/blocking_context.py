"""The session context for plain tools: the same calls as of the other one, blocking."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from .calls import NO_VALUE
from .errors import BridgeError, Code
from .host_messages import EXECUTE_STREAMING_TOOL, Constraints, Variable, WriteResult
from .variables import Conversation, value_of

if TYPE_CHECKING:
    from .context import SessionContext

__all__ = ["SyncSessionContext", "not_here", "refuse_to_block"]


class SyncSessionContext:
    """``SessionContext`` for sync tools: the same calls, blocking.

    Must be used in the thread of the tool (or another thread), never in an event loop.
    """

    __slots__ = ("_asking", "_context")
    __iter__ = None

    def __init__(self, context: SessionContext) -> None:
        self._context = context
        self._asking = context._asking

    def _run(self, conversation: Conversation[Any]) -> Any:
        refuse_to_block("await ctx... in async tools")
        return self._asking.talk_blocking(conversation)

    def get(self, name: str, default: Any = NO_VALUE, *, fresh: bool = False) -> Any:
        """See ``SessionContext.get``."""
        known = NO_VALUE if fresh else self._context._remembered(name)
        if known is not NO_VALUE:
            return value_of(name, known, default)
        return self._run(self._context._open().get(name, default, fresh=fresh))

    def get_variable(self, name: str) -> Variable:
        """See ``SessionContext.get_variable``."""
        found: Variable = self._run(self._context._open().get_variable(name))
        return found

    def get_many(self, names: Iterable[str], *, fresh: bool = False) -> dict[str, Any]:
        """See ``SessionContext.get_many``."""
        found: dict[str, Any] = self._run(self._context._open().get_many(names, fresh=fresh))
        return found

    def list(self, pattern: str = "") -> list[Variable]:
        """See ``SessionContext.list``."""
        found: list[Variable] = self._run(self._context._open().list(pattern))
        return found

    def set(
        self,
        name: str,
        value: Any,
        expected_version: int | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
    ) -> int:
        """See ``SessionContext.set``."""
        version: int = self._run(self._context._open().set(name, value, expected_version, metadata=metadata, ttl=ttl))
        return version

    def set_many(
        self,
        values: Mapping[str, Any],
        *,
        atomic: bool = True,
        expected_versions: Mapping[str, int] | None = None,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
    ) -> dict[str, WriteResult]:
        """See ``SessionContext.set_many``."""
        results: dict[str, WriteResult] = self._run(
            self._context._open().set_many(
                values, atomic=atomic, expected_versions=expected_versions, metadata=metadata, ttl=ttl
            )
        )
        return results

    def register(
        self,
        name: str,
        type: str,
        value: Any,
        constraints: Constraints | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        ttl: float | None = None,
    ) -> Variable:
        """See ``SessionContext.register``."""
        variable: Variable = self._run(
            self._context._open().register(name, type, value, constraints, metadata=metadata, ttl=ttl)
        )
        return variable

    def delete(self, name: str, expected_version: int | None = None) -> None:
        """See ``SessionContext.delete``."""
        self._run(self._context._open().delete(name, expected_version))

    def update(self, name: str, function: Any, default: Any = NO_VALUE) -> Any:
        """See ``SessionContext.update``; the function is a plain one and called in this thread."""
        return self._run(self._context._open().update(name, function, default))

    def watch(self, *names: str, initial: bool = False, resume_after: Mapping[str, int] | None = None) -> NoReturn:
        """Is not there in plugins."""
        raise not_here("watch")

    def history(self, name: str, limit: int = 0) -> NoReturn:
        """Is not there in plugins."""
        raise not_here("history")

    def rollback(self, name: str, version: int, expected_version: int | None = None) -> NoReturn:
        """Is not there in plugins."""
        raise not_here("rollback")

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self.set(name, value)

    def __delitem__(self, name: str) -> None:
        self.delete(name)

    def __contains__(self, name: str) -> bool:
        return self.get(name, _MISSING) is not _MISSING

    def call(self, tool: str, /, **arguments: Any) -> Any:
        """See ``SessionContext.call``."""
        return self._run(self._context._call_tool(tool, arguments))

    def stream(self, tool: str, /, **arguments: Any) -> Iterator[Any]:
        """See ``SessionContext.stream``."""
        refuse_to_block("ctx.stream(...) in async tools")
        self._asking.check()
        request = self._context._request(tool, arguments)
        with self._asking.stream(EXECUTE_STREAMING_TOOL, request) as answers:
            while (values := answers.more_blocking()) is not None:
                yield from values

    def progress(self, fraction: float | None = None, message: str = "") -> None:
        """See ``SessionContext.progress``."""
        self._context.progress(fraction, message)


_MISSING = object()


def refuse_to_block(instead: str) -> None:
    """Raises ``RuntimeError`` in an event loop."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        raise RuntimeError(f"this blocks, and here is the event loop: use {instead}")


def not_here(name: str) -> BridgeError:
    """What the full context can and this one cannot."""
    message = f"ctx.{name} is not there in plugins: ask for it in a tool of the server's own Python"
    return BridgeError(Code.UNIMPLEMENTED, message, reason="NOT_IN_PLUGINS")
