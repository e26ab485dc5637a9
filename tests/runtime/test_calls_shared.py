"""Large buffers of a plugin's calls go beside the message, as the server sends and takes them."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from bridge.codec import decode
from bridge.codec import to_any as full_to_any
from bridge.errors import BridgeError as FullError
from bridge.runtime import shared
from bridge.runtime.calls import pack_chunk, pack_result
from bridge.runtime.calls import read_request as read
from bridge.runtime.errors import BridgeError, Code
from bridge.runtime.host_tools import pack_request, read_chunk, read_result
from bridge.runtime.values import from_any
from bridge.tool_messages import pack_call, read_call
from bridge.tool_messages import pack_result as full_pack_result
from bridge.tool_messages import read_result as full_read_result
from tests.unit.codec_values import same

LARGE = bytes(range(256)) * (shared.THRESHOLD // 256)
ARRAY = np.zeros(shared.THRESHOLD, "i1")


@dataclass
class Holder:
    items: list[bytes]


needs_sharing = pytest.mark.skipif(not shared.available(), reason="this platform cannot share memory")


def sent(pack: Any, *values: Any) -> tuple[bytes, shared.Memory]:
    """A message, and the memory that goes with it."""
    with shared.lending(1 << 30) as lent:
        data = pack(*values)
    assert lent.size >= shared.THRESHOLD
    assert len(data) < 2000
    return data, shared.Memory(lent.write(), lent.size)


@needs_sharing
@pytest.mark.parametrize(
    "value", [LARGE, [LARGE, 1], {"a": bytearray(LARGE)}, {"a": LARGE, LARGE: 1}, memoryview(LARGE)], ids=type
)
def test_large_bytes_go_beside_the_message_in_both_directions(value: Any) -> None:
    expected = full_read_result(full_pack_result(value))
    for pack, function in ((pack_result, full_read_result), (full_pack_result, read_result)):
        data, memory = sent(pack, value)
        with memory, shared.borrowing(memory):
            assert same(function(data), expected)


@needs_sharing
def test_large_arrays_are_views_of_the_memory() -> None:
    array = np.arange(shared.THRESHOLD, dtype="f4").reshape(2, -1)
    for pack, function in ((pack_result, full_read_result), (full_pack_result, read_result)):
        data, memory = sent(pack, {"a": [array, np.zeros(shared.THRESHOLD, bool)]})
        with memory, shared.borrowing(memory):
            found = function(data)["a"]
        assert same(found[0], array)
        assert not found[0].flags.writeable
        assert not found[0].flags.owndata
        assert not found[1].any()


@needs_sharing
def test_large_tables_go_beside_the_message() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"a": list(range(100_000)), "b": [math.pi] * 100_000})
    for pack, function in ((pack_result, full_read_result), (full_pack_result, read_result)):
        data, memory = sent(pack, [table])
        with memory, shared.borrowing(memory):
            assert function(data)[0].equals(table)


@needs_sharing
def test_large_arguments_are_read_and_may_be_views() -> None:
    data, memory = sent(pack_call, "tool", {"a": LARGE, "b": 1})
    with memory, shared.borrowing(memory):
        assert read(data).arguments == {"a": LARGE, "b": 1}
    data, memory = sent(pack_request, "tool", {"a": LARGE, "b": 1})
    with memory, shared.borrowing(memory):
        assert read_call(data)[1] == {"a": LARGE, "b": 1}
    data, memory = sent(pack_call, "tool", {"a": LARGE, "b": 1})
    with memory, shared.borrowing(memory):
        found = read(data, lambda tool: ("a", "b") if tool == "tool" else ()).arguments
    assert isinstance(found["a"], memoryview)
    assert found["a"] == LARGE
    assert found["b"] == 1


@needs_sharing
def test_large_chunks_go_beside_the_message() -> None:
    data, memory = sent(pack_chunk, LARGE, 3)
    with memory, shared.borrowing(memory):
        assert read_chunk(data).value == LARGE


@needs_sharing
def test_large_bytes_of_an_object_stay_text_as_its_class_reads_them() -> None:
    with shared.lending(1 << 30) as lent:
        data = pack_result(Holder([LARGE]))
    assert lent.size == 0
    assert full_read_result(data) == full_read_result(full_pack_result(Holder([LARGE])))


@needs_sharing
def test_a_handle_without_memory_is_refused_as_by_the_server() -> None:
    for value in (LARGE, ARRAY):
        data, memory = sent(pack_result, value)
        memory.close()
        for function, kind in ((read_result, BridgeError), (full_read_result, FullError)):
            with pytest.raises(kind, match="none has come with the message"):
                function(data)


SPOILT: list[tuple[Any, Any]] = [
    (LARGE, lambda handle: handle + b"x"),
    (LARGE, lambda handle: b"\x40" + handle[1:]),
    (LARGE, lambda handle: handle[:-1]),
    (ARRAY, lambda handle: handle + b"\x1a\x01x"),
    (ARRAY, lambda handle: handle[:-1]),
    (ARRAY, lambda handle: handle[:5]),
]


@needs_sharing
@pytest.mark.parametrize(("value", "spoil"), SPOILT, ids=range(len(SPOILT)))
def test_a_spoilt_handle_is_refused_as_by_the_server(value: Any, spoil: Any) -> None:
    with shared.lending(1 << 30) as lent:
        type_url, handle = full_to_any(value)
    spoilt = spoil(handle)
    fd = lent.write()
    other = os.dup(fd)
    with shared.Memory(other, lent.size) as memory, shared.borrowing(memory), pytest.raises(FullError) as full:
        decode(AnyMessage(type_url=type_url, value=spoilt))
    with shared.Memory(fd, lent.size) as memory, shared.borrowing(memory), pytest.raises(BridgeError) as caught:
        from_any(type_url, spoilt)
    assert caught.value.reason == full.value.reason == "VALUE_MALFORMED"
    assert caught.value.violations[0].field == full.value.violations[0].field == "$"


@needs_sharing
def test_what_is_not_large_stays_in_the_message() -> None:
    with shared.lending(1 << 30) as lent:
        small = pack_result({"a": LARGE[:-1], "b": np.zeros(9)})
        assert pack_result(LARGE[:-1]) == full_pack_result(LARGE[:-1])
    assert lent.size == 0
    assert len(small) > shared.THRESHOLD


@needs_sharing
def test_memory_that_cannot_be_had_is_no_fault_of_the_message() -> None:
    for value in (LARGE, ARRAY):
        with shared.lending(1 << 30) as lent:
            type_url, handle = full_to_any(value)
        with shared.Memory(lent.write(), lent.size) as memory, shared.borrowing(memory):
            folder = os.open("/", os.O_RDONLY)
            os.dup2(folder, memory._fd)  # which the system neither maps nor reads
            os.close(folder)
            with pytest.raises(BridgeError) as caught:
                from_any(type_url, handle)
        assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "VALUE_REFUSED")
