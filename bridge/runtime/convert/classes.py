"""Conversion to classes: dataclasses, typed dicts, named tuples, enumerations, and what other libraries bring along."""

from __future__ import annotations

import enum
import sys
import typing
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Callable

from ..hints import closest
from .annotations import read_annotations
from .base import Definitions, JsonSchema, MismatchError, Type, expected, kind_of
from .containers import fixed
from .json_values import ABSENT, as_json

__all__ = ["choice", "instance"]

Of = Callable[[Any], Type]
"""The type of an annotation."""


def choice(values: Collection[Any], convert: Callable[[Any], Any], title: str = "", doc: str = "") -> Type:
    """One of some values.

    Args:
        values: those that may come.
        convert: the result for one of them.
        title: of the enumeration, if they have a name.
        doc: what it means.
    """
    known = {(kind_of(value), value) for value in values}
    names = {name for name, _ in known}

    def one(value: Any) -> Any:
        kind = kind_of(value)
        if kind not in names:
            raise expected(names, value)
        if (kind, value) not in known:
            raise MismatchError("Expected one of the values in the schema")
        return convert(value)

    def schema(definitions: Definitions) -> JsonSchema:
        own: JsonSchema = {"title": title} if title else {}
        if doc:
            own["description"] = doc
        own["enum"] = sorted(values, key=lambda value: (kind_of(value) != "null", kind_of(value), value))
        return _defined(title, definitions, lambda: own) if title else own

    return Type(names, one, schema)


def instance(hint: type, origin: type, of: Of, *, strict: bool = False) -> Type | None:
    """The type of a class; ``None`` if none of its values can come over a wire.

    Args:
        hint: the class as it is annotated, maybe with arguments.
        origin: the class itself.
        of: the type of an annotation.
        strict: dataclasses and typed dicts take no fields that they do not have.
    """
    if issubclass(origin, enum.Enum):
        return _enumeration(origin)
    if hasattr(origin, "__dataclass_fields__"):
        return _dataclass(origin, of, strict)
    if issubclass(origin, dict) and hasattr(origin, "__total__"):
        return _typed_dict(origin, of, strict)
    if issubclass(origin, tuple) and hasattr(origin, "_fields"):
        return _named_tuple(origin, of)
    if hasattr(origin, "model_validate"):
        return _pydantic(origin)
    if hasattr(origin, "__struct_fields__") and "msgspec" in sys.modules:
        return _struct(hint)
    if _is_array(origin):
        return _array(origin)
    if origin.__module__ in ("builtins", "typing", "collections", "collections.abc", "types", "_io", "asyncio"):
        return None
    return _any_instance(origin)


def _doc(cls: type) -> str:
    """What a class says of itself, without what Python says for it."""
    doc = vars(cls).get("__doc__") or ""
    generated = doc.startswith(f"{cls.__name__}(") or (issubclass(cls, enum.Enum) and doc == "An enumeration.")
    return "" if generated else "\n".join(line.strip() for line in doc.strip().splitlines())


def _defined(name: str, definitions: Definitions, schema: Callable[[], JsonSchema]) -> JsonSchema:
    """A reference to a definition, which is made if it is not there; before that it may refer to itself."""
    if name not in definitions:
        definitions[name] = {}
        definitions[name] = schema()
    return {"$ref": f"#/$defs/{name}"}


def _enumeration(cls: type[enum.Enum]) -> Type:
    values = choice([member.value for member in cls], cls, cls.__name__, _doc(cls))

    def convert(value: Any) -> Any:
        return value if isinstance(value, cls) else values.convert(value)

    return Type(values.names, convert, values.schema, (cls.__name__,))


class _Field:
    __slots__ = ("default", "name", "required", "type")

    def __init__(self, name: str, type_: Type, required: bool, default: Any = ABSENT) -> None:
        self.name = name
        self.type = type_
        self.required = required
        self.default = default


def _object(
    cls: type, fields: Iterable[_Field], make: Callable[[dict[str, Any]], Any], is_instance: bool, strict: bool
) -> Type:
    """Objects with named fields; unknown ones are ignored, as msgspec does, or refused if it is strict."""
    fields = list(fields)

    def convert(value: Any) -> Any:
        if is_instance and isinstance(value, cls):
            return value
        if not isinstance(value, dict):
            raise expected(("object",), value)
        if strict:
            _refuse_others(fields, value)
        return make(dict(_fields(fields, value)))

    def described(definitions: Definitions) -> JsonSchema:
        properties = {}
        for field in fields:
            properties[field.name] = own = field.type.schema(definitions)
            default = ABSENT if field.default is ABSENT else as_json(field.default)
            if default is not ABSENT:
                own["default"] = default
        doc = {"description": _doc(cls)} if _doc(cls) else {}
        required = [field.name for field in fields if field.required]
        return {"title": cls.__name__, **doc, "type": "object", "properties": properties, "required": required}

    def schema(definitions: Definitions) -> JsonSchema:
        return _defined(cls.__name__, definitions, lambda: described(definitions))

    return Type(("object",), convert, schema, (cls.__name__,))


