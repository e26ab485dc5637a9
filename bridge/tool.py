"""``@tool``, and what a tool's signature says: schemas, defaults, where it runs, whether it streams.

A signature is read once, when its adapter is loaded. After that binding the arguments of a call is one conversion by
msgspec: validated, converted to the annotated types, every violation with its path.
"""

from __future__ import annotations

import inspect
import math
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar, overload

import msgspec
from msgspec import convert
from msgspec.structs import asdict

from bridge.errors import BridgeError, Code
from bridge.schema import Schemas, convert_hook, schemas_for
from bridge.session import SessionContext
from bridge.variable_exchange import MAX_NAMES
from bridge.variables import check_name
from bridge.violations import refuse

__all__ = [
    "ELSEWHERE",
    "IN_PROCESSES",
    "ISOLATIONS",
    "NAME",
    "Parameter",
    "Tool",
    "ToolOptions",
    "inspect_tool",
    "tool",
]

F = TypeVar("F", bound=Callable[..., Any])

NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
"""What a tool may be called."""
ISOLATIONS = ("inline", "thread", "process", "call", "ray")
"""Where a tool can run: on the event loop; in a thread, in a worker process, each its own for the time of the call; in
a process that has run nothing before and ends with the call; in a worker process on a Ray cluster."""
IN_PROCESSES = frozenset({"process", "call"})
"""Those that are in processes which the server starts."""
ELSEWHERE = IN_PROCESSES | {"ray"}
"""Those that are not in the server's own process: async tools and plain ones can run there."""

_MARK = "__bridge_tool__"
_EMPTY = inspect.Parameter.empty


class ToolOptions(msgspec.Struct, frozen=True):
    """What ``@tool(...)`` was given."""

    name: str | None = None
    isolation: str | None = None
    timeout: float | None = None
    idempotent: bool = False
    read_only: bool = False
    collect: bool = False
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    reads: Sequence[str] = ()
    max_concurrency: int | None = None
    resources: Mapping[str, float] = msgspec.field(default_factory=dict)


@overload
def tool(function: F, /) -> F: ...


@overload
def tool(
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
    resources: Mapping[str, float] | None = None,
) -> Callable[[F], F]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
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
    resources: Mapping[str, float] | None = None,
) -> Any:
    """Makes a method of an ``Adapter`` a tool. Usable as ``@tool`` and as ``@tool(...)``.

    Args:
        name: name for callers; the method's own by default.
        isolation: ``"inline"`` runs on the event loop (the default of ``async def``, must not block), ``"thread"`` in a
            thread (the default of ``def``), ``"process"`` in a worker process that can be killed, ``"call"`` in a
            process of its own, ``"ray"`` on a Ray cluster.
        timeout: seconds after which the server ends a call, whatever the caller's deadline.
        idempotent: calling it twice does the same as once, so clients may retry a call that failed half-way.
        read_only: it only looks. Implies nothing else.
        collect: a streaming tool may be called by the unary RPC too; what it yields comes back as a list.
        metadata: free text for those who list tools.
        reads: names of session variables that the tool is going to read: they are fetched in one round trip before it
            starts, if the call has a session. Reading them then costs next to nothing.
        max_concurrency: most calls of it at once in a server, wherever they run; others wait. Calls inside other calls
            do not: they come on top. ``None``: no limit of its own.
        resources: what a worker needs of a node of the Ray cluster: ``num_cpus`` (1 by default), ``num_gpus``,
            ``memory`` (bytes), and the cluster's own names. Without meaning elsewhere.
    """
    options = ToolOptions(
        name,
        isolation,
        timeout,
        idempotent,
        read_only,
        collect,
        dict(metadata or {}),
        reads,
        max_concurrency,
        dict(resources or {}),
    )

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        setattr(function, _MARK, options)
        return function

    return mark if function is None else mark(function)


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of a tool."""

    name: str
    type: str
    """For people."""
    description: str
    required: bool
    default: Any
    schema: dict[str, Any]
    """JSON Schema 2020-12."""


class Tool(msgspec.Struct, frozen=True):
    """A tool, as its signature and decorator describe it."""

    name: str
    function: Callable[..., Any]
    """The method, unbound."""
    description: str
    parameters: tuple[Parameter, ...]
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None
    streaming: bool
    """It yields values."""
    is_async: bool
    isolation: str
    options: ToolOptions
    context_parameter: str | None
    """The parameter that takes the ``SessionContext``."""
    arguments_type: type[msgspec.Struct]
    """A struct with a field for each parameter."""
    convert_hook: Callable[[Any, Any], Any] | None
    """Converts to types msgspec does not know; ``None`` if there are none."""
    reads: tuple[str, ...] = ()
    """Session variables that are fetched before it starts."""
    dynamic: bool = False
    """What it takes and gives is not known before: its function is called with ``tool_name`` and ``arguments`` as they
    came, and a result that is a generator is streamed."""

    def bind(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Keyword arguments for the function, validated and converted; defaults filled in.

        Raises ``BridgeError`` INVALID_ARGUMENT with a violation for every argument that is missing, unknown or wrong.
        """
        try:
            return asdict(convert(arguments, self.arguments_type, dec_hook=self.convert_hook))
        except (msgspec.ValidationError, RecursionError):
            refuse(self.name, arguments, self.arguments_type)


