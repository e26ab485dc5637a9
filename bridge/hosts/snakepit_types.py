"""Types, values and constraints of session variables as Snakepit v0.4.2 writes them, for both ends of its wire.

A value is JSON in an Any whose ``type_url`` names the type. Beside JSON stock programs know Erlang's external term
format and pickle, each of which only one side can read, and reading which can run code: neither is ever decoded.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
from google.protobuf.any_pb2 import Any as AnyMessage

from bridge.codec.base import TYPE_URL_PREFIX
from bridge.codec.json_text import exact_json
from bridge.errors import BridgeError, Code, invalid_argument
from bridge.snakepit.values import read_parameter
from bridge.variable_types import kind_of
from bridge.variables import NO_CONSTRAINTS, Constraints

__all__ = [
    "fill_value",
    "our_type",
    "read_constraints",
    "read_value",
    "their_type",
    "type_in_url",
    "write_constraints",
]

_URL = TYPE_URL_PREFIX + "snakepit."

_LENGTHS = {"min_length": "min_length", "max_length": "max_length"}
_NUMBERS = {"min": "min", "max": "max"}
_CONSTRAINTS: Mapping[str, Mapping[str, str]] = {
    "float": _NUMBERS,
    "integer": _NUMBERS,
    "string": {**_LENGTHS, "pattern": "pattern", "enum": "choices"},
    "boolean": {},
    "choice": {"choices": "choices"},
    "module": {"allowed_modules": "choices"},
    "embedding": {"dimensions": "dimensions"},
    "tensor": {"shape": "shape"},
    "map": {},
    "list": {},
    "json": {},
}
"""By type of the wire: the keys of its constraints, and our names for them. ``json`` is ours: any JSON value."""

_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def our_type(theirs: str, constraints: Constraints) -> str:
    """Our name for a type of the wire.

    Modules are texts here, and so is a choice among anything; what they were is for whoever keeps them to remember.

    Raises ``BridgeError`` INVALID_ARGUMENT, reason ``TYPE_REFUSED``.
    """
    if theirs not in _CONSTRAINTS:
        raise invalid_argument("type", f"must be one of {', '.join(_CONSTRAINTS)}", reason="TYPE_REFUSED")
    if theirs in ("map", "list"):
        return "json"
    return "string" if theirs == "module" or (theirs == "choice" and not constraints.choices) else theirs


def their_type(ours: str, value: Any) -> str:
    """The wire's name for one of our types, with the value that is to go."""
    if ours != "json":
        return ours
    kinds: tuple[tuple[type, str], ...] = (
        (list, "list"),
        (bool, "boolean"),
        (int, "integer"),
        (float, "float"),
        (str, "string"),
    )
    return next((theirs for kind, theirs in kinds if isinstance(value, kind)), "map")


def type_in_url(url: str) -> str:
    """The wire's type in a ``type_url``; empty if it names none."""
    theirs = url.rpartition("/")[2].rpartition(".")[2]
    return theirs if theirs in _CONSTRAINTS else ""


# -- values --------------------------------------------------------------------------------------------------------


def fill_value(into: AnyMessage, name: str, theirs: str, value: Any) -> None:
    """Writes a value of a variable.

    Raises ``BridgeError`` INVALID_ARGUMENT, reason ``NOT_ON_THIS_WIRE``, for what JSON cannot carry.
    """
    if isinstance(value, float) and not math.isfinite(value):
        value = _text_of(value)
    elif hasattr(value, "dtype"):
        value = _array(name, theirs, value)
    document = exact_json(value)
    if document is None:
        description = f"is {kind_of(value)}, or holds what JSON cannot carry: use bridge.v1 for it, or another form"
        raise invalid_argument(name, description, reason="NOT_ON_THIS_WIRE")
    into.type_url, into.value = _URL + theirs, document


def _text_of(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _array(name: str, theirs: str, value: Any) -> Any:
    if value.dtype.kind not in "biuf":
        description = f"is an array of {value.dtype}, and JSON carries real numbers and booleans only"
        raise invalid_argument(name, description, reason="NOT_ON_THIS_WIRE")
    numbers = value.tolist()
    if value.dtype.kind == "f" and not importlib.import_module("numpy").isfinite(value).all():
        numbers = _texts_of(numbers)
    return numbers if theirs == "embedding" else {"shape": list(value.shape), "data": numbers}


def _texts_of(numbers: Any) -> Any:
    if isinstance(numbers, list):
        return [_texts_of(one) for one in numbers]
    return numbers if math.isfinite(numbers) else _text_of(numbers)


def read_value(name: str, ours: str, packed: AnyMessage, binary: bytes) -> Any:
    """A value for a variable of one of our types; ``bridge.variable_types.check_value`` says whether it is one.

    Raises ``BridgeError`` INVALID_ARGUMENT for what is no JSON, or no array where one is needed.
    """
    if binary or packed.type_url.endswith(".binary"):
        description = "came as binary (an Erlang term or a pickle), which is never decoded: send it as JSON"
        raise invalid_argument(name, description, reason="VALUE_REFUSED")
    value = read_parameter(packed.type_url, packed.value, name)
    if ours == "float" and isinstance(value, str):
        return _SPECIAL.get(value, value)
    if ours == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if ours == "boolean":
        return _boolean(value)
    return _tensor(name, value) if ours == "tensor" else value


def _boolean(value: Any) -> Any:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value, value)
    return bool(value) if isinstance(value, int) and value in (0, 1) else value