def _refuse_others(fields: Iterable[_Field], value: Mapping[Any, Any]) -> None:
    names = [field.name for field in fields]
    for key in value:
        if isinstance(key, str) and key not in names:
            close = closest(key, names)
            hint = f"did you mean `{close}`?" if close else f"there is {', '.join(names) or 'none at all'}"
            raise MismatchError(f"There is no such field; {hint}", f".{key[:64]}")


def _fields(fields: Iterable[_Field], value: Mapping[Any, Any]) -> Iterable[tuple[str, Any]]:
    for key in value:
        if not isinstance(key, str):
            raise MismatchError("Expected keys that are `str`")
    for field in fields:
        if field.name in value:
            try:
                yield field.name, field.type.convert(value[field.name])
            except MismatchError as error:
                raise error.below(f".{field.name}") from None
        elif field.required:
            raise MismatchError(f"Object missing required field `{field.name}`")


def _made(make: Callable[..., Any], fields: dict[str, Any]) -> Any:
    """What the author's code makes of the fields, which may refuse them."""
    try:
        return make(**fields)
    except (TypeError, ValueError) as error:
        raise MismatchError(str(error)) from None


def _dataclass(cls: type, of: Of, strict: bool) -> Type:
    import dataclasses

    hints = read_annotations(cls)
    fields = [
        _Field(
            field.name,
            of(hints[field.name]),
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
            ABSENT if field.default is dataclasses.MISSING else field.default,
        )
        for field in dataclasses.fields(cls)
        if field.init
    ]
    return _object(cls, fields, lambda values: _made(cls, values), is_instance=True, strict=strict)


def _typed_dict(cls: Any, of: Of, strict: bool) -> Type:
    required: frozenset[str] = getattr(cls, "__required_keys__", frozenset())
    fields = []
    for name, hint in read_annotations(cls).items():
        word = str(typing.get_origin(hint))  # Python itself does not see it in an annotation that is a text
        is_required = word.endswith(".Required") or (name in required and not word.endswith(".NotRequired"))
        fields.append(_Field(name, of(hint), is_required))
    return _object(cls, fields, dict, is_instance=False, strict=strict)


def _named_tuple(cls: Any, of: Of) -> Type:
    hints = read_annotations(cls)
    defaults = cls._field_defaults
    items = [of(hints.get(name, Any)) for name in cls._fields]
    plain = fixed(lambda values: cls(*values), items, len(items) - len(defaults))

    def schema(definitions: Definitions) -> JsonSchema:
        def described() -> JsonSchema:
            own = plain.schema(definitions)
            own.pop("items", None)
            for name, item in zip(cls._fields, own.get("prefixItems", ())):
                if name in defaults and (default := as_json(defaults[name])) is not ABSENT:
                    item["default"] = default
            doc = {"description": _doc(cls)} if _doc(cls) else {}
            return {"title": cls.__name__, **doc, **own}

        return _defined(cls.__name__, definitions, described)

    return Type(("array",), plain.convert, schema)


def _pydantic(cls: Any) -> Type:
    def convert(value: Any) -> Any:
        try:
            return value if isinstance(value, cls) else cls.model_validate(value)
        except ValueError as error:
            problems: list[Any] = getattr(error, "errors", list)()
            text = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems[:5])
            raise MismatchError(text or f"Expected `{cls.__name__}`") from None  # pydantic's text repeats the input

    return Type((cls.__name__,), convert, lambda definitions: cls.model_json_schema(), ("object",))


def _struct(cls: Any) -> Type:
    """A ``msgspec.Struct``, where the plugin's environment has the library."""
    msgspec: Any = sys.modules["msgspec"]

    def convert(value: Any) -> Any:
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            text, _, path = str(error).partition(" - at `$")
            raise MismatchError(text, path.rstrip("`")) from None

    def schema(definitions: Definitions) -> JsonSchema:
        (own,), more = msgspec.json.schema_components([cls], ref_template="#/$defs/{name}")
        definitions.update(more)
        return dict(own)

    return Type(("object",), convert, schema, (getattr(cls, "__name__", ""),))


def _is_array(origin: type) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and origin is numpy.ndarray


def _array(cls: type) -> Type:
    numpy: Any = sys.modules["numpy"]

    def convert(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if isinstance(value, (list, tuple, int, float, bool)):
            return numpy.asarray(value)
        raise expected(("ndarray",), value)

    schema = {"title": "Tensor", "description": "bridge.v1.Tensor, or (nested) arrays of numbers"}
    return Type(("ndarray",), convert, lambda definitions: dict(schema), ("array", "int", "float", "bool"))


def _any_instance(cls: type) -> Type:
    def convert(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        raise MismatchError(f"Expected `{cls.__name__}`, got `{type(value).__name__}`")

    return Type((cls.__name__,), convert, lambda definitions: {"title": cls.__name__})
