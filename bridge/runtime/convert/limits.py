"""Ranges, lengths and patterns in ``Annotated``.

Whatever has the attributes counts: ``msgspec.Meta``, ``annotated_types``, pydantic's ``Field``, a class of one's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Callable

from .base import Definitions, JsonSchema, MismatchError, Type
from .json_values import ABSENT, as_json

__all__ = ["limited"]

Limit = tuple[Callable[[Any], bool], str]
"""Whether a value keeps it, and what is said if not."""

_COMPARISONS: dict[str, tuple[Callable[[Any, Any], bool], str, str]] = {
    "ge": (lambda value, bound: value >= bound, ">=", "minimum"),
    "gt": (lambda value, bound: value > bound, ">", "exclusiveMinimum"),
    "le": (lambda value, bound: value <= bound, "<=", "maximum"),
    "lt": (lambda value, bound: value < bound, "<", "exclusiveMaximum"),
}
_LENGTHS: dict[str, tuple[Callable[[Any, Any], bool], str, str]] = {
    "min_length": (lambda value, bound: len(value) >= bound, ">=", "min"),
    "max_length": (lambda value, bound: len(value) <= bound, "<=", "max"),
}
_TEXTS = ("title", "description", "examples")


def limited(type_: Type, metadata: Sequence[Any]) -> Type:
    """A type whose values must keep the limits in the metadata of ``Annotated``."""
    limits: list[Limit] = []
    more: JsonSchema = {}
    name = "|".join(sorted(type_.names)) or "value"
    for meta in metadata:
        _read(meta, name, limits, more)
    if not limits and not more:
        return type_

    def convert(value: Any) -> Any:
        made = type_.convert(value)
        for keeps, text in limits:
            if not keeps(made):
                raise MismatchError(text)
        return made

    def schema(definitions: Definitions) -> JsonSchema:
        return {**type_.schema(definitions), **more}

    return Type(type_.names, convert if limits else type_.convert, schema, type_.accepts)


def _read(meta: Any, name: str, limits: list[Limit], more: JsonSchema) -> None:
    def add(keeps: Callable[[Any], bool], text: str) -> None:
        limits.append((keeps, f"Expected `{name}` {text}"))

    for attribute, (compare, sign, key) in _COMPARISONS.items():
        bound = getattr(meta, attribute, None)
        if bound is not None:
            add(lambda value, compare=compare, bound=bound: compare(value, bound), f"{sign} {bound}")  # type: ignore[misc]
            more[key] = bound
    for attribute, (compare, sign, end) in _LENGTHS.items():
        bound = getattr(meta, attribute, None)
        if bound:
            add(lambda value, compare=compare, bound=bound: compare(value, bound), f"of length {sign} {bound}")  # type: ignore[misc]
            more[end + _UNITS.get(name, "Length")] = bound
    step = getattr(meta, "multiple_of", None)
    if step is not None:
        add(lambda value: value % step == 0, f"that's a multiple of {step}")
        more["multipleOf"] = step
    pattern = getattr(meta, "pattern", None)
    if isinstance(pattern, str):
        search = re.compile(pattern).search
        add(lambda value: search(value) is not None, f"matching regex {pattern!r}")
        more["pattern"] = pattern
    for attribute in _TEXTS:
        text = getattr(meta, attribute, None)
        if text and as_json(text) is not ABSENT:
            more[attribute] = text
    more.update(getattr(meta, "extra_json_schema", None) or {})


_UNITS = {"array": "Items", "object": "Properties"}
