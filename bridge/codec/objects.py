"""dataclass instances, ``msgspec.Struct`` and pydantic models: as the JSON object of their fields.

The document is chosen only if decoding it into the class gives the same fields; a field that JSON would change (NaN, a
tuple in an ``Any`` field, an array) sends the whole object field by field through the codec instead. The receiver sees
a dict; a parameter annotated with the class gets an instance.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from typing import Any

import msgspec

from bridge.codec.base import Converter, Lowered
from bridge.codec.containers import lower_mapping
from bridge.codec.json_text import decode_json, encode_json

__all__ = ["CONVERTERS", "fields_of", "is_object"]


@functools.lru_cache(maxsize=1024)
def _fields(cls: Any) -> tuple[tuple[str, str], ...]:
    """Attribute and name on the wire of every field of a dataclass or Struct."""
    if issubclass(cls, msgspec.Struct):
        return tuple(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True))
    return tuple((field.name, field.name) for field in dataclasses.fields(cls))


@functools.lru_cache(maxsize=1024)
def _decoder(cls: Any) -> msgspec.json.Decoder[Any] | None:
    """Decodes a document into the class; ``None`` if msgspec cannot."""
    try:
        return msgspec.json.Decoder(cls)
    except Exception:  # noqa: BLE001 - annotations are code of the user's and may fail in any way
        return None


def _exact_document(value: Any) -> bytes | None:
    """The document, if decoding it into the class gives equal fields.

    Fields are compared one by one: ``__eq__`` of the class may leave some out, or may not exist.
    """
    cls: Any = type(value)
    decoder = _decoder(cls)
    if decoder is None:
        return None
    try:
        document = encode_json(value)
        back = decoder.decode(document)
        same = all(getattr(back, name) == getattr(value, name) for name, _ in _fields(cls))
    except Exception:  # noqa: BLE001 - a user's __eq__ or __post_init__ may raise anything
        return None
    return document if same else None


def _lower_object(value: Any, depth: int) -> Lowered:
    document = _exact_document(value)
    return msgspec.Raw(document) if document is not None else lower_mapping(fields_of(value), depth)


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of a dataclass or Struct under their names on the wire, as they are."""
    cls: Any = type(value)
    fields = {wire_name: getattr(value, name) for name, wire_name in _fields(cls)}
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        fields = {name: item for name, item in fields.items() if item is not msgspec.UNSET}
        if config.tag_field is not None:
            fields = {config.tag_field: config.tag, **fields}
    return fields


def is_object(value: Any) -> bool:
    """Whether a value is a dataclass instance or a Struct."""
    return isinstance(value, msgspec.Struct) or (dataclasses.is_dataclass(value) and not isinstance(value, type))


def _is_pydantic(value: Any) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(value, getattr(pydantic, "BaseModel", ()))


def _lower_pydantic(value: Any, depth: int) -> Lowered:
    try:
        document = value.model_dump_json(by_alias=True, round_trip=True).encode()
        decode_json(document)  # pydantic can be told to write NaN, which is not JSON
        if type(value).model_validate_json(document) == value:
            return msgspec.Raw(document)
    except Exception:  # noqa: BLE001, S110 - validators and serializers are code of the user's
        pass
    # Fields the author excluded from serialization stay at home here too.
    declared = type(value).model_fields
    fields = {name: getattr(value, name) for name, field in declared.items() if not field.exclude}
    return lower_mapping({**fields, **(value.model_extra or {})}, depth)


CONVERTERS = (
    Converter(_is_pydantic, _lower_pydantic),
    Converter(is_object, _lower_object),
)
