"""What a tool's signature says: parameters, schemas, defaults, whether it streams.

It is read once, when a plugin is loaded.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NoReturn

from .calls import NO_VALUE, ParameterSpec, ToolSpec
from .context import SessionContext
from .convert import Type, Types, alternatives, read_annotations
from .docstrings import parameter_docs, summary
from .errors import BridgeError, Code
from .host_messages import pack_get
from .schema import arguments_schema, parameter_schemas, result_schema, standing_alone
from .tools import ISOLATIONS, NAME, Tool, ToolOptions

__all__ = ["inspect_tool"]

MAX_NAMES = 1000
"""Variables that can be read at once."""

_MAX_CONCURRENCY = "bridge.max_concurrency"
"""As in ``bridge.tool_specs``."""
_EMPTY = inspect.Parameter.empty
_POSITIONAL = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
_ARGS, _KWARGS = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD


def inspect_tool(
    function: Callable[..., Any], options: ToolOptions, owner: str, types: Types, *, plain: bool = False
) -> Tool:
    """Reads a tool's signature.

    Args:
        function: the method, unbound.
        options: what its decorator was given.
        owner: the class's name, for errors.
        types: those of the plugin.
        plain: it is a method of a class that is no adapter and was not written for callers elsewhere: annotations that
            cannot be read take any value, and ``*args`` and ``**kwargs`` may be there.

    Raises ``BridgeError`` FAILED_PRECONDITION, reason ``BAD_SIGNATURE``, that says what to change.
    """
    where = f"{owner}.{function.__name__}"
    name = options.name or function.__name__
    if not NAME.fullmatch(name):
        _bad(where, f"a tool's name is 1 to 128 letters, digits, '_', '.', '-', and {name[:140]!r} is not")
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    streaming = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    _check_options(where, options, is_async=is_async, streaming=streaming)
    hints = _hints(function, where, plain)
    declared, context_parameter = _declared(function, hints, where, plain)
    named = [one for one in declared if one.kind is not _KWARGS]
    rest = next((one.name for one in named if one.kind is _ARGS), "")
    if rest:
        hints[rest] = list
    converted = {one.name: _type(where, one.name, hints, types) for one in named}
    defaults = {one.name: one.default for one in named if one.default is not _EMPTY}
    if rest:
        defaults[rest] = []
    spec = _spec(function, options, hints, converted, defaults, is_open=len(named) < len(declared))
    return Tool(
        name=name,
        spec=spec._replace(
            name=name, supports_streaming=streaming, output_schema=_output(hints.get("return", Any), streaming, types)
        ),
        function=function,
        streaming=streaming,
        is_async=is_async,
        collects=options.collect,
        context_parameter=context_parameter,
        converts={one: type_.convert for one, type_ in converted.items()},
        defaults=defaults,
        views=frozenset(one for one in converted if _takes_view(hints.get(one))),
        reads=_reads(where, options.reads),
        positional=_by_place(named),
        rest=rest,
        is_open=len(named) < len(declared),
    )


def _spec(
    function: Callable[..., Any],
    options: ToolOptions,
    hints: Mapping[str, Any],
    converted: Mapping[str, Type],
    defaults: Mapping[str, Any],
    *,
    is_open: bool,
) -> ToolSpec:
    """What callers see, but for its name and what it gives."""
    doc = inspect.getdoc(function) or ""
    schemas, definitions = parameter_schemas(converted, defaults, parameter_docs(doc, converted))
    required = [one for one in converted if one not in defaults]
    return ToolSpec(
        name="",
        description=summary(doc),
        parameters=[
            ParameterSpec(
                name=one,
                type=_type_text(hints.get(one)),
                description=schema.get("description", ""),
                required=one in required,
                default=defaults.get(one, NO_VALUE),
                schema=json.dumps(standing_alone(schema, definitions)),
            )
            for one, schema in schemas.items()
        ],
        metadata=_metadata(options),
        input_schema=json.dumps(arguments_schema(schemas, definitions, required, is_open=is_open)),
        idempotent=options.idempotent,
        read_only=options.read_only,
        isolation="call" if options.isolation == "call" else "process",
        timeout=options.timeout,
        collects=options.collect,
    )


def _check_options(where: str, options: ToolOptions, *, is_async: bool, streaming: bool) -> None:
    if options.isolation is not None and options.isolation not in ISOLATIONS:
        _bad(where, f"isolation={options.isolation!r} is not known; there is {', '.join(ISOLATIONS)}")
    if is_async and options.isolation == "thread":
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


def _metadata(options: ToolOptions) -> dict[str, str]:
    metadata = dict(options.metadata)
    if options.max_concurrency is not None:
        metadata[_MAX_CONCURRENCY] = str(options.max_concurrency)  # which the server takes out again
    return metadata


def _reads(where: str, reads: Sequence[str]) -> tuple[str, ...]:
    if isinstance(reads, str) or not isinstance(reads, (list, tuple)):
        _bad(where, f"reads is a list of names, such as ['temperature'], and {reads!r:.140} is not")
    try:
        pack_get(reads)
    except BridgeError as error:
        _bad(where, f"reads has a name that is none: {error.message}")
    names = tuple(dict.fromkeys(reads))
    if len(names) > MAX_NAMES:
        _bad(where, f"reads has {len(names)} names, and {MAX_NAMES} can be read at once")
    return names


def _hints(function: Callable[..., Any], where: str, plain: bool) -> dict[str, Any]:
    try:
        return read_annotations(function)
    except Exception as error:  # noqa: BLE001 - evaluating annotations runs code of the adapter's author
        if plain:
            return {}
        _bad(where, f"its annotations cannot be read ({type(error).__name__}: {error})")


def _declared(
    function: Callable[..., Any], hints: Mapping[str, Any], where: str, plain: bool
) -> tuple[list[inspect.Parameter], str | None]:
    """The parameters that callers give, and the name of the one that takes the context."""
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind not in _POSITIONAL:
        _bad(where, "a tool is a method: its first parameter is self")
    declared: list[inspect.Parameter] = []
    context_parameter = None
    for parameter in parameters[1:]:
        if not plain:
            _check_kind(parameter, where)
        if hints.get(parameter.name) is SessionContext:
            if context_parameter is not None:
                _bad(where, "it takes the SessionContext twice")
            context_parameter = parameter.name
        else:
            declared.append(parameter)
    return declared, context_parameter


def _check_kind(parameter: inspect.Parameter, where: str) -> None:
    if parameter.kind in (_ARGS, _KWARGS):
        _bad(where, f"*{parameter.name}: callers need named parameters; take a list or a dict")
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        _bad(where, f"{parameter.name}: arguments come by name, so parameters before '/' cannot be given")


def _by_place(declared: Sequence[inspect.Parameter]) -> tuple[str, ...]:
    """The parameters that have to be given by their place."""
    has_rest = any(one.kind is _ARGS for one in declared)
    return tuple(
        one.name
        for one in declared
        if one.kind is inspect.Parameter.POSITIONAL_ONLY
        or (has_rest and one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD)
    )


def _type(where: str, name: str, hints: Mapping[str, Any], types: Types) -> Type:
    try:
        type_ = types.of(hints.get(name, Any))
        type_.schema({})  # what cannot be described is told here
    except Exception as error:  # noqa: BLE001 - of an annotation that is not one
        _bad(where, f"the type of {name} cannot be carried: {error}")
    return type_


def _takes_view(hint: Any) -> bool:
    kinds = alternatives(hint)
    return memoryview in kinds and not any(kind in (bytes, bytearray, Any) for kind in kinds)


def _output(returns: Any, streaming: bool, types: Types) -> str:
    """JSON Schema of what it gives; empty if that is not known."""
    if streaming:
        # X of Iterator[X], AsyncIterator[X], Generator[X, ...] and so on
        returns = next(iter(typing.get_args(returns)), Any)
    if returns is Any or returns is object:
        return ""
    try:
        return json.dumps(result_schema(types.of(returns)))
    except Exception:  # noqa: BLE001 - a result is checked when there is one; its schema is a courtesy
        return ""


def _type_text(hint: Any) -> str:
    """A type for people: constraints are in the schema."""
    while hasattr(hint, "__metadata__"):
        hint = hint.__origin__
    return "any" if hint in (None, Any, object) else inspect.formatannotation(hint).replace("typing.", "")


def _bad(where: str, why: str) -> NoReturn:
    raise BridgeError(Code.FAILED_PRECONDITION, f"{where} cannot be a tool: {why}", reason="BAD_SIGNATURE")
