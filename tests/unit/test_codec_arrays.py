"""Arrays and tables: exact bytes, every layout, with and without the optional libraries."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from bridge.codec import Tensor, decode, pack
from bridge.codec.tensors import ITEM_SIZES
from bridge.errors import BridgeError, Code
from bridge.v1 import values_pb2
from tests.unit.codec_values import QUICK, carried, same


class Subclass(np.ndarray[Any, Any]):
    """An array with another class, such as numpy's memmap."""


ARROW = "x/bridge.v1.ArrowStream"


@QUICK
@given(
    st.sampled_from(sorted(ITEM_SIZES)).flatmap(
        lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    )
)
def test_arrays_of_every_type_and_shape_come_back_bit_by_bit(array: np.ndarray[Any, Any]) -> None:
    assert same(carried(array), array)
    assert same(carried({"a": [array]})["a"][0], array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(10)[::-3],
        np.asfortranarray(np.arange(6, dtype="f4").reshape(2, 3)),
        np.arange(5, dtype=">i4"),
        np.arange(6, dtype=">c16").reshape(2, 3)[:, ::2],
        np.broadcast_to(np.float32(2), (3, 3)),
        np.arange(10_000, dtype=">u2")[::2],
        np.arange(4).view(Subclass),
        np.array(5.0),
        np.zeros((0, 3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_memory_layout_is_sent_little_endian_in_c_order(array: np.ndarray[Any, Any]) -> None:
    expected = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
    message = values_pb2.Tensor.FromString(pack(array).value)
    assert message.data == expected.tobytes()
    assert tuple(message.shape) == array.shape
    assert same(carried(array), np.asarray(expected))


@pytest.mark.parametrize("count", [0, 1, 4095, 4096, 4097, 100_000])
def test_arrays_of_every_length_have_the_bytes_protobuf_writes(count: int) -> None:
    array = np.arange(count, dtype="f4")
    expected = values_pb2.Tensor(dtype="float32", shape=[count], data=array.tobytes()).SerializeToString()
    assert pack(array).value == expected
    assert same(carried(array), array)


def test_a_decoded_array_is_read_only() -> None:
    array = carried(np.zeros(3))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    array.copy()[0] = 1


def test_fields_in_any_order_are_decoded() -> None:
    data = bytes(40_000)
    head = values_pb2.Tensor(dtype="int8", shape=[40_000]).SerializeToString()
    body = values_pb2.Tensor(data=data).SerializeToString()
    for raw in (head + body, body + head):
        assert decode(AnyMessage(type_url="x/bridge.v1.Tensor", value=raw)).shape == (40_000,)


def test_without_numpy_an_array_is_a_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack(np.arange(3, dtype="i2"))
    monkeypatch.setitem(sys.modules, "numpy", None)
    tensor = decode(packed)
    assert tensor == Tensor("int16", (3,), b"\0\0\1\0\2\0")
    assert pack(tensor) == packed
    assert decode(pack({"t": tensor})) == {"t": tensor}


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("int16", (2,), b"\0"),
        Tensor("float", (1,), bytes(8)),
        Tensor("int8", (-1,), b""),
        Tensor("int8", (2**40,), b""),
    ],
)
def test_a_tensor_that_is_not_one_is_refused(tensor: Tensor) -> None:
    with pytest.raises(BridgeError) as caught:
        pack([tensor])
    assert caught.value.violations[0].field == "$[0]"


TABLE = pa.table(
    {
        "id": pa.array([1, 2, None]),
        "name": pa.array(["a", None, "c"]).dictionary_encode(),
        "tags": pa.array([["x"], [], None]),
        "blob": pa.array([b"", b"\xff", None]),
    }
)


class Frame:
    """Like a DataFrame: all that is known of it is that it shows an Arrow stream."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return TABLE.__arrow_c_stream__(requested_schema)


class Broken:
    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        raise RuntimeError("secret")


def test_tables_batches_and_frames_come_back_as_tables() -> None:
    for value in (TABLE, TABLE.to_batches()[0], Frame(), TABLE.to_reader()):
        result = carried(value)
        assert isinstance(result, pa.Table)
        assert result.equals(TABLE)
    assert carried({"t": [TABLE]})["t"][0].equals(TABLE)
    assert carried(TABLE.slice(0, 0)).schema == TABLE.schema
    many = pa.table({"a": pa.chunked_array([list(range(50_000)), [1]])})
    assert carried(many).equals(many)


@pytest.mark.parametrize("value", [TABLE["id"], Broken()], ids=["column", "broken"])
def test_what_is_not_a_table_is_refused(value: Any) -> None:
    with pytest.raises(BridgeError, match=r"\$\.t: .*could not be written as an Arrow table") as caught:
        pack({"t": value})
    assert "secret" not in str(caught.value)


def _stream(compression: str | None) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"a": [0] * 1000})
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_compressed_streams_are_refused_before_they_grow(compression: str) -> None:
    message = AnyMessage(type_url=ARROW, value=values_pb2.ArrowStream(data=_stream(compression)).SerializeToString())
    with pytest.raises(BridgeError, match="compressed") as caught:
        decode(message)
    assert caught.value.reason == "VALUE_REFUSED"
    plain = AnyMessage(type_url=ARROW, value=values_pb2.ArrowStream(data=_stream(None)).SerializeToString())
    assert decode(plain).num_rows == 1000


@QUICK
@given(st.data())
def test_damaged_streams_are_decoded_or_refused(data: st.DataObject) -> None:
    raw = bytearray(values_pb2.ArrowStream.FromString(pack(TABLE).value).data)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for content in (bytes(raw), bytes(raw[:cut])):
        message = AnyMessage(type_url=ARROW, value=values_pb2.ArrowStream(data=content).SerializeToString())
        try:
            decode(message)
            reason = ""
        except BridgeError as error:
            reason = error.reason
        assert reason in {"", "VALUE_MALFORMED", "VALUE_REFUSED"}


def test_without_pyarrow_a_table_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack([TABLE])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BridgeError, match=r"tool-bridge\[arrow\]") as caught:
        decode(packed)
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert caught.value.reason == "MISSING_EXTRA"
    assert caught.value.violations[0].field == "$[0]"


def test_the_codec_imports_neither_numpy_nor_pyarrow() -> None:
    code = (
        "import sys; from bridge.codec import decode, pack; decode(pack({'a': [1, b'x', float('nan')]}));"
        "print(sorted({'numpy', 'pyarrow', 'pandas', 'pydantic'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert result.stdout.strip() == "[]"
