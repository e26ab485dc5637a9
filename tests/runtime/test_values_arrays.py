"""Arrays and tables travel to and from plugins, with and without the libraries they are of."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from bridge import codec
from bridge.codec import pack
from bridge.codec.tensors import ITEM_SIZES
from bridge.errors import BridgeError as FullError
from bridge.runtime.errors import BridgeError, Code
from bridge.runtime.values import Tensor, from_any, to_any
from bridge.v1 import values_pb2
from tests.support.twin_values import agrees, read, written
from tests.unit.codec_values import QUICK, same


@QUICK
@given(
    st.sampled_from(sorted(ITEM_SIZES)).flatmap(
        lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    )
)
def test_arrays_come_and_go_bit_by_bit(array: np.ndarray[Any, Any]) -> None:
    packed = pack(array)
    assert to_any(array) == (packed.type_url, packed.value)
    assert same(read(array), array)
    assert same(written({"a": [array]})["a"][0], array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(10)[::-3],
        np.arange(5, dtype=">i4"),
        np.arange(6, dtype=">c16").reshape(2, 3)[:, ::2],
        np.broadcast_to(np.float32(2), (3, 3)),
        np.array(5.0),
        np.zeros((0, 3)),
        np.arange(100_000, dtype="f4"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_memory_layout_has_the_bytes_of_the_bridge(array: np.ndarray[Any, Any]) -> None:
    packed = pack(array)
    assert to_any(array) == (packed.type_url, packed.value)


def test_an_array_that_arrives_is_read_only() -> None:
    array = read(np.zeros(3))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_without_numpy_an_array_is_a_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack(np.arange(3, dtype="i2"))
    boolean = values_pb2.Tensor(dtype="bool", shape=[2], data=b"\1\2").SerializeToString()
    monkeypatch.setitem(sys.modules, "numpy", None)
    tensor = from_any(packed.type_url, packed.value)
    assert tensor == Tensor("int16", (3,), b"\0\0\1\0\2\0")
    assert to_any(tensor) == (packed.type_url, packed.value)
    assert from_any(*to_any({"t": [tensor]})) == {"t": [tensor]}
    with pytest.raises(BridgeError, match="neither 0 nor 1"):
        from_any("x/bridge.v1.Tensor", boolean)


@pytest.mark.parametrize(
    "tensor",
    [
        ("int16", (2,), b"\0"),
        ("float", (1,), bytes(8)),
        ("int8", (-1,), b""),
        ("int8", (2**40,), b""),
        ("int8", (1,) * 33, b"x"),
        ("int8", (0, 2**30, 2**30), b""),
    ],
)
def test_a_tensor_that_is_not_one_is_refused_in_the_same_words(tensor: tuple[str, tuple[int, ...], bytes]) -> None:
    with pytest.raises(FullError) as full:
        pack([codec.Tensor(*tensor)])
    with pytest.raises(BridgeError) as caught:
        to_any([Tensor(*tensor)])
    assert str(caught.value) == str(full.value)


TABLE = pa.table(
    {
        "id": pa.array([1, 2, None]),
        "name": pa.array(["a", None, "c"]).dictionary_encode(),
        "tags": pa.array([["x"], [], None]),
    }
)


def test_tables_come_and_go() -> None:
    for value in (TABLE, TABLE.to_batches()[0], TABLE.slice(0, 0), pa.table({"a": list(range(50_000))})):
        table = pa.table(value) if isinstance(value, pa.Table) else pa.Table.from_batches([value])
        assert written(value).equals(table)
        assert read({"t": [value]})["t"][0].equals(table)


def stream(compression: str | None) -> AnyMessage:
    sink = pa.BufferOutputStream()
    table = pa.table({"a": [0] * 1000, "b": pa.array(["x"] * 1000).dictionary_encode()})
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    content = values_pb2.ArrowStream(data=bytes(sink.getvalue()))
    return AnyMessage(type_url="x/bridge.v1.ArrowStream", value=content.SerializeToString())


@pytest.mark.parametrize("compression", ["zstd", "lz4", None])
def test_compressed_streams_are_refused_as_by_the_bridge(compression: str | None) -> None:
    agrees(stream(compression))


@QUICK
@given(st.data())
def test_damaged_streams_are_read_or_refused_as_by_the_bridge(data: st.DataObject) -> None:
    packed = stream(None)
    raw = bytearray(packed.value)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for content in (bytes(raw), bytes(raw[:cut])):
        agrees(AnyMessage(type_url=packed.type_url, value=content))


def test_without_pyarrow_a_table_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack([TABLE])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BridgeError, match="install it") as caught:
        from_any(packed.type_url, packed.value)
    error = caught.value
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "MISSING_EXTRA")
    assert error.violations[0].field == "$[0]"
    with pytest.raises(BridgeError) as caught:
        to_any([TABLE])
    assert caught.value.reason == "MISSING_EXTRA"
