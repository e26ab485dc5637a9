"""Values that came over a wire, as the types their parameters are annotated with: strictly, no ``"1"`` for an int.

What is accepted, what becomes of it and what is said of a mistake is as in the full bridge, where msgspec does it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any, Callable

__all__ = ["MismatchError", "Type", "expected", "kind_of", "kind_of_class", "passes"]

JsonSchema = dict[str, Any]
Definitions = dict[str, JsonSchema]
Convert = Callable[[Any], Any]


class MismatchError(Exception):
    """A value does not fit. The text does not repeat it.

    Args:
        text: what is wrong.
        path: where, below the value: ``.name`` and ``[0]``.
    """

    def __init__(self, text: str, path: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.path = path

    def below(self, step: str) -> MismatchError:
        """The same as seen from one level higher."""
        return MismatchError(self.text, step + self.path)


class Type:
    """How values of an annotation are recognised, converted and described.

    Args:
        names: kinds of values that are meant, for messages; empty: any value.
        convert: the value, converted; raises ``MismatchError``.
        schema: JSON Schema, given the definitions that it may refer to and add to.
        accepts: kinds that ``convert`` is to be asked about in a union, if they are more than ``names``.
    """

    __slots__ = ("accepts", "convert", "names", "schema")

    def __init__(
        self,
        names: Iterable[str],
        convert: Convert,
        schema: Callable[[Definitions], JsonSchema],
        accepts: Iterable[str] = (),
    ) -> None:
        self.names = frozenset(names)
        self.convert = convert
        self.schema = schema
        self.accepts = self.names.union(accepts)


def passes(value: Any) -> Any:
    """Any value, as it is."""
    return value


_KINDS: dict[type, str] = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    bytes: "bytes",
    bytearray: "bytes",
    memoryview: "bytes",
    datetime.datetime: "datetime",
    datetime.date: "date",
    datetime.time: "time",
    datetime.timedelta: "duration",
    dict: "object",
    list: "array",
    tuple: "array",
    set: "set",
    frozenset: "set",
    type(None): "null",
}
_LATE = {("decimal", "Decimal"): "decimal", ("uuid", "UUID"): "uuid", ("pathlib", "PurePath"): "path"}
"""Classes by name whose modules take milliseconds to import, and that only come from somebody who has done so."""
_ORDER = (
    "bool", "int", "float", "str", "bytes", "datetime", "date", "time", "duration", "uuid", "decimal", "object",
    "array", "set", "null",
)  # fmt: skip
"""The order in which the alternatives of a union are named."""


def kind_of(value: Any) -> str:
    """The kind of a value, for messages and to tell alternatives apart."""
    kind = _KINDS.get(type(value))
    return kind if kind is not None else kind_of_class(type(value))


def kind_of_class(cls: type) -> str:
    """The kind of a class's values; its name if they are of none."""
    for base in cls.__mro__:
        kind = _KINDS.get(base) or _LATE.get((base.__module__.partition(".")[0], base.__name__))
        if kind is not None:
            return kind
    return cls.__name__


def expected(names: Iterable[str], value: Any) -> MismatchError:
    """What is said of a value of another kind."""
    known = [name for name in _ORDER if name in names]
    listed = " | ".join(known + sorted(set(names).difference(known)))
    return MismatchError(f"Expected `{listed}`, got `{kind_of(value)}`")
