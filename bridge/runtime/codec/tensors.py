"""Dense arrays of numbers (``bridge.v1.Tensor``): numpy arrays, without importing numpy unless an array arrives."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ..protobuf import decode, encode, varint
from ..shared import TENSOR_URL as SHARED_TENSOR_URL
from ..tables import TENSOR
from .base import TYPE_URL_PREFIX, Lowered, Packed, malformed, refused, unsupported
from .buffers import HANDLE_SIZE, lend, view
from .registry import loaded

__all__ = ["CONVERTERS", "LOWER", "READERS", "Tensor"]

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


class Tensor(NamedTuple):
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


def _pack(dtype: str, shape: tuple[int, ...], data: Any) -> Packed:
    size = len(data)
    problem = _problem(dtype, shape, size)
    if problem is not None:
        raise unsupported(problem)
    header = encode(TENSOR, {"dtype": dtype, "shape": shape})
    handle = lend(size, data)
    if handle is not None:
        return SHARED_TENSOR_URL, handle + header
    return _TENSOR_URL, b"".join((header, b"\x1a", varint(size), data)) if size else header


def _lower_tensor(value: Tensor, depth: int) -> Packed:
    return _pack(value.dtype, tuple(value.shape), value.data)


def _lower_array(value: Any, depth: int) -> Packed:
    dtype = value.dtype
    if dtype.name not in ITEM_SIZES:
        raise unsupported(
            f"an array of {dtype.name if dtype.names is None else 'records'} cannot be carried: "
            "convert it with astype to a number type, or send a list or an Arrow table"
        )
    if isinstance(value, loaded("numpy.ma", "MaskedArray")):
        raise unsupported("a masked array cannot be carried: send its data and its mask, or value.filled(...)")
    # Copies only if the bytes are not yet little-endian and in C order.
    plain = value.astype(dtype.newbyteorder("<"), order="C", copy=False, subok=False)
    return _pack(dtype.name, value.shape, memoryview(plain.reshape(-1).view("u1")))


def _read_tensor(data: bytes, depth: int) -> Any:
    fields = decode(TENSOR, data)
    return _array(fields["dtype"], tuple(fields["shape"]), fields["data"])


def _read_shared_tensor(data: bytes, depth: int) -> Any:
    fields = decode(TENSOR, data[HANDLE_SIZE:])
    if fields["data"]:
        raise malformed("an array has data beside its handle")
    return _array(fields["dtype"], tuple(fields["shape"]), view(data[:HANDLE_SIZE]))


def _array(dtype: str, shape: tuple[int, ...], content: Any) -> Any:
    problem = _problem(dtype, shape, len(content))
    if problem is not None:
        raise malformed(problem)
    try:
        numpy: Any = importlib.import_module("numpy")
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
        raise refused("numpy cannot make an array of this shape") from None


def _check_booleans(is_good: bool) -> None:
    if not is_good:
        raise malformed("a boolean is neither 0 nor 1")


LOWER: dict[type, Callable[[Any, int], Lowered]] = {Tensor: _lower_tensor}

CONVERTERS: tuple[tuple[Callable[[Any], bool], Callable[[Any, int], Lowered]], ...] = (
    (lambda value: isinstance(value, loaded("numpy", "ndarray")), _lower_array),
)

READERS: dict[str, Callable[[bytes, int], Any]] = {
    _TENSOR_URL: _read_tensor,
    SHARED_TENSOR_URL: _read_shared_tensor,
}