def marked(function: object) -> ToolOptions | None:
    """The options of a function that carries ``@tool``, else ``None``."""
    return getattr(function, _MARK, None)


def inspect_tool(function: Callable[..., Any], options: ToolOptions, owner: str) -> Tool:
    """Reads a tool's signature.

    Args:
        function: the method, unbound.
        options: what its decorator was given.
        owner: the adapter's name, for errors.

    Raises ``BridgeError`` FAILED_PRECONDITION, reason ``BAD_SIGNATURE``, that says what to change.
    """
    where = f"{owner}.{function.__name__}"
    name = options.name or function.__name__
    if not NAME.fullmatch(name):
        _bad(where, f"a tool's name is 1 to 128 letters, digits, '_', '.', '-', and {name[:140]!r} is not")
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    streaming = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    isolation = options.isolation or ("inline" if is_async else "thread")
    _check_options(where, options, isolation, is_async=is_async, streaming=streaming)

    hints = _hints(function, where)
    declared, context_parameter = _declared(function, hints, where)
    types = {parameter.name: _value_type(hints.get(parameter.name)) for parameter in declared}
    schemas = _schemas(where, types, declared, function, hints.get("return", _EMPTY), streaming)
    return Tool(
        name=name,
        function=function,
        description=schemas.description,
        parameters=tuple(
            Parameter(
                name=parameter.name,
                type=_type_text(types[parameter.name]),
                description=schemas.parameters[parameter.name].get("description", ""),
                required=parameter.default is _EMPTY,
                default=parameter.default,
                schema=schemas.parameters[parameter.name],
            )
            for parameter in declared
        ),
        input_schema=schemas.input,
        output_schema=schemas.output,
        streaming=streaming,
        is_async=is_async,
        isolation=isolation,
        options=options,
        context_parameter=context_parameter,
        arguments_type=_arguments_type(types, declared),
        convert_hook=convert_hook if schemas.custom else None,
        reads=_reads(where, options.reads),
    )


def _check_options(where: str, options: ToolOptions, isolation: str, *, is_async: bool, streaming: bool) -> None:
    if isolation not in ISOLATIONS:
        _bad(where, f"isolation={isolation!r} is not known; there is {', '.join(ISOLATIONS)}")
    if is_async and isolation == "thread":
        _bad(
            where,
            "an async tool runs on an event loop; make it a plain def for isolation='thread', or choose 'process'",
        )
    if options.timeout is not None and not options.timeout > 0:
        _bad(where, "timeout must be more than 0 seconds")
    most = options.max_concurrency
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        _bad(where, f"max_concurrency is a number of calls from 1 on, and {most!r:.140} is not")
    if options.collect and not streaming:
        _bad(where, "collect=True is for tools that yield")
    _check_resources(where, options)


