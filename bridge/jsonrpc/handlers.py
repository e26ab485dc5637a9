"""The methods of a server and what handles them: functions, ``module:function``, or scripts.

A handler is a tool of a registry, so its params are checked, its time and its place are limited, and its errors told
like those of all tools.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from bridge.adapter import Adapter
from bridge.errors import BridgeError, Code
from bridge.jsonrpc.context import ABOUT, About, Context
from bridge.jsonrpc.host_messages import META
from bridge.jsonrpc.params import by_position
from bridge.loader import load_function
from bridge.registry import WORKERS, Registry
from bridge.runtime.hints import suggest
from bridge.session import SessionContext
from bridge.tool import IN_PROCESSES, Tool, ToolOptions, inspect_tool

__all__ = ["Handled", "Handlers", "local", "remote"]

Handler: TypeAlias = "Callable[..., Any] | str"

WHOLE = "params"
"""A handler whose only parameter is called so takes the params as they are, whatever their shape."""

_METHOD = re.compile(r"(?!rpc\.)[!-+\--~]{1,128}")
"""Visible ASCII without commas, as a method's name is in the path of calls. Names that begin with ``rpc.`` are
JSON-RPC's own (JSON-RPC 2.0, 8)."""


class Handled(msgspec.Struct, frozen=True):
    """What handles a method."""

    tool: Tool
    place: str
    is_note: bool
    """Only notifications."""
    is_whole: bool
    """It takes the params as they are."""
    spec: str = ""
    """By what name a worker process finds it; empty: it runs here."""

    def arguments(self, about: About) -> dict[str, Any]:
        """The arguments of the tool. Raises ``BridgeError`` INVALID_ARGUMENT for too many params."""
        params = about.params
        if self.spec:
            return {"handler": self.spec, "about": msgspec.to_builtins(about)}
        if self.is_whole:
            return {WHOLE: params}
        if params is None:
            return {}
        names = [parameter.name for parameter in self.tool.parameters]
        if type(params) is list:
            return by_position(f"method {about.method!r}", params, names)
        # What is said about a request is for those who want to know it.
        return {name: value for name, value in params.items() if name != META or META in names}


class Handlers:
    """The methods of a server. They can be changed while it runs; what runs already goes on as it began."""

    def __init__(self) -> None:
        self.registry = Registry()
        """The same as tools."""
        self._handled: dict[str, Handled] = {}

    @property
    def isolations(self) -> set[str]:
        """The ways in which handlers run that run in other processes."""
        return {handled.tool.isolation for handled in self._handled.values() if handled.spec}

    def get(self, method: str) -> Handled | None:
        """What handles a method, if anything does."""
        return self._handled.get(method)

    def find(self, method: str) -> Handled:
        """What handles requests of a method. Raises ``BridgeError`` NOT_FOUND, reason ``METHOD_NOT_FOUND``."""
        handled = self._handled.get(method)
        if handled is None:
            problem = f"no method {method[:128]!r}; {suggest(method, self._handled)}"
        elif handled.is_note:
            problem = f"{method!r} is a notification: send it without an id"
        else:
            return handled
        raise BridgeError(Code.NOT_FOUND, problem, reason="METHOD_NOT_FOUND")

    def add(self, method: str, handler: Handler, options: ToolOptions, *, is_note: bool = False) -> None:
        """Adds a handler, or puts it in the place of another.

        Raises ``BridgeError`` FAILED_PRECONDITION: ``BAD_METHOD``, ``BAD_SIGNATURE``, ``HANDLER_NOT_FOUND``,
        ``NOT_IMPORTABLE``, or what importing a module raises.
        """
        if not _METHOD.fullmatch(method):
            rule = "1 to 128 visible characters of ASCII, no comma, and not 'rpc.' at the beginning"
            raise _refused("BAD_METHOD", f"{method[:140]!r} cannot be a method: its name is {rule}")
        self._handled[method] = _handled(method, handler, options, is_note)
        self._register()

    def remove(self, method: str) -> None:
        """Removes a handler. Raises ``KeyError`` if there is none."""
        del self._handled[method]
        self._register()

    def _register(self) -> None:
        tools: dict[str, list[Tool]] = {place: [] for place in ("inline", "thread", WORKERS)}
        for handled in self._handled.values():
            tools[handled.place].append(handled.tool)
        self.registry.replace({place: ("the server's handlers", found) for place, found in tools.items()})


