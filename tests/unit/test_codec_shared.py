"""Large buffers leave their message and come back the same; without memory nothing of that exists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from bridge.call import Chunk
from bridge.codec import Tensor, decode, pack
from bridge.codec.tensors import ITEM_SIZES
from bridge.errors import BridgeError, Code
from bridge.runtime.shared import ARROW_URL, BYTES_URL, TENSOR_URL, THRESHOLD, Lent, Memory, borrowing, lending
from bridge.tool_messages import pack_call, pack_chunk, pack_result, read_call, read_chunk, read_result
from tests.support.shared_memory import mapped, memory_files, nothing_mapped
from tests.unit.codec_values import same

__all__ = ["nothing_mapped"]

LARGE = bytes(range(256)) * (THRESHOLD // 256)
"""Just large enough."""


@dataclass
class Pair:
    left: Any
    right: Any


def sent(make: Callable[[], Any]) -> tuple[Any, Memory]:
    """What is made while buffers may be lent, and the memory they are in."""
    with lending(2**30) as lent:
        made = make()
    return made, Memory(lent.write(), lent.size)


def shared(value: Any) -> tuple[AnyMessage, Any]:
    """The message of a value, and what comes back."""
    message, memory = sent(lambda: pack(value))
    with memory, borrowing(memory):
        return message, decode(message)


@pytest.mark.parametrize(
    "value",
    [
        LARGE,
        {"a": [1, LARGE, {"b": LARGE + b"x"}], "c": None, "small": b"y"},
        [np.arange(THRESHOLD).reshape(-1, 4), np.arange(3), "text"],
        {LARGE: 1, 2: LARGE},
        np.arange(THRESHOLD, dtype=">i4").reshape(64, -1).T[::2],
        *(np.ones(THRESHOLD, dtype) for dtype in ITEM_SIZES),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, np.ndarray) else str(value.dtype),
)
def test_values_come_back_as_they_do_without_memory(value: Any) -> None:
    message, back = shared(value)
    assert len(message.value) < 1000
    assert same(back, decode(pack(value)))


@pytest.mark.parametrize(
    "buffer",
    [
        bytearray(LARGE),
        memoryview(LARGE),
        memoryview(LARGE + LARGE)[::2],
        memoryview(LARGE).cast("i"),
        memoryview(LARGE).cast("B", (256, THRESHOLD // 256)),
    ],
    ids=["bytearray", "memoryview", "strided", "of integers", "of two dimensions"],
)
def test_every_kind_of_buffer_comes_back_as_bytes(buffer: Any) -> None:
    message, back = shared(buffer)
    assert message.type_url == BYTES_URL
    assert type(back) is bytes
    assert back == bytes(buffer)


def test_dataclasses_leave_their_arrays_too() -> None:
    message, back = shared(Pair(np.arange(THRESHOLD), LARGE))
    assert len(message.value) < 1000
    assert same(back, {"left": np.arange(THRESHOLD), "right": LARGE})


def test_tables_come_back_without_a_copy() -> None:
    table = pa.table({"n": np.arange(THRESHOLD), "t": [str(n) for n in range(THRESHOLD)], "d": [None] * THRESHOLD})
    for value in (table, table.to_batches(max_chunksize=1000)[0], table.to_reader(5000), table.slice(7, 99_999)):
        expected = decode(pack(table if isinstance(value, pa.RecordBatchReader) else value))
        if expected.nbytes < THRESHOLD:
            continue
        message, back = shared(value)
        assert (message.type_url, len(message.value)) == (ARROW_URL, 16)
        assert back == expected
        assert mapped() == 1
        del back
        assert mapped() == 0


def test_small_values_stay_in_the_message() -> None:
    value = {"b": LARGE[1:], "a": np.zeros(THRESHOLD - 1, "u1"), "t": pa.table({"n": [1]}), "s": "x" * THRESHOLD}
    with lending(2**30) as lent:
        message = pack(value)
    assert lent.size == 0
    back = decode(message)
    assert (back["b"], back["t"], len(back["a"])) == (value["b"], value["t"], THRESHOLD - 1)


def test_an_array_is_a_view_that_frees_the_memory_when_it_goes() -> None:
    _, back = shared([np.arange(THRESHOLD), np.arange(THRESHOLD)])
    assert not back[0].flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        back[0].flags.writeable = True
    part = back.pop()[5:10]
    del back
    assert (mapped(), memory_files()) == (1, 0)
    assert part.tolist() == [5, 6, 7, 8, 9]
    del part
    assert mapped() == 0


def test_an_array_without_numpy_is_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    value = Tensor("bool", (2, THRESHOLD), b"\1" * 2 * THRESHOLD)
    monkeypatch.setitem(__import__("sys").modules, "numpy", None)
    _, back = shared(value)
    assert back == value
    assert type(back.data) is bytes


# Messages of calls


def test_bytes_of_calls_results_and_chunks_are_shared() -> None:
    arguments = {"a": LARGE, "b": bytearray(LARGE), "c": b"small", "d": [1]}
    data, memory = sent(lambda: pack_call("t", arguments))
    assert len(data) < 1000
    with memory, borrowing(memory):
        assert read_call(data)[1] == arguments
    data, memory = sent(lambda: pack_result(LARGE))
    assert len(data) < 100
    with memory, borrowing(memory):
        assert read_result(data) == LARGE
    data, memory = sent(lambda: pack_chunk(Chunk(LARGE), 3, final=False))
    assert len(data) < 100
    with memory, borrowing(memory):
        assert read_chunk(data).value == LARGE


def test_a_parameter_that_takes_a_view_gets_one() -> None:
    data, memory = sent(lambda: pack_call("t", {"a": LARGE, "b": LARGE, "c": b"small", "d": 1}))
    with memory, borrowing(memory):
        arguments = read_call(data, {"t": ("a", "c", "d", "e")}.__getitem__)[1]
    assert type(arguments["a"]) is memoryview
    assert arguments["a"].readonly
    assert arguments == {"a": LARGE, "b": LARGE, "c": b"small", "d": 1}
    del arguments
    assert mapped() == 0


# What is refused


def refusal(message: AnyMessage, *buffers: bytes) -> BridgeError:
    lent = Lent(2**30)
    for buffer in buffers:
        lent.lend(buffer)
    with pytest.raises(BridgeError) as caught:
        if buffers:
            with Memory(lent.write(), lent.size) as memory, borrowing(memory):
                decode(message)
        else:
            decode(message)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value


def handle(url: str, offset: int, size: int, more: bytes = b"") -> AnyMessage:
    return AnyMessage(type_url=url, value=offset.to_bytes(8, "little") + size.to_bytes(8, "little") + more)


FLOATS = b"\n\x07float64\x12\x01\x02"
"""A header: two of them."""


@pytest.mark.parametrize("url", [BYTES_URL, TENSOR_URL, ARROW_URL])
def test_a_handle_is_refused_where_no_memory_came(url: str) -> None:
    error = refusal(pack({"a": [b"", handle(url, 0, 16, FLOATS if url == TENSOR_URL else b"")]}))
    assert error.reason == "VALUE_REFUSED"
    assert [violation.field for violation in error.violations] == ["$.a[1]"]
    assert "send the value" in error.message


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (handle(BYTES_URL, 0, 17), "outside"),
        (handle(BYTES_URL, 0, 16, b"x"), "follows"),
        (AnyMessage(type_url=BYTES_URL, value=b"short"), "follows"),
        (handle(TENSOR_URL, 64, 16, FLOATS), "outside"),
        (handle(TENSOR_URL, 0, 8, FLOATS), "needs 16 bytes and there are 8"),
        (handle(TENSOR_URL, 0, 16, FLOATS + b"\x1a\x01x"), "beside its handle"),
        (handle(TENSOR_URL, 0, 16, b"\xff"), "not a valid"),
        (handle(TENSOR_URL, 0, 16, b"\n\x06object\x12\x01\x02"), "element type"),
        (handle(TENSOR_URL, 0, 16, b"\n\x04bool\x12\x01\x10"), "neither 0 nor 1"),
        (AnyMessage(type_url=TENSOR_URL, value=b"short"), "outside"),
        (handle(ARROW_URL, 0, 16), "Arrow stream"),
        (handle(ARROW_URL, 0, 16, b"x"), "follows"),
        (handle(ARROW_URL, 0, 2**63), "outside"),
    ],
)
def test_a_handle_that_is_not_good_is_malformed(message: AnyMessage, why: str) -> None:
    error = refusal(message, b"\2" * 16)
    assert error.reason == "VALUE_MALFORMED"
    assert why in error.message


def test_a_compressed_table_in_memory_is_refused() -> None:
    table = pa.table({"n": np.zeros(1000)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    content = sink.getvalue().to_pybytes()
    assert refusal(handle(ARROW_URL, 0, len(content)), content).reason == "VALUE_REFUSED"


def test_handles_have_no_other_names() -> None:
    for prefix in ("type.googleapis.com/", "other/shared.bridge/", "/"):
        for url in (BYTES_URL, TENSOR_URL, ARROW_URL):
            message = handle(prefix + url.rpartition("/")[2], 0, 16)
            assert refusal(message, b"\2" * 16).reason == "VALUE_TYPE_UNKNOWN"
