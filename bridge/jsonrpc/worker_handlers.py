"""What worker processes of a handler server run: functions by their names, and scripts.

All of them are one adapter with one tool, which is told with each call what to run. So handlers can be added while
workers are there.
"""

from __future__ import annotations

import functools
import inspect
import runpy
from typing import Any

import msgspec

from bridge.adapter import FALLBACK, Adapter
from bridge.jsonrpc.context import ABOUT, SCRIPT, About, Responded, ScriptContext
from bridge.jsonrpc.handlers import Handled, local, remote
from bridge.loader import load_function
from bridge.tool import ToolOptions

__all__ = ["WorkerHandlers"]


class WorkerHandlers(Adapter):
    """Takes the calls of all handlers that run in worker processes."""

    def run(self, tool_name: str, arguments: dict[str, Any]) -> Any:
        """Runs ``arguments["handler"]`` for the message ``arguments["about"]``."""
        about = msgspec.convert(arguments["about"], About)
        ABOUT.set(about)
        handler: str = arguments["handler"]
        if ":" not in handler:
            return _run_script(handler, ScriptContext(self.context, about))
        handled = _load(handler, tool_name)
        result = handled.tool.function(self, **handled.tool.bind(handled.arguments(about)))
        return self.context.sync._run(result) if inspect.iscoroutine(result) else result


setattr(WorkerHandlers, FALLBACK, remote("handler", ToolOptions(), WorkerHandlers.run))


@functools.cache
def _load(handler: str, method: str) -> Handled:
    return local(method, load_function(handler), ToolOptions())


def _run_script(path: str, context: ScriptContext) -> Any:
    SCRIPT.set(context)
    try:
        runpy.run_path(path, run_name="__main__")
    except Responded as responded:
        return responded.value
    except SystemExit as leaving:
        if leaving.code:
            raise
    finally:
        SCRIPT.set(None)
    return None