def _handled(method: str, handler: Handler, options: ToolOptions, is_note: bool) -> Handled:
    if isinstance(handler, str) and ":" not in handler:
        spec, options = _script(method, handler, options)
    elif options.isolation in IN_PROCESSES:
        spec = handler if isinstance(handler, str) else _spec(handler)
    else:
        function = load_function(handler) if isinstance(handler, str) else handler
        handled = local(method, function, options)
        return msgspec.structs.replace(handled, is_note=is_note)
    return Handled(remote(method, options), WORKERS, is_note, False, spec)


def _script(method: str, handler: str, options: ToolOptions) -> tuple[str, ToolOptions]:
    path = Path(handler).resolve()
    if not path.is_file():
        advice = "give a function, package.module:function, or the path of a script"
        raise _refused("HANDLER_NOT_FOUND", f"method {method!r}: there is no file {handler!r}; {advice}")
    if options.isolation not in (None, "call"):
        raise _refused("BAD_SIGNATURE", f"method {method!r}: a script runs in a process of its own, isolation='call'")
    return str(path), msgspec.structs.replace(options, isolation="call")


def _spec(function: Callable[..., Any]) -> str:
    from bridge.executors.process import adapter_spec  # most servers start no processes

    return adapter_spec(typing.cast("type", function))


def local(method: str, function: Callable[..., Any], options: ToolOptions) -> Handled:
    """A handler of this process. Raises ``BridgeError`` FAILED_PRECONDITION, reason ``BAD_SIGNATURE``."""
    named = msgspec.structs.replace(options, name="handler")  # methods may be called what no tool may
    tool = inspect_tool(_as_method(method, function), named, f"method {method!r}")
    tool = msgspec.structs.replace(tool, name=method, options=msgspec.structs.replace(options, name=method))
    is_whole = [parameter.name for parameter in tool.parameters] == [WHOLE]
    return Handled(tool, tool.isolation, False, is_whole)


def _as_method(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function as the method of an adapter that it is run as."""
    target, hints = _hints(name, function)
    takers = [name for name, hint in hints.items() if hint is Context]

    def prepared(adapter: Adapter, arguments: dict[str, Any]) -> dict[str, Any]:
        for name in takers:
            arguments[name] = Context(adapter.context, ABOUT.get())
        return arguments

    async def call_async(self: Adapter, **arguments: Any) -> Any:
        return await function(**prepared(self, arguments))

    def call(self: Adapter, **arguments: Any) -> Any:
        return function(**prepared(self, arguments))

    method: Any = call_async if inspect.iscoroutinefunction(target) else call
    signature = inspect.signature(function)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__signature__ = signature.replace(parameters=[own, *signature.parameters.values()])
    method.__annotations__ = {name: SessionContext if hint is Context else hint for name, hint in hints.items()}
    method.__name__, method.__doc__ = getattr(function, "__name__", "handler"), inspect.getdoc(function)
    return typing.cast("Callable[..., Any]", method)


def _hints(name: str, function: Callable[..., Any]) -> tuple[Any, dict[str, Any]]:
    """What is called in the end, and its annotations."""
    target: Any = function if inspect.isroutine(function) else type(function).__call__
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        problem = "it yields, and a request has one answer: return it, and send what comes before by ctx.notify"
        raise _refused("BAD_SIGNATURE", f"method {name!r}: {problem}")
    try:
        return target, typing.get_type_hints(target, include_extras=True)
    except Exception as error:  # evaluating annotations runs code of the handler's author
        problem = f"its annotations cannot be read ({type(error).__name__}: {error})"
        raise _refused("BAD_SIGNATURE", f"method {name!r}: {problem}") from error


class _AnyArguments(msgspec.Struct):
    """What a handler in another process takes is checked there."""


def remote(method: str, options: ToolOptions, run: Callable[..., Any] = lambda: None) -> Tool:
    """A handler in a worker process, as a tool; ``run`` is called there."""
    return Tool(
        name=method,
        function=run,
        description="",
        parameters=(),
        input_schema={"type": "object"},
        output_schema=None,
        streaming=False,
        is_async=False,
        isolation=options.isolation or "process",
        options=msgspec.structs.replace(options, name=method),
        context_parameter=None,
        arguments_type=_AnyArguments,
        convert_hook=None,
        dynamic=True,
    )


def _refused(reason: str, message: str) -> BridgeError:
    return BridgeError(Code.FAILED_PRECONDITION, message, reason=reason)
