"""Tables (``bridge.v1.ArrowStream``): pyarrow, pandas, polars, whatever shows the Arrow C stream interface.

Facts: the Arrow PyCapsule interface (``__arrow_c_stream__``) and the IPC streaming format (arrow.apache.org/docs).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from ..arrow_ipc import Pieces, is_compressed
from ..errors import Code
from ..protobuf import decode
from ..shared import ARROW_URL as SHARED_ARROW_URL
from ..tables import ARROW_STREAM
from .base import TYPE_URL_PREFIX, Lowered, Packed, Refusal, malformed, refused, type_name, unsupported
from .buffers import lend, view
from .wire import delimited, payload

__all__ = ["CONVERTERS", "READERS"]

_ARROW_URL = TYPE_URL_PREFIX + "bridge.v1.ArrowStream"


def _pyarrow() -> Any:
    """pyarrow takes 0.1 s to import and is needed only where tables travel."""
    try:
        return importlib.import_module("pyarrow.ipc") and importlib.import_module("pyarrow")
    except ImportError:
        message = "a table needs pyarrow: install it in the environment of the plugin"
        raise Refusal(message, "MISSING_EXTRA", Code.FAILED_PRECONDITION) from None


def _lower_table(value: Any, depth: int) -> Packed:
    pyarrow = _pyarrow()
    try:
        reader = pyarrow.RecordBatchReader.from_stream(value)
        pieces = Pieces()
        with pyarrow.ipc.new_stream(pyarrow.PythonFile(pieces, "w"), reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)
        handle = lend(pieces.size, *pieces.parts)
        return (_ARROW_URL, delimited(b"".join(pieces.parts))) if handle is None else (SHARED_ARROW_URL, handle)
    except Exception as error:
        raise unsupported(
            f"a {type_name(value)} could not be written as an Arrow table ({type_name(error)})"
        ) from error


def _read_table(data: bytes, depth: int) -> Any:
    content = payload(data)
    return _table(decode(ARROW_STREAM, data)["data"] if content is None else content)


def _read_shared_table(data: bytes, depth: int) -> Any:
    return _table(view(data))


def _table(content: Any) -> Any:
    pyarrow = _pyarrow()
    content = pyarrow.py_buffer(content)
    try:
        for message in pyarrow.ipc.MessageReader.open_stream(content):
            if is_compressed(message.metadata.to_pybytes()):
                # A few bytes may claim to be gigabytes; uncompressed, the size of the message is the limit.
                raise refused("the Arrow stream is compressed: send it without compression")
        with pyarrow.ipc.open_stream(content) as reader:
            table = reader.read_all()
        table.validate(full=True)  # offsets and lengths from outside are used as pointers later
    except Refusal:
        raise
    except Exception as error:  # noqa: BLE001
        raise malformed(f"the bytes are not a valid Arrow stream ({type_name(error)})") from None
    return table


CONVERTERS: tuple[tuple[Callable[[Any], bool], Callable[[Any, int], Lowered]], ...] = (
    (lambda value: hasattr(type(value), "__arrow_c_stream__"), _lower_table),
)

READERS: dict[str, Callable[[bytes, int], Any]] = {
    _ARROW_URL: _read_table,
    SHARED_ARROW_URL: _read_shared_table,
}
