"""Conversion to values that have no parts."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

from .base import Convert, JsonSchema, MismatchError, Type, expected, kind_of, kind_of_class, passes

__all__ = ["ANYTHING", "scalar"]


def _described(schema: JsonSchema) -> Any:
    return lambda definitions: dict(schema)


ANYTHING = Type((), passes, _described({}))
"""Takes all values as they are."""


def _null(value: Any) -> None:
    if value is not None:
        raise expected(("null",), value)


def _bool(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise expected(("bool",), value)


def _int(value: Any) -> int:
    if type(value) is int or kind_of(value) == "int":
        return int(value)
    raise expected(("int",), value)


def _float(value: Any) -> float:
    if type(value) is float:
        return value
    if kind_of(value) not in ("float", "int", "decimal"):
        raise expected(("float",), value)
    try:
        return float(value)
    except OverflowError:
        raise MismatchError("Number out of range") from None


def _str(value: Any) -> str:
    if type(value) is str or kind_of(value) == "str":
        return str(value)
    raise expected(("str",), value)


def _bytes(kind: type) -> Convert:
    def convert(value: Any) -> Any:
        if type(value) is kind:
            return value
        if kind_of(value) == "bytes":
            return kind(value)
        if not isinstance(value, str):
            raise expected(("bytes",), value)
        import base64

        try:
            return kind(base64.b64decode(value, validate=True))
        except ValueError:
            raise MismatchError("Invalid base64 encoded string") from None

    return convert


_DATE = r"\d{4}-\d\d-\d\d"
_TIME = r"(\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:?\d\d)?"
_DATE_TEXT = re.compile(_DATE, re.ASCII)
_TIME_TEXT = re.compile(_TIME, re.ASCII)
_DATETIME_TEXT = re.compile(rf"({_DATE})[Tt ]({_TIME})", re.ASCII)
_DURATION_TEXT = re.compile(
    r"(-)?P(?=.)(?:(\d+(?:\.\d+)?)D)?"
    r"(?:T(?=.)(?:(\d+(?:\.\d+)?)H)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)S)?)?",
    re.ASCII | re.IGNORECASE,
)


def _plain_time(text: str) -> str:
    """As every Python reads it: six digits after the point, and an offset in numbers."""
    match = _TIME_TEXT.fullmatch(text)
    if match is None:
        raise ValueError
    time, fraction, offset = match.groups()
    if offset in ("Z", "z"):
        offset = "+00:00"
    elif offset and ":" not in offset:
        offset = f"{offset[:3]}:{offset[3:]}"
    return f"{time}.{(fraction or '')[:6]:0<6}{offset or ''}"


def _datetime(text: str) -> datetime.datetime:
    match = _DATETIME_TEXT.fullmatch(text)
    if match is None:
        raise ValueError
    return datetime.datetime.fromisoformat(f"{match[1]}T{_plain_time(match[2])}")


def _date(text: str) -> datetime.date:
    if not _DATE_TEXT.fullmatch(text):
        raise ValueError
    return datetime.date.fromisoformat(text)


def _time(text: str) -> datetime.time:
    return datetime.time.fromisoformat(_plain_time(text))


def _duration(text: str) -> datetime.timedelta:
    match = _DURATION_TEXT.fullmatch(text)
    if match is None:
        raise ValueError
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups()[1:])
    span = datetime.timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    return -span if match[1] == "-" else span


def _from_text(name: str, read: Any, invalid: str) -> Convert:
    def convert(value: Any) -> Any:
        if kind_of(value) == name:
            return value
        if not isinstance(value, str):
            raise expected((name,), value)
        try:
            return read(str(value))
        except (ValueError, ArithmeticError):
            raise MismatchError(f"Invalid {invalid}") from None

    return convert


def _decimal(cls: Any) -> Type:
    from_text = _text("decimal", cls, "decimal string", format="decimal")

    def convert(value: Any) -> Any:
        # A float as it is written: Decimal(0.1) has 55 digits that nobody meant.
        return cls(repr(value)) if type(value) in (int, float) else from_text.convert(value)

    return Type(("decimal",), convert, from_text.schema, ("str", "int", "float"))


def _uuid(cls: Any) -> Type:
    from_text = _text("uuid", cls, "UUID", format="uuid")

    def convert(value: Any) -> Any:
        if kind_of(value) != "bytes":
            return from_text.convert(value)
        if len(value) != 16:
            raise MismatchError("Invalid UUID bytes")
        return cls(bytes=bytes(value))

    return Type(("uuid",), convert, from_text.schema, ("str", "bytes"))


def _path(cls: Any) -> Type:
    def convert(value: Any) -> Any:
        if kind_of(value) in ("str", "path"):
            return cls(value)
        raise expected(("str",), value)

    return Type(("str",), convert, _described({"type": "string", "title": cls.__name__}), ("path",))


def _text(name: str, read: Any, invalid: str, **schema: Any) -> Type:
    convert = _from_text(name, read, invalid)
    return Type((name,), convert, _described({"type": "string", **schema}), ("str",))


def _binary(kind: type) -> Type:
    schema = {"type": "string", "contentEncoding": "base64"}
    return Type(("bytes",), _bytes(kind), _described(schema), ("str",))


_SCALARS: dict[Any, Type] = {
    None: Type(("null",), _null, _described({"type": "null"})),
    type(None): Type(("null",), _null, _described({"type": "null"})),
    bool: Type(("bool",), _bool, _described({"type": "boolean"})),
    int: Type(("int",), _int, _described({"type": "integer"})),
    float: Type(("float",), _float, _described({"type": "number"}), ("int", "decimal")),
    str: Type(("str",), _str, _described({"type": "string"})),
    bytes: _binary(bytes),
    bytearray: _binary(bytearray),
    memoryview: _binary(memoryview),
    datetime.datetime: _text("datetime", _datetime, "RFC3339 encoded datetime"),
    datetime.date: _text("date", _date, "RFC3339 encoded date", format="date"),
    datetime.time: _text("time", _time, "RFC3339 encoded time"),
    datetime.timedelta: _text("duration", _duration, "ISO8601 duration", format="duration"),
    Any: ANYTHING,
    object: ANYTHING,
}
_LATE: dict[str, Callable[[Any], Type]] = {"decimal": _decimal, "uuid": _uuid, "path": _path}


def scalar(hint: Any) -> Type | None:
    """How values of an annotation are converted, if they have no parts."""
    try:
        found = _SCALARS.get(hint)
    except TypeError:  # not hashable
        return None
    if found is None and isinstance(hint, type):
        make = _LATE.get(kind_of_class(hint))
        return None if make is None else make(hint)
    return found
