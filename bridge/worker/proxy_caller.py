"""Calls of a plugin's tools, blocking and awaited."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.errors import invalid_argument
from bridge.worker.proxy_call import CallOptions, OnProgress
from bridge.worker.proxy_stream import AsyncValues, Values

if TYPE_CHECKING:
    from bridge.worker.callers_loop import Place
    from bridge.worker.proxy_core import ProxyCore

__all__ = ["Caller"]


class Caller:
    """Calls tools, all in one way; ``with_options`` gives another one with another way.

    A tool is named first; what comes then are its arguments, by name, whatever their names are. Without a name it is
    the tool ``execute`` (``execute_stream`` for streams, if there is one), or the only one.

    Raises ``BridgeError``: what the tool raised, with the traceback in ``details.debug``; INVALID_ARGUMENT for wrong
    arguments; NOT_FOUND, reason ``TOOL_NOT_FOUND``; UNAVAILABLE, reason ``WORKER_DIED``, with the signal or exit code
    and the last lines it printed, or, if there is no worker, ``WORKER_START_FAILED`` or ``WORKER_QUARANTINED``;
    CANCELLED; DEADLINE_EXCEEDED; FAILED_PRECONDITION, reason ``CLOSED``, if the proxy does not run.
    """

    _options = CallOptions()

    def _running(self) -> tuple[ProxyCore, Place]:
        """The plugin, and where it is asked; raises if it does not run."""
        raise NotImplementedError

    def with_options(
        self,
        *,
        timeout: float | None = None,
        call_id: str | None = None,
        on_progress: OnProgress | None = None,
        retries: int | None = None,
        session_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Caller:
        """The same plugin, called in another way: ``proxy.with_options(timeout=5).execute("ocr", path="a.png")``.

        What is not given is as in this one.

        Args:
            timeout: seconds until a call is cancelled. It raises when it has really ended: after the grace of the
                manifest, in which a tool may end by itself, its worker is killed.
            call_id: name by which a call can be cancelled and its progress looked up; no two that run may have the
                same.
            on_progress: called with each note of progress, by the thread that runs the event loop at that time; it must
                not block. What it raises ends the call.
            retries: times that a call is made again which was not begun, or whose worker has died if its tool is
                idempotent and has yielded nothing.
            session_id: the session whose variables the tool may use, of the proxy's ``host``.
            metadata: free text for the tool.
        """
        given = {
            "timeout": timeout,
            "call_id": call_id,
            "on_progress": on_progress,
            "retries": retries,
            "session_id": session_id,
            "metadata": metadata,
        }
        if timeout is not None and not timeout > 0:
            raise invalid_argument("timeout", f"must be more than 0 seconds, not {timeout!r:.50}")
        changes = {name: value for name, value in given.items() if value is not None}
        return _OtherWay(self, msgspec.structs.replace(self._options, **changes))

    def execute(self, tool: str = "", /, **arguments: Any) -> Any:
        """Calls a tool and returns its result; blocks. Ctrl-C cancels the call."""
        core, place = self._running()
        return place.run(core.call(tool, arguments, self._options))

    async def execute_async(self, tool: str = "", /, **arguments: Any) -> Any:
        """Calls a tool and returns its result."""
        core, place = self._running()
        return await place.wait(core.call(tool, arguments, self._options))

    def stream(self, tool: str = "", /, **arguments: Any) -> Values:
        """Calls a tool and iterates over what it yields; blocks. The call begins with the iteration."""
        core, place = self._running()
        place.check()
        return Values(place, partial(core.stream, tool, arguments, self._options), self)

    def stream_async(self, tool: str = "", /, **arguments: Any) -> AsyncValues:
        """Calls a tool and iterates over what it yields, by ``async for``. The call begins with the iteration."""
        core, place = self._running()
        return AsyncValues(place, partial(core.stream, tool, arguments, self._options), self)


class _OtherWay(Caller):
    def __init__(self, caller: Caller, options: CallOptions) -> None:
        self._caller, self._options = caller, options

    def _running(self) -> tuple[ProxyCore, Place]:
        return self._caller._running()
