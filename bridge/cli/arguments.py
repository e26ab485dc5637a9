"""Arguments of a call as users write them: ``name=value``, ``name:=JSON``, ``name=@file`` and ``--json``."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bridge.cli.json_form import loads
from bridge.cli.problems import usage_error

__all__ = ["Assignment", "json_arguments", "parse_assignment", "resolve"]

_ASSIGNMENT = re.compile(r"(?P<name>[^=@]+?)(?P<json>:?)=(?P<text>.*)", re.DOTALL)
_STDIN = "-"


class Assignment(msgspec.Struct, frozen=True):
    """One ``name=value`` of the command line."""

    name: str
    text: str
    is_json: bool = False
    """Written with ``:=``."""


def parse_assignment(written: str) -> Assignment:
    """Takes an argument apart. Raises wrong usage."""
    match = _ASSIGNMENT.fullmatch(written)
    if match is None:
        raise usage_error(
            f"{written[:100]!r} is no argument: write name=value, name:=JSON or name=@file, or all of them with --json"
        )
    return Assignment(match["name"], match["text"], match["json"] == ":")


def json_arguments(text: str) -> dict[str, Any]:
    """What ``--json`` gives; ``-`` is standard input. Raises wrong usage."""
    document: str | bytes = sys.stdin.buffer.read() if text == _STDIN else text
    try:
        value = loads(document)
    except ValueError as error:
        raise usage_error(f"--json: this is not JSON ({error})") from None
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise usage_error('--json: the arguments are one JSON object, as in \'{"text": "to be"}\'')
    return value


def resolve(
    assignments: Sequence[Assignment], base: Mapping[str, Any], schemas: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The values of all arguments.

    Args:
        assignments: what was written as ``name=value``.
        base: what ``--json`` gave.
        schemas: JSON Schema by parameter; of a name that is not in it nothing is known.

    Raises wrong usage for a name that is given twice, text that is no JSON after ``:=``, and unreadable files.
    """
    arguments = dict(base)
    for assignment in assignments:
        if assignment.name in arguments:
            raise usage_error(f"argument {assignment.name!r} is given twice; leave one of them out")
        arguments[assignment.name] = _value(assignment, schemas.get(assignment.name, {}))
    return arguments


def _value(assignment: Assignment, schema: Mapping[str, Any]) -> Any:
    name, text = assignment.name, assignment.text
    if assignment.is_json:
        try:
            return loads(text)
        except ValueError as error:
            raise usage_error(f"{name}:= is not followed by JSON ({error}); for plain text write {name}=...") from None
    kinds = kinds_of(schema)
    if text.startswith("@"):
        return _file(name, text[1:], kinds)
    if kinds and "string" not in kinds and "bytes" in kinds:
        return text.encode()
    if kinds and not kinds - {"string"}:
        return text
    try:
        value = loads(text)
    except ValueError:
        return text
    # "5" is a number where a number can be meant, and text where the parameter takes text and no number.
    return text if kinds and "string" in kinds and _kind(value) not in kinds else value


def kinds_of(schema: Mapping[str, Any]) -> frozenset[str]:
    """What a value may be by its schema: the types of JSON, ``bytes`` and ``tensor``; empty if that is not known."""
    return _kinds(schema, schema.get("$defs", {}), 0)


def _kinds(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> frozenset[str]:
    if depth > 16:  # a schema that refers to itself
        return frozenset()
    if isinstance(reference := schema.get("$ref"), str):
        return _kinds(definitions.get(reference.rpartition("/")[2], {}), definitions, depth + 1)
    for union in ("anyOf", "oneOf"):
        if isinstance(schemas := schema.get(union), list):
            found = [_kinds(item, definitions, depth + 1) for item in schemas]
            return frozenset().union(*found) if all(found) else frozenset()
    values = schema["enum"] if "enum" in schema else [schema["const"]] if "const" in schema else None
    if values is not None:
        return frozenset(map(_kind, values))
    kind = schema.get("type")
    if kind == "string" and "contentEncoding" in schema:
        return frozenset({"bytes"})
    if kind is None:
        return frozenset({"tensor"}) if schema.get("title") == "Tensor" else frozenset()
    kinds = frozenset([kind] if isinstance(kind, str) else kind)
    return kinds | {"integer"} if "number" in kinds else kinds


def _kind(value: Any) -> str:
    for types, name in _KINDS:
        if isinstance(value, types):
            return name
    return "null" if value is None else "number"


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (str, "string"),
    (bool, "boolean"),
    (int, "integer"),
    (list, "array"),
    (dict, "object"),
)


def _file(name: str, path: str, kinds: frozenset[str]) -> Any:
    try:
        data = sys.stdin.buffer.read() if path == _STDIN else Path(path).read_bytes()
    except OSError as error:
        hint = f"""for text that begins with @ write '{name}:="@..."'"""
        raise usage_error(f"{name}: cannot read {path!r} ({error.strerror}); {hint}") from None
    if path.endswith(".npy") and (not kinds or "tensor" in kinds):
        return _array(name, path)
    if "bytes" in kinds and "string" not in kinds:
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise usage_error(
            f"{name}: {path!r} is not UTF-8 text, and nothing says that {name} takes bytes; `bridge tools` shows the "
            f"type of a parameter, `bridge var register {name}=@{path} --type bytes` makes a variable of bytes"
        ) from None


def _array(name: str, path: str) -> Any:
    try:
        import numpy  # optional, and only for this kind of file
    except ImportError:
        raise usage_error(f"{name}: a .npy file needs NumPy: pip install 'tool-bridge[numpy]'") from None
    try:
        return numpy.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise usage_error(f"{name}: {path!r} is no .npy file of numbers ({error})") from None
