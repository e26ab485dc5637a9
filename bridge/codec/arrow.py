"""Tables (``bridge.v1.ArrowStream``): pyarrow, pandas, polars, whatever shows the Arrow C stream interface.

Facts: the Arrow PyCapsule interface (``__arrow_c_stream__``) and the IPC streaming format (arrow.apache.org/docs).
"""

from __future__ import annotations

import importlib
from typing import Any

from bridge.codec.base import (
    TYPE_URL_PREFIX,
    Converter,
    Limits,
    Packed,
    Refusal,
    malformed,
    type_name,
    unsupported,
)
from bridge.codec.buffers import HANDLE_SIZE, lend, view
from bridge.codec.wire import length_delimited, payload
from bridge.errors import Code
from bridge.runtime.arrow_ipc import Pieces, is_compressed
from bridge.runtime.shared import ARROW_URL as _SHARED_URL
from bridge.v1.values_pb2 import ArrowStream

__all__ = ["CONVERTERS", "READERS", "SHARED_READERS"]

_ARROW_URL = TYPE_URL_PREFIX + "bridge.v1.ArrowStream"


def _pyarrow() -> Any:
    """pyarrow takes 0.1 s to import and is needed only where tables travel."""
    try:
        return importlib.import_module("pyarrow.ipc") and importlib.import_module("pyarrow")
    except ImportError:
        raise Refusal(
            "a table needs pyarrow: install tool-bridge[arrow]", "MISSING_EXTRA", Code.FAILED_PRECONDITION
        ) from None


def _pack_table(value: Any, depth: int) -> Packed:
    pyarrow = _pyarrow()
    try:
        reader = pyarrow.RecordBatchReader.from_stream(value)
        pieces = Pieces()
        with pyarrow.ipc.new_stream(pyarrow.PythonFile(pieces, "w"), reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)
        if (handle := lend(pieces.size, *pieces.parts)) is not None:
            return _SHARED_URL, handle
        return _ARROW_URL, length_delimited(b"".join(pieces.parts))
    except Exception as error:
        raise unsupported(
            f"a {type_name(value)} could not be written as an Arrow table ({type_name(error)})"
        ) from error


def _read_table(data: bytes, limits: Limits, depth: int) -> Any:
    content = payload(data)
    return _table(ArrowStream.FromString(data).data if content is None else content)


def _read_shared(data: bytes, limits: Limits, depth: int) -> Any:
    if len(data) != HANDLE_SIZE:
        raise malformed("something follows the handle")
    return _table(view(data))


def _table(content: bytes | memoryview) -> Any:
    pyarrow = _pyarrow()
    try:
        source = pyarrow.py_buffer(content)
        for message in pyarrow.ipc.MessageReader.open_stream(source):
            if is_compressed(message.metadata.to_pybytes()):
                # A few bytes may claim to be gigabytes; uncompressed, the size of the message is the limit.
                raise Refusal("the Arrow stream is compressed: send it without compression", "VALUE_REFUSED")
        with pyarrow.ipc.open_stream(source) as reader:
            table = reader.read_all()
        table.validate(full=True)  # offsets and lengths from outside are used as pointers later
    except Refusal:
        raise
    except Exception as error:  # noqa: BLE001
        raise malformed(f"the bytes are not a valid Arrow stream ({type_name(error)})") from None
    return table


CONVERTERS = (Converter(lambda v: hasattr(type(v), "__arrow_c_stream__"), _pack_table),)

READERS = {_ARROW_URL: _read_table}

SHARED_READERS = {_SHARED_URL: _read_shared}
