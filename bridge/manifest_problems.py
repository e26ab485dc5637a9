"""What is wrong with a table that is to become a struct: every mistake, by the path of its field."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, time
from typing import Any

import msgspec

from bridge.errors import FieldViolation
from bridge.runtime.hints import closest

__all__ = ["not_plain", "problems_of"]

_AT = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_BIG = 2**63
_DEEPEST = 64
"""Tables and lists inside one another; as many as a value of a call may have."""


def problems_of(data: Mapping[str, Any], kind: type[msgspec.Struct], at: str = "") -> list[FieldViolation]:
    """Unknown, missing and wrong fields of a table and of the tables in it.

    Args:
        data: the table, as it was read.
        kind: the struct it is to become.
        at: path of the table, ``limits.``; empty for the whole file.
    """
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    found = [FieldViolation(at + name, _unknown(name, fields)) for name in data if name not in fields]
    for name, field in fields.items():
        if name in data:
            found += _field(data[name], field.type, at + name)
        elif field.required:
            found.append(FieldViolation(at + name, "is required"))
    return found


def _field(value: Any, hint: Any, at: str) -> list[FieldViolation]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and isinstance(value, Mapping):
        return problems_of(value, hint, f"{at}.")
    try:
        msgspec.convert(value, hint)
    except (msgspec.ValidationError, RecursionError) as error:
        return [_violation(at, str(error), value, hint)]
    return []


def _violation(at: str, text: str, value: Any, hint: Any) -> FieldViolation:
    path = match["path"] if (match := _AT.search(text)) else ""
    path = _key_in(value, path) if "[...]" in path else path
    description = _AT.sub("", text).replace("`", "")
    if description.startswith("Invalid enum value"):
        description = "is none of the values that are allowed"  # msgspec's own text repeats the value
    elif "matching regex" in description:
        description = "has not the form it must have"
    if about := _description(hint):
        description += f" ({about})"
    return FieldViolation(at + path, description[:1].lower() + description[1:])


def _description(hint: Any) -> str:
    return next((meta.description for meta in getattr(hint, "__metadata__", ()) if meta.description), "")


def _key_in(value: Any, path: str) -> str:
    """The path with the name of the first key whose value is no text, which msgspec leaves out."""
    if not isinstance(value, Mapping):
        return path
    wrong = next((key for key, item in value.items() if not isinstance(item, str)), None)
    return path if wrong is None else path.replace("[...]", f".{wrong}", 1)


def _unknown(name: str, fields: Mapping[str, Any]) -> str:
    if (close := closest(name, fields)) is not None:
        return f"there is no such field; did you mean {close}?"
    return f"there is no such field; there is {', '.join(fields)}"


def not_plain(value: Any, at: str, depth: int = 0) -> Iterator[FieldViolation]:
    """What in a value cannot be handed to another process as it is."""
    if depth > _DEEPEST:
        yield FieldViolation(at, f"stands in more than {_DEEPEST} tables and lists inside one another")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _not_text(str(key), at)
            yield from not_plain(item, f"{at}.{key}", depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from not_plain(item, f"{at}[{index}]", depth + 1)
    elif isinstance(value, str):
        yield from _not_text(value, at)
    elif isinstance(value, date | time):
        yield FieldViolation(at, "dates and times are carried as text: put it in quotes")
    elif isinstance(value, float) and not math.isfinite(value):
        yield FieldViolation(at, "nan and inf cannot be carried: write text, or leave it out")
    elif isinstance(value, int) and not -_BIG <= value < _BIG:
        yield FieldViolation(at, "is more than a whole number of 64 bits can hold")


def _not_text(text: str, at: str) -> Iterator[FieldViolation]:
    try:
        text.encode()
    except UnicodeEncodeError:
        yield FieldViolation(at, "has half of a surrogate pair, which is no Unicode text: write the whole character")
