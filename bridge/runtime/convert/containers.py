"""Conversion to lists, tuples, sets and dicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Callable

from .base import Definitions, JsonSchema, MismatchError, Type, expected

__all__ = ["array", "fixed", "mapping", "parts"]

_ARRAYS = (list, tuple, set, frozenset)


def parts(convert: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
    """All values converted; a mistake with the place of the value."""
    try:
        return [convert(value) for value in values]
    except MismatchError:
        for place, value in enumerate(values):
            try:
                convert(value)
            except MismatchError as error:
                raise error.below(f"[{place}]") from None
        raise


def array(kind: type, item: Type | None) -> Type:
    """A list, a tuple of any length, a set or a frozenset.

    Args:
        kind: which of them.
        item: what is in it; ``None``: anything.
    """

    def convert(value: Any) -> Any:
        if not isinstance(value, _ARRAYS):
            raise expected(("array",), value)
        if item is None:
            made = value
        else:
            made = parts(item.convert, value)
        try:
            return made if type(made) is kind else kind(made)
        except TypeError:
            raise MismatchError("Expected values that can be in a set") from None

    def schema(definitions: Definitions) -> JsonSchema:
        described: JsonSchema = {"type": "array"}
        if item is not None and item.names:
            described["items"] = item.schema(definitions)
        if issubclass(kind, (set, frozenset)):
            described["uniqueItems"] = True
        return described

    return Type(("array",), convert, schema, ("set",))


def fixed(kind: Callable[[Iterable[Any]], Any], items: Sequence[Type], needed: int = -1) -> Type:
    """A tuple whose places have types of their own.

    Args:
        kind: makes it of the converted values.
        items: one for each place.
        needed: how many of them must be there; all by default.
    """
    most = len(items)
    least = most if needed < 0 else needed
    length = str(most) if least == most else f"{least} to {most}"

    def convert(value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise expected(("array",), value)
        if not least <= len(value) <= most:
            raise MismatchError(f"Expected `array` of length {length}, got {len(value)}")
        made = []
        for place, one in enumerate(value):
            try:
                made.append(items[place].convert(one))
            except MismatchError as error:
                raise error.below(f"[{place}]") from None
        return kind(made)

    def schema(definitions: Definitions) -> JsonSchema:
        described: JsonSchema = {"type": "array", "minItems": least, "maxItems": most}
        if items:
            described["prefixItems"] = [item.schema(definitions) for item in items]
            described["items"] = False
        return described

    return Type(("array",), convert, schema)


def mapping(key: Type | None, item: Type | None) -> Type:
    """A dict.

    Args:
        key: what its keys are; ``None``: anything.
        item: what its values are; ``None``: anything.
    """

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            raise expected(("object",), value)
        keys = value if key is None else [_key(key, name) for name in value]
        if item is None:
            return value if key is None else dict(zip(keys, value.values()))
        try:
            return dict(zip(keys, [item.convert(one) for one in value.values()]))
        except MismatchError as error:
            raise error.below("[...]") from None  # what stands in a key is not shown

    def schema(definitions: Definitions) -> JsonSchema:
        described: JsonSchema = {"type": "object"}
        if item is not None and item.names:
            described["additionalProperties"] = item.schema(definitions)
        return described

    return Type(("object",), convert, schema)


def _key(key: Type, name: Any) -> Any:
    try:
        return key.convert(name)
    except MismatchError as error:
        raise MismatchError(f"a key: {error.text}", "[...]") from None
