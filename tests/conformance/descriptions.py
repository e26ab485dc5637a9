"""Values to and from the language-neutral descriptions of the vectors; README.md beside this file defines them."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

Description = dict[str, Any]


def _describe_int(value: int) -> Description:
    return {"kind": "int64" if -(2**63) <= value < 2**63 else "integer", "text": str(value)}


def _describe_float(value: float) -> Description:
    # Every NaN is the same value; its bits are not part of the promise.
    return {"kind": "double", "text": repr(value), "bits": struct.pack(">d", value).hex() if value == value else "any"}


def _describe_list(value: list[Any]) -> Description:
    return {"kind": "list", "items": [describe(item) for item in value]}


def _describe_dict(value: dict[Any, Any]) -> Description:
    return {"kind": "map", "entries": [{"key": describe(k), "value": describe(v)} for k, v in value.items()]}


def _describe_array(value: np.ndarray[Any, Any]) -> Description:
    elements = [str(item) for item in value.ravel().tolist()]
    data = base64.b64encode(value.tobytes()).decode()
    shape = list(value.shape)
    return {"kind": "tensor", "dtype": str(value.dtype), "shape": shape, "elements": elements, "data_base64": data}


def _describe_table(value: pa.Table) -> Description:
    columns = [
        {"name": name, "type": str(column.type), "values": [describe(item) for item in column.to_pylist()]}
        for name, column in zip(value.column_names, value.columns, strict=True)
    ]
    return {"kind": "table", "rows": value.num_rows, "columns": columns}


_DESCRIBE: dict[type, Callable[[Any], Description]] = {
    type(None): lambda value: {"kind": "null"},
    bool: lambda value: {"kind": "bool", "value": value},
    int: _describe_int,
    float: _describe_float,
    str: lambda value: {"kind": "string", "text": value},
    bytes: lambda value: {"kind": "bytes", "base64": base64.b64encode(value).decode()},
    Decimal: lambda value: {"kind": "decimal", "text": str(value)},
    datetime: lambda value: {"kind": "timestamp", "text": value.astimezone(UTC).isoformat().replace("+00:00", "Z")},
    timedelta: lambda value: {"kind": "duration", "microseconds": str(value // timedelta(microseconds=1))},
    list: _describe_list,
    dict: _describe_dict,
    np.ndarray: _describe_array,
    pa.Table: _describe_table,
}


def describe(value: Any) -> Description:
    """The description of a decoded value."""
    return _DESCRIBE[type(value)](value)


def _build_array(d: Description) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(d["data_base64"]), d["dtype"]).reshape(d["shape"])


_BUILD: dict[str, Callable[[Description], Any]] = {
    "null": lambda d: None,
    "bool": lambda d: d["value"],
    "int64": lambda d: int(d["text"]),
    "integer": lambda d: int(d["text"]),
    "double": lambda d: float(d["text"]),
    "string": lambda d: d["text"],
    "bytes": lambda d: base64.b64decode(d["base64"]),
    "decimal": lambda d: Decimal(d["text"]),
    "timestamp": lambda d: datetime.fromisoformat(d["text"]),
    "duration": lambda d: timedelta(microseconds=int(d["microseconds"])),
    "list": lambda d: [build(item) for item in d["items"]],
    "map": lambda d: {build(entry["key"]): build(entry["value"]) for entry in d["entries"]},
    "tensor": _build_array,
}


def build(description: Description) -> Any:
    """The value that a description describes."""
    return _BUILD[description["kind"]](description)
