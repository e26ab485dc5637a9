"""From an annotation to its ``Type``."""

from __future__ import annotations

import collections
import collections.abc
import types
import typing
from collections.abc import Sequence
from typing import Any

from .base import Definitions, JsonSchema, MismatchError, Type, expected, kind_of
from .classes import choice, instance
from .containers import array, fixed, mapping
from .limits import limited
from .scalars import ANYTHING, scalar

__all__ = ["Types", "alternatives"]

_ARRAYS: dict[Any, type] = {
    list: list,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    tuple: tuple,
    set: set,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    frozenset: frozenset,
}
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_UNIONS: tuple[Any, ...] = (typing.Union, getattr(types, "UnionType", typing.Union))  # of 3.10 on


class Types:
    """The types of the annotations of one plugin.

    Args:
        lenient: what is not known takes any value; otherwise it is ``TypeError``.
        strict: objects have no other fields than those of their class; otherwise others are ignored.
    """

    def __init__(self, *, lenient: bool = False, strict: bool = False) -> None:
        self._lenient, self._strict = lenient, strict
        self._classes: dict[Any, Type] = {}

    def of(self, hint: Any) -> Type:
        """The type of an annotation. Raises ``TypeError`` for one that values from a wire cannot have."""
        found = scalar(hint)
        if found is None:
            found = self._composed(hint, typing.get_origin(hint) or hint, typing.get_args(hint))
        if found is None and self._lenient:
            return ANYTHING
        if found is None:
            raise TypeError(f"{hint!r} is not a type that values can have")
        return found

    def _composed(self, hint: Any, origin: Any, arguments: tuple[Any, ...]) -> Type | None:
        if isinstance(hint, typing.TypeVar):
            return ANYTHING
        if hasattr(hint, "__supertype__"):
            return self.of(hint.__supertype__)
        if origin in _UNIONS:
            return _union([self.of(argument) for argument in arguments])
        if origin is typing.Literal:
            return choice(arguments, lambda value: value)
        if hasattr(hint, "__metadata__"):
            return limited(self.of(hint.__origin__), hint.__metadata__)
        if str(origin) in ("typing.Required", "typing.NotRequired", "typing.ReadOnly", "typing.Final"):
            return self.of(arguments[0])
        if origin is tuple and (arguments or hint is not origin) and arguments[1:] != (...,):
            return self._tuple(hint, arguments)
        if origin in _ARRAYS:
            return array(_ARRAYS[origin], self.of(arguments[0]) if arguments else None)
        if origin in _MAPPINGS:
            key, item = arguments or (None, None)
            return mapping(self.of(key) if arguments else None, self.of(item) if arguments else None)
        return self._class(hint, origin) if isinstance(origin, type) else None

    def _tuple(self, hint: Any, arguments: tuple[Any, ...]) -> Type:
        if hint is typing.Tuple:  # noqa: UP006 - without arguments, which is not the empty tuple
            return array(tuple, None)
        return fixed(tuple, [self.of(argument) for argument in arguments if argument != ()])

    def _class(self, hint: Any, origin: type) -> Type | None:
        known = self._classes.get(hint)
        if known is None:
            # A class may have fields of its own kind: they go by this one, which is filled in when all are known.
            known = self._classes[hint] = Type(ANYTHING.names, ANYTHING.convert, ANYTHING.schema)
            made = instance(hint, origin, self.of, strict=self._strict)
            if made is None:
                del self._classes[hint]
                return None
            known.names, known.convert, known.schema, known.accepts = (
                made.names,
                made.convert,
                made.schema,
                made.accepts,
            )
        return known


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The members of a union; of anything else itself."""
    if hasattr(hint, "__metadata__"):
        return alternatives(hint.__origin__)
    return typing.get_args(hint) if typing.get_origin(hint) in _UNIONS else (hint,)


def _union(members: Sequence[Type]) -> Type:
    if any(not member.names for member in members):
        return ANYTHING
    names = frozenset().union(*(member.names for member in members))
    by_kind: dict[str, list[Type]] = {}

    def fitting(kind: str) -> list[Type]:
        return sorted((member for member in members if kind in member.accepts), key=lambda one: _rank(one, kind))

    def convert(value: Any) -> Any:
        if value is None and "null" in names:
            return None
        kind = kind_of(value)
        found = by_kind.get(kind)
        if found is None:
            found = by_kind[kind] = fitting(kind)
        failure: MismatchError | None = None
        for member in found or fitting(type(value).__name__):
            try:
                return member.convert(value)
            except MismatchError as error:
                failure = failure or error
        raise failure or expected(names, value)

    def schema(definitions: Definitions) -> JsonSchema:
        null_last = sorted(members, key=lambda member: member.names == {"null"})
        return {"anyOf": [member.schema(definitions) for member in null_last]}

    return Type(names, convert, schema, frozenset().union(*(member.accepts for member in members)))


def _rank(member: Type, kind: str) -> int:
    """The order in which alternatives are tried that accept values of a kind."""
    if member is scalar(str):
        return 2  # takes everything that is written, so a datetime goes first
    if kind in member.names:
        return 0
    return 1 if kind == "str" and "bytes" not in member.names else 3
