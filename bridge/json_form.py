"""Values as JSON and back, exact and without guessing: for scripts, and for wires that carry JSON.

What JSON can hold stands for itself. What it cannot is an object with one key that begins with ``$``; the table is in
``docs/command-line.md``. An object of the user's that looks like one of those is written as ``{"$map": ...}``.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from bridge.codec.numbers import MAX_EXPONENT
from bridge.errors import BridgeError, Code

__all__ = ["from_json", "to_json"]

_SECOND = timedelta(seconds=1)
_MAX_ROOM = 256 * 1024 * 1024
"""Bytes of an array whose elements take more room than their texts."""


def to_json(value: Any) -> Any:
    """What ``json.dumps`` takes and ``from_json`` undoes."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, dict):
        return _mapping(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(item) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, datetime):
        return {"$datetime": value.isoformat()}
    if isinstance(value, timedelta):
        return {"$duration": _seconds(value)}
    return _foreign(value)


def _mapping(value: dict[Any, Any]) -> Any:
    plain = all(isinstance(key, str) for key in value)
    if plain and not (len(value) == 1 and next(iter(value)) in _FORMS):
        return {key: to_json(item) for key, item in value.items()}
    return {"$map": [[to_json(key), to_json(item)] for key, item in value.items()]}


def _seconds(value: timedelta) -> str:
    """Exact, as protobuf writes a Duration: ``-1.500000s``."""
    sign = "-" if value < timedelta() else ""
    seconds, rest = divmod(abs(value), _SECOND)
    return f"{sign}{seconds}.{rest.microseconds:06d}s"


def _foreign(value: Any) -> Any:
    """Arrays, tables and messages, told by what they can do: their libraries are not imported here."""
    if isinstance(value, complex):
        return {"$complex": [to_json(value.real), to_json(value.imag)]}
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        shape = list(value.shape)
        return {"$array": {"dtype": str(value.dtype), "shape": shape, "values": to_json(value.tolist())}}
    if hasattr(value, "column_names") and hasattr(value, "itercolumns"):
        columns = [column.to_pylist() for column in value.itercolumns()]
        rows = [to_json(row) for row in zip(*columns, strict=True)]
        return {"$table": {"columns": value.column_names, "rows": rows}}
    if hasattr(value, "DESCRIPTOR"):
        from google.protobuf.json_format import MessageToDict  # only for tools that return messages

        return {"$message": {"type": value.DESCRIPTOR.full_name, "value": MessageToDict(value)}}
    if hasattr(value, "dtype") and hasattr(value, "data"):  # a tensor where numpy is not installed
        data = base64.b64encode(value.data).decode()
        return {"$tensor": {"dtype": value.dtype, "shape": list(value.shape), "data": data}}
    return str(value)


def from_json(value: Any) -> Any:
    """The value behind a document.

    Raises ``ValueError`` for an object that begins like one of ours and is none; ``BridgeError`` FAILED_PRECONDITION,
    reason ``MISSING_EXTRA``, for a value that needs a library which is not installed.
    """
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        key, content = next(iter(value.items()))
        if (read := _READERS.get(key)) is not None:
            try:
                return read(content)
            except (ValueError, TypeError, KeyError, ArithmeticError) as error:
                raise ValueError(f"{key}: {error}") from None
    return {key: from_json(item) for key, item in value.items()}


def _read_decimal(text: str) -> Decimal:
    value = Decimal(text)
    if value.is_finite() and abs(value.adjusted()) > MAX_EXPONENT:
        raise ValueError(f"the exponent is beyond {MAX_EXPONENT}")
    return value


def _read_duration(text: str) -> timedelta:
    return timedelta(microseconds=int(_read_decimal(str.removesuffix(text, "s")).scaleb(6)))


def _read_map(pairs: list[Any]) -> dict[Any, Any]:
    return {from_json(key): from_json(item) for key, item in pairs}


def _missing(message: str) -> BridgeError:
    return BridgeError(Code.FAILED_PRECONDITION, message, reason="MISSING_EXTRA")


def _read_array(content: dict[str, Any]) -> Any:
    try:
        import numpy  # optional, and only for arguments that are arrays
    except ImportError:
        raise _missing("an array needs NumPy: pip install 'tool-bridge[numpy]'") from None
    values = from_json(content["values"])
    try:
        dtype = numpy.dtype(content["dtype"])
    except SyntaxError as error:  # some names of types are read as Python is
        raise ValueError("the dtype is no name of a type") from error
    # An element takes as much room as its type says, which for these may be any, whatever stands there.
    if dtype.kind in "SUV" and numpy.array(values, dtype=object).size * dtype.itemsize > _MAX_ROOM:
        raise ValueError(f"the array would take more than {_MAX_ROOM} bytes")
    return numpy.array(values, dtype=dtype).reshape(content["shape"])


def _read_table(content: dict[str, Any]) -> Any:
    try:
        import pyarrow  # type: ignore[import-untyped, unused-ignore]  # optional, and only for tables
    except ImportError:
        raise _missing("a table needs PyArrow: pip install 'tool-bridge[arrow]'") from None
    rows = from_json(content["rows"])
    columns = zip(*rows, strict=True) if rows else ((),) * len(content["columns"])
    return pyarrow.table([pyarrow.array(column) for column in columns], names=content["columns"])


_READERS: dict[str, Callable[[Any], Any]] = {
    "$array": _read_array,
    "$bytes": lambda text: base64.b64decode(text, validate=True),
    "$complex": lambda parts: complex(*map(from_json, parts)),
    "$datetime": datetime.fromisoformat,
    "$decimal": _read_decimal,
    "$duration": _read_duration,
    "$float": float,
    "$map": _read_map,
    "$table": _read_table,
}

_FORMS = _READERS.keys() | {"$message", "$tensor"}
"""The keys that mean something; an object with another one, such as ``$ref``, stands for itself."""
