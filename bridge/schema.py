"""JSON Schema 2020-12 of a tool's arguments and result, and the conversions msgspec does not know."""

from __future__ import annotations

import sys
import typing
from collections.abc import Mapping
from typing import Any

import msgspec

from bridge.runtime.docstrings import parameter_docs, summary

__all__ = ["Schemas", "convert_hook", "schemas_for"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/{name}"


class Schemas(msgspec.Struct, frozen=True):
    """What there is to know about a tool's values."""

    description: str
    parameters: dict[str, dict[str, Any]]
    input: dict[str, Any]
    output: dict[str, Any] | None
    custom: bool
    """Whether a parameter has a type that msgspec does not know."""


def schemas_for(types: Mapping[str, Any], defaults: Mapping[str, Any], doc: str, returns: Any) -> Schemas:
    """Schemas of the parameters and the result.

    Args:
        types: annotated type by parameter.
        defaults: default by parameter, for those that have one.
        doc: the documentation, cleaned; ``name: text`` in it describes a parameter.
        returns: annotated type of the result, or ``None`` if not declared.

    Raises ``TypeError`` naming the parameter whose type cannot come over a wire.
    """
    for name, hint in types.items():
        _check(f"the type of {name}", hint)
    unknown: list[Any] = []

    def hook(hint: Any) -> dict[str, Any]:
        unknown.append(hint)
        return _schema_hook(hint)

    schemas, definitions = msgspec.json.schema_components(list(types.values()), schema_hook=hook, ref_template=_REF)
    described = parameter_docs(doc, types)
    parameters: dict[str, dict[str, Any]] = {}
    for name, schema in zip(types, schemas, strict=True):
        own = dict(schema)
        if described.get(name):
            own.setdefault("description", described[name])
        if name in defaults and (default := _jsonable(defaults[name])) is not msgspec.UNSET:
            own["default"] = default
        parameters[name] = own
    whole: dict[str, Any] = {
        "$schema": _DIALECT,
        "type": "object",
        "properties": parameters,
        "required": [name for name in types if name not in defaults],
        "additionalProperties": False,
    }
    if definitions:
        whole["$defs"] = definitions
    standalone = {name: _with_definitions(schema, definitions) for name, schema in parameters.items()}
    return Schemas(summary(doc), standalone, whole, _output(returns), bool(unknown))


def _output(returns: Any) -> dict[str, Any] | None:
    if returns is None or returns is Any:
        return None
    try:
        (schema,), definitions = msgspec.json.schema_components([returns], schema_hook=_schema_hook, ref_template=_REF)
    except (TypeError, RuntimeError, NotImplementedError):
        return None  # a result is checked by the codec when there is one; its schema is a courtesy
    return {"$schema": _DIALECT, **_with_definitions(schema, definitions)}


def _check(what: str, hint: Any) -> None:
    try:
        msgspec.json.schema(hint, schema_hook=_schema_hook)
    except (TypeError, RuntimeError, NotImplementedError) as error:
        first = str(error).partition("\n")[0]
        raise TypeError(f"{what} cannot be carried: {first}") from error


def _with_definitions(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "$defs": definitions} if definitions and "$ref" in str(schema) else schema


def _jsonable(value: Any) -> Any:
    try:
        return msgspec.json.decode(msgspec.json.encode(value))
    except (TypeError, ValueError):
        return msgspec.UNSET


def _origin(hint: Any) -> Any:
    return typing.get_origin(hint) or hint


def _is_array(hint: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and _origin(hint) is numpy.ndarray


def _schema_hook(hint: Any) -> dict[str, Any]:
    """Schema of a type that msgspec does not know."""
    if _is_array(hint):
        return {"title": "Tensor", "description": "bridge.v1.Tensor, or (nested) arrays of numbers"}
    origin = _origin(hint)
    if hasattr(origin, "model_json_schema"):
        schema: dict[str, Any] = origin.model_json_schema()
        return schema
    if isinstance(origin, type) and not _is_opaque(origin):
        return {"title": origin.__name__}
    raise NotImplementedError(f"{hint!r} is not a type that values can have")


def _is_opaque(origin: type) -> bool:
    """Types no value from a wire can be an instance of."""
    return origin.__module__ in ("builtins", "typing", "collections.abc", "types", "_io", "asyncio")


def convert_hook(hint: Any, value: Any) -> Any:
    """Converts to a type that msgspec does not know. Errors become violations at the right path."""
    origin = _origin(hint)
    if isinstance(origin, type) and isinstance(value, origin):
        return value
    if _is_array(hint) and isinstance(value, list | tuple | int | float | bool):
        return sys.modules["numpy"].asarray(value)
    if hasattr(origin, "model_validate"):
        return _pydantic(origin, value)
    expected = getattr(origin, "__name__", str(origin))
    raise TypeError(f"Expected `{expected}`, got `{type(value).__name__}`")


def _pydantic(model: Any, value: Any) -> Any:
    try:
        return model.model_validate(value)
    except ValueError as error:
        problems: list[Any] = getattr(error, "errors", list)()
        text = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems[:5])
        raise ValueError(text or f"Expected `{model.__name__}`") from None  # pydantic's text repeats the input
