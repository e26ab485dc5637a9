"""The tools that a stock adapter declares, as ours are described: for lists of tools; nothing is checked by it."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from bridge.runtime.docstrings import parameter_docs
from bridge.schema import schemas_for
from bridge.stock.classes import METADATA
from bridge.tool import Parameter, Tool, ToolOptions

__all__ = ["ANY_TOOL", "describe", "unlisted"]

ANY_TOOL = "execute_tool"
"""Name of the tool that stands for all that a class does not declare."""

_EMPTY = inspect.Parameter.empty
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class _AnyArguments(msgspec.Struct):
    """What a stock tool takes is for its code to say."""


def describe(name: str, method: Callable[..., Any], run: Callable[..., Any], *, is_async: bool) -> Tool:
    """A declared tool.

    Args:
        name: what it is called.
        method: what its author wrote, marked by Snakepit's ``@tool``.
        run: what is called instead.
        is_async: whether ``run`` has to be awaited.
    """
    metadata = getattr(method, METADATA)
    parameters = tuple(_signature(method))
    open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in inspect.signature(method).parameters.values())
    needed = ",".join(getattr(metadata, "required_variables", None) or ())
    return _tool(
        name,
        run,
        is_async=is_async,
        description=inspect.cleandoc(getattr(metadata, "description", "") or method.__doc__ or ""),
        parameters=parameters,
        streaming=bool(getattr(metadata, "supports_streaming", False)),
        metadata={"required_variables": needed} if needed else {},
        open_ended=open_ended,
    )


def unlisted(run: Callable[..., Any], *, is_async: bool) -> Tool:
    """The tool that takes the calls of all others."""
    return _tool(ANY_TOOL, run, is_async=is_async)


def _tool(
    name: str,
    run: Callable[..., Any],
    *,
    is_async: bool,
    description: str = "",
    parameters: tuple[Parameter, ...] = (),
    streaming: bool = False,
    metadata: dict[str, str] | None = None,
    open_ended: bool = True,
) -> Tool:
    return Tool(
        name=name,
        function=run,
        description=description,
        parameters=parameters,
        input_schema={
            "type": "object",
            "properties": {parameter.name: parameter.schema for parameter in parameters},
            "required": [parameter.name for parameter in parameters if parameter.required],
            "additionalProperties": open_ended,
        },
        output_schema=None,
        streaming=streaming,
        is_async=is_async,
        # What others wrote without knowing this server can neither hold it up nor bring it down; `--isolation` may say
        # otherwise, so the options do not.
        isolation="process",
        options=ToolOptions(name=name, metadata=metadata or {}),
        context_parameter=None,
        arguments_type=_AnyArguments,
        convert_hook=None,
        dynamic=True,
    )


def _signature(method: Callable[..., Any]) -> list[Parameter]:
    declared = [one for one in list(inspect.signature(method).parameters.values())[1:] if one.kind in _NAMED]
    hints = _hints(method)
    docs = parameter_docs(inspect.getdoc(method) or "", [one.name for one in declared])
    return [
        Parameter(
            name=one.name,
            type=_type_text(one.annotation),
            description=docs.get(one.name, ""),
            required=one.default is _EMPTY,
            default=one.default,
            schema=_schema(one, hints.get(one.name, Any)),
        )
        for one in declared
    ]


def _hints(method: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(method)
    except Exception:  # noqa: BLE001 - annotations nobody was ever to evaluate
        return {}


def _schema(parameter: inspect.Parameter, hint: Any) -> dict[str, Any]:
    defaults = {} if parameter.default is _EMPTY else {parameter.name: parameter.default}
    try:
        return schemas_for({parameter.name: hint}, defaults, "", None).parameters[parameter.name]
    except TypeError:
        return {}  # what cannot be described may still be what the tool wants


def _type_text(annotation: Any) -> str:
    """As Snakepit names it: ``str``, ``dict``; ``any`` without an annotation."""
    if annotation is _EMPTY:
        return "any"
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    return str(name).lower()
