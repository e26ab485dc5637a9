"""dataclass instances, pydantic models and ``msgspec.Struct``: as the JSON object of their fields.

That is chosen only if it makes the same fields again where it is read into the class; otherwise, if JSON would change a
field (NaN, a tuple in an ``Any`` field, an array), the object goes as the dict of its fields.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Any

from .base import MAX_DEPTH, Lowered
from .containers import lower_mapping
from .json_text import read_document
from .registry import loaded, lower

__all__ = ["CONVERTERS"]

_PLAIN = (type(None), str, bool, int, float, Enum, date, time)
"""What travels as a plain value, whatever holds it. A datetime is a date and does not."""


class _NotJsonError(Exception):
    """A part has no JSON form."""


def _lower_dataclass(value: Any, depth: int) -> Lowered:
    form = _exact_form(value)
    return lower_mapping(_fields(value), depth) if form is None else lower(form, depth)


def _fields(value: Any) -> dict[str, Any]:
    import dataclasses  # which is there, where there is a dataclass

    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _exact_form(value: Any) -> Any:
    """The JSON form, if it has parts that JSON has no form of its own for and reading it into the class gives equal
    fields; otherwise ``None``.

    Fields are compared one by one: ``__eq__`` of the class may leave some out, or may not exist.
    """
    cls: Any = type(value)
    former = _Former()
    try:
        form = former.form(value, 0)
        if not former.changed:
            return None
        back = _type(cls).convert(form)
        same = all(getattr(back, name) == item for name, item in _fields(value).items())
    except Exception:  # noqa: BLE001 - a user's annotations, __eq__ or __post_init__ may raise anything
        return None
    return form if same else None


@functools.lru_cache(maxsize=1024)
def _type(cls: Any) -> Any:
    from ..convert import Types  # needed only for what JSON does not carry by itself

    return Types().of(cls)


class _Former:
    """Makes the JSON forms of values, by their types, and notes if that says less than the value did."""

    __slots__ = ("changed",)

    def __init__(self) -> None:
        self.changed = False

    def form(self, value: Any, depth: int) -> Any:
        """Raises ``_NotJsonError``."""
        if depth > MAX_DEPTH:
            raise _NotJsonError
        if isinstance(value, datetime):
            self.changed = True
            return _with_zulu(value.isoformat())
        if isinstance(value, (*_PLAIN, loaded("uuid", "UUID"), loaded("pathlib", "PurePath"))):
            return _plain(value)
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.form(item, depth + 1) for item in value]
        if isinstance(value, dict):
            return {self._key(key): self.form(item, depth + 1) for key, item in value.items()}
        if _is_dataclass(value):
            return {name: self.form(item, depth + 1) for name, item in _fields(value).items()}
        self.changed = True
        return _text(value)

    def _key(self, key: Any) -> str:
        form = self.form(key, 0)
        if not isinstance(form, str):
            raise _NotJsonError
        return form


def _plain(value: Any) -> Any:
    lowered = lower(value, 0)
    if isinstance(lowered, (tuple, list, dict)):
        raise _NotJsonError
    return lowered


def _text(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        import base64

        return base64.b64encode(value).decode()
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, loaded("decimal", "Decimal")):
        return str(value)
    raise _NotJsonError


def _with_zulu(text: str) -> str:
    return text[:-6] + "Z" if text.endswith("+00:00") else text


def _duration(value: timedelta) -> str:
    """ISO 8601, in days and seconds."""
    span = abs(value)
    text = ("-" if value.days < 0 else "") + "P"
    if span.days or not span:
        text += f"{span.days}D"
    if span.microseconds:
        return text + f"T{span.seconds}.{span.microseconds:06}".rstrip("0") + "S"
    return text + f"T{span.seconds}S" if span.seconds else text


def _is_dataclass(value: Any) -> bool:
    return hasattr(type(value), "__dataclass_fields__")


def _lower_pydantic(value: Any, depth: int) -> Lowered:
    try:
        document = value.model_dump_json(by_alias=True, round_trip=True).encode()
        form = read_document(document, depth)
        if type(value).model_validate_json(document) == value:
            return lower(form, depth)
    except Exception:  # noqa: BLE001, S110 - validators and serializers are code of the user's
        pass
    # Fields the author excluded from serialization stay at home here too.
    declared = type(value).model_fields
    fields = {name: getattr(value, name) for name, field in declared.items() if not field.exclude}
    return lower_mapping({**fields, **(value.model_extra or {})}, depth)


def _lower_struct(value: Any, depth: int) -> Lowered:
    msgspec: Any = sys.modules["msgspec"]
    cls = type(value)
    names = dict(zip(cls.__struct_fields__, cls.__struct_encode_fields__))
    try:
        document = msgspec.json.encode(value)
        back = msgspec.json.decode(document, type=cls)
        if all(getattr(back, name) == getattr(value, name) for name in names):
            return lower(read_document(document, depth), depth)
    except Exception:  # noqa: BLE001, S110 - a user's __eq__ or __post_init__ may raise anything
        pass
    fields = {wire_name: getattr(value, name) for name, wire_name in names.items()}
    fields = {name: item for name, item in fields.items() if item is not msgspec.UNSET}
    if cls.__struct_config__.tag_field is not None:
        fields = {cls.__struct_config__.tag_field: cls.__struct_config__.tag, **fields}
    return lower_mapping(fields, depth)


CONVERTERS: tuple[tuple[Callable[[Any], bool], Callable[[Any, int], Lowered]], ...] = (
    (lambda value: isinstance(value, loaded("pydantic", "BaseModel")), _lower_pydantic),
    (lambda value: isinstance(value, loaded("msgspec", "Struct")), _lower_struct),
    (lambda value: _is_dataclass(value) and not isinstance(value, type), _lower_dataclass),
)
