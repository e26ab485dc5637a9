"""What is written by hand is what protobuf would write."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.call import NO_VALUE, Chunk, Progress
from bridge.codec import decode
from bridge.errors import BridgeError, Code
from bridge.tool_messages import SEQUENCES, pack_chunk, pack_result, read_result, read_stream
from bridge.v1.bridge_pb2 import ExecuteToolResponse, ToolChunk

VALUES = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text() | st.binary()
    | st.dictionaries(st.text(), st.integers() | st.binary(), max_size=3)
)  # fmt: skip
SEQUENCE = st.integers(0, 300) | st.sampled_from([SEQUENCES - 1, SEQUENCES, 16383, 16384, 2**31, 2**62])


@given(VALUES)
def test_a_result_is_the_message_protobuf_makes(value: Any) -> None:
    data = pack_result(value)
    response = ExecuteToolResponse.FromString(data)
    assert response.SerializeToString() == data
    back = response.binary_result if response.HasField("binary_result") else decode(response.result)
    assert back == read_result(data) == value


@given(
    VALUES | st.just(NO_VALUE),
    st.none() | st.builds(Progress, st.none() | st.floats(0, 1), st.text()),
    SEQUENCE,
    st.booleans(),
)
def test_a_chunk_is_the_message_protobuf_makes(
    value: Any, progress: Progress | None, sequence: int, final: bool
) -> None:
    message = ToolChunk.FromString(pack_chunk(Chunk(value, progress), sequence, final))
    assert (message.sequence, message.is_final) == (sequence, final)
    assert message.HasField("progress") == (progress is not None)
    if progress is not None:
        assert message.progress.message == progress.message
        assert message.progress.HasField("fraction") == (progress.fraction is not None)
    if value is NO_VALUE:
        assert not message.HasField("value")
        assert not message.HasField("data")
    elif isinstance(value, bytes):
        assert message.data == value
        assert message.HasField("data")
    else:
        assert decode(message.value) == value


@pytest.mark.parametrize(
    ("chunks", "says"),
    [
        ([(0, False), (2, True)], "chunk 1 is missing"),
        ([(0, False), (0, True)], "chunk 1 is missing"),
        ([(0, False)], "without a final one"),
        ([(0, True), (1, True)], "follows the final"),
        ([], "without a final one"),
    ],
)
async def test_a_stream_with_a_gap_or_without_an_end_is_damaged(chunks: list[tuple[int, bool]], says: str) -> None:
    async def messages() -> Any:
        for sequence, final in chunks:
            yield pack_chunk(Chunk(1), sequence, final)

    with pytest.raises(BridgeError, match=says) as caught:
        async for _ in read_stream(messages()):
            pass
    assert caught.value.code is Code.DATA_LOSS
