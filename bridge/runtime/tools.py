"""``@tool``, and a tool as it is known when its signature was read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple, NoReturn

from .calls import ToolSpec
from .convert import MismatchError
from .errors import BridgeError, Code, ErrorDetails, FieldViolation
from .hints import closest

__all__ = ["ISOLATIONS", "NAME", "Tool", "ToolOptions", "marked", "tool"]

NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
"""What a tool may be called."""
ISOLATIONS = ("inline", "thread", "process", "call")
"""What a tool may ask for. A plugin is in a process of its own, whatever its tools ask for."""
_MARK = "__bridge_tool__"


class ToolOptions(NamedTuple):
    """What ``@tool(...)`` was given."""

    name: str | None = None
    isolation: str | None = None
    timeout: float | None = None
    idempotent: bool = False
    read_only: bool = False
    collect: bool = False
    metadata: Mapping[str, str] = {}
    reads: Sequence[str] = ()
    max_concurrency: int | None = None


def tool(
    function: Any = None,
    *,
    name: str | None = None,
    isolation: str | None = None,
    timeout: float | None = None,
    idempotent: bool = False,
    read_only: bool = False,
    collect: bool = False,
    metadata: Mapping[str, str] | None = None,
    reads: Sequence[str] = (),
    max_concurrency: int | None = None,
) -> Any:
    """Makes a method of an ``Adapter`` a tool. Usable as ``@tool`` and as ``@tool(...)``.

    Args:
        name: name for callers; the method's own by default.
        isolation: without meaning in a plugin, which has a process of its own; its manifest says which.
        timeout: seconds after which the server ends a call, whatever the caller's deadline.
        idempotent: calling it twice does the same as once, so clients may retry a call that failed half-way.
        read_only: it only looks. Implies nothing else.
        collect: a streaming tool may be called by the unary RPC too; what it yields comes back as a list.
        metadata: free text for those who list tools.
        reads: names of session variables that are fetched in one round trip before the tool starts.
        max_concurrency: most calls of it at once in a server; others wait, but for calls inside other calls.
    """
    options = ToolOptions(
        name, isolation, timeout, idempotent, read_only, collect, dict(metadata or {}), reads, max_concurrency
    )

    def mark(function: Any) -> Any:
        setattr(function, _MARK, options)
        return function

    return mark if function is None else mark(function)


def marked(function: object) -> ToolOptions | None:
    """The options of a function that carries ``@tool``, else ``None``."""
    return getattr(function, _MARK, None)


class Tool(NamedTuple):
    """A tool, as its signature and decorator describe it."""

    name: str
    spec: ToolSpec
    """What callers see of it."""
    function: Callable[..., Any]
    """The method, unbound."""
    streaming: bool
    """It yields values."""
    is_async: bool
    collects: bool
    """A streaming tool that may be called by the unary way, too."""
    context_parameter: str | None
    """The parameter that takes the ``SessionContext``."""
    converts: dict[str, Callable[[Any], Any]]
    """By parameter, what makes its value of the argument."""
    defaults: dict[str, Any]
    views: frozenset[str] = frozenset()
    """Parameters that take a ``memoryview``, and so large values without a copy."""
    reads: tuple[str, ...] = ()
    """Session variables that are fetched before it starts."""
    positional: tuple[str, ...] = ()
    """Parameters that have to be given by their place: those before ``/`` or ``*args``."""
    rest: str = ""
    """The ``*args`` of a plain class, which callers give as a list."""
    is_open: bool = False
    """It has ``**kwargs``: arguments that it does not name are given as they come."""

    def call(self, instance: Any, bound: dict[str, Any]) -> Any:
        """Calls the method with arguments as ``bind`` gives them."""
        if not self.positional and not self.rest:
            return self.function(instance, **bound)
        placed = [bound.pop(name) for name in self.positional]
        return self.function(instance, *placed, *(bound.pop(self.rest) if self.rest else ()), **bound)

    def bind(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name, validated and converted; defaults filled in.

        Raises ``BridgeError`` INVALID_ARGUMENT with a violation for every argument that is missing, unknown or wrong.
        """
        bound = dict(self.defaults)
        converts = self.converts
        known = 0
        try:
            for name, value in arguments.items():
                convert = converts.get(name)
                if convert is not None:
                    bound[name] = convert(value)
                    known += 1
                elif self.is_open:
                    bound[name] = value
                else:
                    _refuse(self, arguments)
        except (MismatchError, RecursionError):
            _refuse(self, arguments)
        if len(bound) - (len(arguments) - known) != len(converts):
            _refuse(self, arguments)
        return bound


def _refuse(tool: Tool, arguments: Mapping[str, Any]) -> NoReturn:
    """Raises with every violation: all unknown, missing and wrong arguments, not only the first."""
    unknown = [] if tool.is_open else [name for name in arguments if name not in tool.converts]
    violations = [FieldViolation(f"$.{name}", _unknown(name, list(tool.converts))) for name in unknown]
    for name, convert in tool.converts.items():
        if name not in arguments:
            if name not in tool.defaults:
                violations.append(FieldViolation(f"$.{name}", "is required"))
            continue
        try:
            convert(arguments[name])
        except MismatchError as error:
            text = error.text.replace("`", "")
            violations.append(FieldViolation(f"$.{name}{error.path}", text[:1].lower() + text[1:]))
        except RecursionError:
            violations.append(FieldViolation(f"$.{name}", "is nested too deeply"))
    listed = "; ".join(f"{violation.field} {violation.description}" for violation in violations[:5])
    more = f"; and {len(violations) - 5} more" if len(violations) > 5 else ""
    raise BridgeError(
        Code.INVALID_ARGUMENT,
        f"tool {tool.name!r}: {listed}{more}",
        reason="INVALID_ARGUMENT",
        details=ErrorDetails(violations=tuple(violations)),
    )


def _unknown(name: str, known: Sequence[str]) -> str:
    close = closest(name, known)
    if close is not None:
        return f"is not a parameter; did you mean {close}?"
    return f"is not a parameter; there is {', '.join(known)}" if known else "is not a parameter; there are none"
