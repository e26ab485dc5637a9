"""Dense arrays of numbers (``bridge.v1.Tensor``): numpy arrays, without importing numpy unless an array arrives."""

from __future__ import annotations

import importlib
import math
import sys
from typing import Any

import msgspec

from bridge.codec.base import TYPE_URL_PREFIX, Converter, Limits, Packed, Refusal, malformed, unsupported
from bridge.codec.buffers import HANDLE_SIZE, lend, view
from bridge.codec.wire import LARGE, trailing_field, varint
from bridge.runtime.shared import TENSOR_URL as _SHARED_URL
from bridge.v1 import values_pb2

__all__ = ["CONVERTERS", "ITEM_SIZES", "LOWER", "READERS", "SHARED_READERS", "Tensor"]

_TENSOR_URL = TYPE_URL_PREFIX + "bridge.v1.Tensor"

ITEM_SIZES = {
    "bool": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "float16": 2,
    "float32": 4,
    "float64": 8,
    "complex64": 8,
    "complex128": 16,
}
"""Bytes of one element, by dtype."""

MAX_DIMENSIONS = 32
"""Most dimensions of an array, the limit of numpy 1."""
MAX_LENGTH = 2**31 - 1
"""Largest dimension: a protobuf message ends at 2 GiB."""


class Tensor(msgspec.Struct, frozen=True):
    """An array where numpy is not installed: what a ``Tensor`` decodes to there. It can be sent anywhere."""

    dtype: str
    """bool, int8 ... int64, uint8 ... uint64, float16, float32, float64, complex64 or complex128."""
    shape: tuple[int, ...]
    """Length of each dimension, outermost first."""
    data: bytes
    """The elements in C order, little-endian, without padding."""


def _problem(dtype: str, shape: tuple[int, ...], size: int) -> str | None:
    """What is wrong with an array; nothing is allocated to find out."""
    item_size = ITEM_SIZES.get(dtype)
    if item_size is None:
        return "the element type is not one of " + ", ".join(ITEM_SIZES)
    if len(shape) > MAX_DIMENSIONS:
        return f"the array has more than {MAX_DIMENSIONS} dimensions"
    if any(not 0 <= length <= MAX_LENGTH for length in shape):
        return f"a dimension is not between 0 and {MAX_LENGTH}"
    # A zero anywhere makes the array empty, and numpy still multiplies the others.
    if math.prod(max(length, 1) for length in shape) * item_size > MAX_LENGTH:
        return "the array is larger than 2 GiB"
    expected = math.prod(shape) * item_size
    if expected != size:
        return f"the shape needs {expected} bytes and there are {size}"
    return None


def _pack(dtype: str, shape: tuple[int, ...], data: bytes | memoryview) -> Packed:
    size = len(data)
    problem = _problem(dtype, shape, size)
    if problem is not None:
        raise unsupported(problem)
    header = values_pb2.Tensor(dtype=dtype, shape=shape).SerializeToString()
    if (handle := lend(size, data)) is not None:
        return _SHARED_URL, handle + header
    return _TENSOR_URL, b"".join((header, b"\x1a", varint(size), data)) if size else header


def _pack_tensor(value: Tensor, depth: int) -> Packed:
    return _pack(value.dtype, tuple(value.shape), value.data)


def _pack_array(value: Any, depth: int) -> Packed:
    dtype = value.dtype
    if dtype.name not in ITEM_SIZES:
        raise unsupported(
            f"an array of {dtype.name if dtype.names is None else 'records'} cannot be carried: "
            "convert it with astype to a number type, or send a list or an Arrow table"
        )
    if isinstance(value, sys.modules["numpy"].ma.MaskedArray):
        raise unsupported("a masked array cannot be carried: send its data and its mask, or value.filled(...)")
    # Copies only if the bytes are not yet little-endian and in C order.
    plain = value.astype(dtype.newbyteorder("<"), order="C", copy=False, subok=False)
    return _pack(dtype.name, value.shape, memoryview(plain.reshape(-1).view("u1")))


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def _parse(data: bytes) -> tuple[str, tuple[int, ...], bytes]:
    last = trailing_field(data, 0x1A) if len(data) > LARGE else None
    if last is None:
        message = values_pb2.Tensor.FromString(data)
        return message.dtype, tuple(message.shape), message.data
    header = values_pb2.Tensor.FromString(data[: last[0]])
    return header.dtype, tuple(header.shape), data[last[1] :]


def _read_tensor(data: bytes, limits: Limits, depth: int) -> Any:
    return _tensor(*_parse(data))


def _read_shared(data: bytes, limits: Limits, depth: int) -> Any:
    header = values_pb2.Tensor.FromString(data[HANDLE_SIZE:])
    if header.data:
        raise malformed("an array has data beside its handle")
    return _tensor(header.dtype, tuple(header.shape), view(data[:HANDLE_SIZE]))


def _tensor(dtype: str, shape: tuple[int, ...], content: bytes | memoryview) -> Any:
    problem = _problem(dtype, shape, len(content))
    if problem is not None:
        raise malformed(problem)
    try:
        numpy = importlib.import_module("numpy")
    except ImportError:
        content = bytes(content)
        if dtype == "bool":
            _check_booleans(not content.translate(None, b"\0\1"))
        return Tensor(dtype, shape, content)
    if dtype == "bool":
        _check_booleans(numpy.frombuffer(content, "u1").max(initial=0) <= 1)
    try:
        return numpy.frombuffer(content, numpy.dtype(dtype).newbyteorder("<")).reshape(shape)
    except ValueError:  # a numpy with smaller limits than ours
        raise Refusal("numpy cannot make an array of this shape", "VALUE_REFUSED") from None


def _check_booleans(is_good: bool) -> None:
    if not is_good:
        raise malformed("a boolean is neither 0 nor 1")


LOWER = {Tensor: _pack_tensor}

CONVERTERS = (Converter(_is_array, _pack_array),)

READERS = {_TENSOR_URL: _read_tensor}

SHARED_READERS = {_SHARED_URL: _read_shared}
