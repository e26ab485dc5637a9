"""JSON Schema 2020-12 of a tool's arguments and result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .convert import ABSENT, Type, as_json

__all__ = ["arguments_schema", "parameter_schemas", "result_schema"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def parameter_schemas(
    types: Mapping[str, Type], defaults: Mapping[str, Any], docs: Mapping[str, str]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The schema of each parameter, and the definitions they refer to.

    Args:
        types: the parameters.
        defaults: of those that have one.
        docs: what is said of them.
    """
    definitions: dict[str, Any] = {}
    schemas = {}
    for name, type_ in types.items():
        schemas[name] = own = type_.schema(definitions)
        if docs.get(name):
            own.setdefault("description", docs[name])
        default = as_json(defaults[name]) if name in defaults else ABSENT
        if default is not ABSENT:
            own["default"] = default
    return schemas, definitions


def arguments_schema(
    schemas: Mapping[str, Any], definitions: Mapping[str, Any], required: list[str], *, is_open: bool = False
) -> dict[str, Any]:
    """The schema of all arguments as one object.

    Args:
        schemas: of each.
        definitions: what they refer to.
        required: those that must be there.
        is_open: others are taken, too.
    """
    whole: dict[str, Any] = {
        "$schema": _DIALECT,
        "type": "object",
        "properties": dict(schemas),
        "required": required,
        "additionalProperties": is_open,
    }
    return {**whole, "$defs": dict(definitions)} if definitions else whole


def standing_alone(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A schema with what it refers to."""
    return {**schema, "$defs": definitions} if definitions and "$ref" in str(schema) else schema


def result_schema(type_: Type) -> dict[str, Any]:
    """The schema of a result."""
    definitions: dict[str, Any] = {}
    schema = type_.schema(definitions)
    return {"$schema": _DIALECT, **standing_alone(schema, definitions)}