def _check_resources(where: str, options: ToolOptions) -> None:
    if options.resources and options.isolation not in (None, "ray"):
        _bad(where, f"resources are for isolation='ray', and it has {options.isolation!r}")
    for name, amount in options.resources.items():
        if not isinstance(name, str) or not _is_amount(amount):
            _bad(where, f"resources has {name!r:.140}: {amount!r:.140}, and it takes names and numbers from 0 on")
        if name in ("CPU", "GPU"):
            _bad(where, f"resources has {name!r}, which is called 'num_{name.lower()}s' here")


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _reads(where: str, reads: Sequence[str]) -> tuple[str, ...]:
    if isinstance(reads, str) or not isinstance(reads, Sequence):
        _bad(where, f"reads is a list of names, such as ['temperature'], and {reads!r:.140} is not")
    try:
        for name in reads:
            check_name(name)
    except BridgeError as error:
        _bad(where, f"reads has {name!r:.140}, and {error.message}")
    names = tuple(dict.fromkeys(reads))
    if len(names) > MAX_NAMES:
        _bad(where, f"reads has {len(names)} names, and {MAX_NAMES} can be read at once")
    return names


def _hints(function: Callable[..., Any], where: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception as error:  # noqa: BLE001 - evaluating annotations runs code of the adapter's author
        _bad(where, f"its annotations cannot be read ({type(error).__name__}: {error})")


def _declared(
    function: Callable[..., Any], hints: dict[str, Any], where: str
) -> tuple[list[inspect.Parameter], str | None]:
    """The parameters that callers give, and the name of the one that takes the context."""
    parameters = list(inspect.signature(function).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    if not parameters or parameters[0].kind not in positional:
        _bad(where, "a tool is a method: its first parameter is self")
    declared, context_parameter = [], None
    for parameter in parameters[1:]:
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            _bad(where, f"*{parameter.name}: callers need named parameters; take a list or a dict")
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            _bad(where, f"{parameter.name}: arguments come by name, so parameters before '/' cannot be given")
        if hints.get(parameter.name) is SessionContext:
            if context_parameter is not None:
                _bad(where, "it takes the SessionContext twice")
            context_parameter = parameter.name
        else:
            declared.append(parameter)
    return declared, context_parameter


def _schemas(
    where: str,
    types: dict[str, Any],
    declared: list[inspect.Parameter],
    function: Callable[..., Any],
    returns: Any,
    streaming: bool,
) -> Schemas:
    try:
        return schemas_for(
            types,
            {parameter.name: parameter.default for parameter in declared if parameter.default is not _EMPTY},
            inspect.getdoc(function) or "",
            None if returns is _EMPTY else _item_type(returns) if streaming else returns,
        )
    except (TypeError, ValueError) as error:
        _bad(where, str(error))


def _arguments_type(types: dict[str, Any], declared: list[inspect.Parameter]) -> type[msgspec.Struct]:
    fields: list[Any] = [
        (parameter.name, types[parameter.name])
        if parameter.default is _EMPTY
        # As in Python every call gets the same default, whatever it is.
        else (parameter.name, types[parameter.name], msgspec.field(default_factory=_constant(parameter.default)))
        for parameter in declared
    ]
    return msgspec.defstruct("Arguments", fields, forbid_unknown_fields=True, kw_only=True)


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


def _value_type(hint: Any) -> Any:
    return Any if hint is None or hint is object else hint


def _item_type(returns: Any) -> Any:
    """``X`` of ``Iterator[X]``, ``AsyncIterator[X]``, ``Generator[X, ...]`` and so on."""
    arguments = typing.get_args(returns)
    return arguments[0] if arguments else None


def _type_text(hint: Any) -> str:
    """A type for people: constraints are in the schema."""
    while typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    return "any" if hint is Any else inspect.formatannotation(hint).replace("typing.", "")


def _bad(where: str, why: str) -> NoReturn:
    raise BridgeError(Code.FAILED_PRECONDITION, f"{where} cannot be a tool: {why}", reason="BAD_SIGNATURE")