def _tensor(name: str, value: Any) -> Any:
    if not isinstance(value, dict) or value.keys() != {"shape", "data"} or not isinstance(value["data"], list):
        raise _refused(name, "expected an object with shape and data, two lists")
    shape = value["shape"]
    if not isinstance(shape, list) or len(shape) > 32 or not all(type(one) is int and one >= 0 for one in shape):
        raise _refused(name, "expected a shape of at most 32 lengths, 0 or more")
    flat = [_SPECIAL.get(one, one) if isinstance(one, str) else one for one in _flat(value["data"])]
    if len(flat) != math.prod(shape):
        raise _refused(name, f"the shape needs {math.prod(shape)} elements, and data has {len(flat)}")
    return _dense(name, flat, shape)


def _flat(data: Sequence[Any]) -> Sequence[Any]:
    while any(isinstance(one, list) for one in data):
        data = list(chain.from_iterable(one if isinstance(one, list) else (one,) for one in data))
    return data


def _dense(name: str, flat: Sequence[Any], shape: Sequence[int]) -> Any:
    try:
        numpy = importlib.import_module("numpy")
    except ImportError:
        message = f"{name} is a tensor, and numpy is not installed here: pip install 'tool-bridge[numpy]'"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="NUMPY_MISSING") from None
    kinds = set(map(type, flat))
    dtype = "bool" if kinds == {bool} else "int64" if kinds == {int} else "float64" if kinds <= {int, float} else ""
    try:
        if dtype:
            return numpy.array(flat, dtype=dtype).reshape(shape)
    except (OverflowError, ValueError):
        pass  # numbers beyond 64 bits, or a dimension of no memory's size
    raise _refused(name, "expected numbers, or booleans only, each of at most 64 bits")


def _refused(name: str, description: str) -> BridgeError:
    return invalid_argument(name, description, reason="VALUE_REFUSED")


# -- constraints ---------------------------------------------------------------------------------------------------


def read_constraints(theirs: str, text: str) -> Constraints:
    """The constraints in ``constraints_json``; whether their values make sense, ``check_constraints`` says.

    Raises ``BridgeError`` INVALID_ARGUMENT, reason ``CONSTRAINTS_REFUSED``, for what is no JSON object, and for a key
    that the type does not have: what nobody obeys must not look as if somebody did.
    """
    try:
        given = msgspec.json.decode(text or "{}", type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise invalid_argument("constraints_json", "must be a JSON object", reason="CONSTRAINTS_REFUSED") from None
    keys = _CONSTRAINTS.get(theirs, {})
    fields: dict[str, Any] = {}
    for key, value in given.items():
        if key not in keys:
            rule = f"a variable of type {theirs} has {', '.join(keys) or 'none'}"
            raise invalid_argument(
                "constraints_json", f"{key[:40]!a} is not known: {rule}", reason="CONSTRAINTS_REFUSED"
            )
        if value is not None:
            fields[keys[key]] = tuple(value) if isinstance(value, list) else value
    if isinstance(fields.get("pattern"), str):
        fields["pattern"] = _found_in(fields["pattern"])
    if fields.get("shape") == ():
        del fields["shape"]
    return Constraints(**fields) if fields else NO_CONSTRAINTS


def write_constraints(theirs: str, constraints: Constraints) -> str:
    """``constraints_json`` of constraints."""
    found: dict[str, Any] = {}
    for key, field in _CONSTRAINTS.get(theirs, {}).items():
        value = getattr(constraints, field)
        if value != getattr(NO_CONSTRAINTS, field) and not (isinstance(value, float) and not math.isfinite(value)):
            found[key] = _matched_by(value) if field == "pattern" else value
    return msgspec.json.encode(found).decode()


# There a pattern has to be found in a text, here the whole text has to match it.
_BEFORE, _AFTER = "(?s:.*)(?:", ")(?s:.*)"
_BEGIN, _END = "^(?:", ")$"


def _found_in(pattern: str) -> str:
    """Our pattern for texts in which a pattern is found."""
    if pattern.startswith(_BEGIN) and pattern.endswith(_END):
        inner = pattern[len(_BEGIN) : -len(_END)]
        try:
            re.compile(inner)  # otherwise the parentheses do not belong together
        except (re.error, RecursionError, OverflowError):
            pass
        else:
            return inner
    return _BEFORE + pattern + _AFTER


def _matched_by(pattern: str) -> str:
    """A pattern that is found in the texts that match ours."""
    if pattern.startswith(_BEFORE) and pattern.endswith(_AFTER):
        return pattern[len(_BEFORE) : -len(_AFTER)]
    return _BEGIN + pattern + _END
