"""Values as JSON documents and back: for scripts, exact and without guessing.

What JSON can hold stands for itself. What it cannot is an object with one key that begins with ``$``; the table is in
``docs/command-line.md``. An object of the user's that looks like one of those is written as ``{"$map": ...}``.
"""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from bridge.cli.problems import usage_error

__all__ = ["dumps", "from_json", "loads", "to_json"]

_SECOND = timedelta(seconds=1)


def dumps(value: Any) -> str:
    """One line of JSON for a value that a call returned."""
    return json.dumps(to_json(value), ensure_ascii=sys.stdout.encoding.lower() != "utf-8", allow_nan=False)


def loads(text: str | bytes) -> Any:
    """The value of a JSON document. Numbers keep every digit: what a float cannot hold is a ``Decimal``.

    Raises ``ValueError`` if it is none.
    """
    try:
        return from_json(_DECODER.decode(text))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _number(text: str) -> float | Decimal:
    value, exact = float(text), Decimal(text)
    return value if math.isfinite(value) and Decimal(repr(value)) == exact else exact


_DECODER = msgspec.json.Decoder(float_hook=_number)


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
    if plain and not (len(value) == 1 and next(iter(value)).startswith("$")):
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

    Raises ``ValueError`` for an object that begins like one of ours and is none.
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
            except (ValueError, TypeError, KeyError, InvalidOperation) as error:
                raise ValueError(f"{key}: {error}") from None
    return {key: from_json(item) for key, item in value.items()}


def _read_duration(text: str) -> timedelta:
    return timedelta(microseconds=int(Decimal(text.removesuffix("s")).scaleb(6)))


def _read_map(pairs: list[Any]) -> dict[Any, Any]:
    return {from_json(key): from_json(item) for key, item in pairs}


def _read_array(content: dict[str, Any]) -> Any:
    try:
        import numpy  # optional, and only for arguments that are arrays
    except ImportError:
        raise usage_error("an array argument needs NumPy: pip install 'tool-bridge[numpy]'") from None
    return numpy.array(from_json(content["values"]), dtype=content["dtype"]).reshape(content["shape"])


def _read_table(content: dict[str, Any]) -> Any:
    try:
        import pyarrow  # type: ignore[import-untyped, unused-ignore]  # optional, and only for tables
    except ImportError:
        raise usage_error("a table argument needs PyArrow: pip install 'tool-bridge[arrow]'") from None
    rows = from_json(content["rows"])
    columns = zip(*rows, strict=True) if rows else ((),) * len(content["columns"])
    return pyarrow.table([pyarrow.array(column) for column in columns], names=content["columns"])


_READERS: dict[str, Callable[[Any], Any]] = {
    "$array": _read_array,
    "$bytes": lambda text: base64.b64decode(text, validate=True),
    "$complex": lambda parts: complex(*map(from_json, parts)),
    "$datetime": datetime.fromisoformat,
    "$decimal": Decimal,
    "$duration": _read_duration,
    "$float": float,
    "$map": _read_map,
    "$table": _read_table,
}
