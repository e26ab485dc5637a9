"""The messages of ExecuteTool to and from Python values, for both ends: clients, servers, and servers as clients of a
host.

Responses are written by hand where a message object would cost more than all else (see ``bridge.codec.wire``); that
they are what protobuf would write is tested.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, MutableMapping
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from bridge.call import NO_VALUE, Chunk, Progress
from bridge.codec import decode, decode_fields, encode, to_any
from bridge.codec.base import Refusal
from bridge.codec.buffers import is_lent, view
from bridge.codec.wire import FIELD_2, SHORT, any_bytes, varint
from bridge.errors import BridgeError, Code, invalid_argument
from bridge.requests import parse_request
from bridge.runtime.shared import BYTES_URL as SHARED_BYTES_URL
from bridge.runtime.shared import borrowed
from bridge.v1 import bridge_pb2

__all__ = [
    "add_metadata",
    "bad_response",
    "message_too_large",
    "pack_call",
    "pack_chunk",
    "pack_result",
    "parse_request",
    "parse_response",
    "read_call",
    "read_chunk",
    "read_result",
    "read_stream",
    "unsupported_result",
]

M = TypeVar("M", bound=Message)

SEQUENCES = 2048
"""Sequence numbers that are kept ready."""

_SEQUENCE = [[b"0" + varint(high << 7 | low) for low in range(SHORT)] for high in range(SEQUENCES // SHORT)]


def pack_result(value: Any) -> bytes:
    """An ``ExecuteToolResponse``. Raises ``BridgeError`` for what cannot be carried."""
    if type(value) is bytes and not is_lent(value):
        return b"2%b%b" % (varint(len(value)), value)  # binary_result = 6
    packed = any_bytes(*to_any(value))
    size = len(packed)
    return (FIELD_2[size] if size < SHORT else b"\x12" + varint(size)) + packed  # result = 2


def pack_chunk(chunk: Chunk, sequence: int, final: bool) -> bytes:
    """A ``ToolChunk``. Raises ``BridgeError`` for what cannot be carried."""
    value = chunk.value
    if type(value) is bytes and not is_lent(value):
        size = len(value)
        if size < SHORT and 0 < sequence < SEQUENCES and not final and chunk.progress is None and not chunk.metadata:
            # Small pieces in large numbers are what streams are made of: tables and no calls.
            return FIELD_2[size] + value + _SEQUENCE[sequence >> 7][sequence & 127]
        message = b"\x12%b%b" % (varint(size), value)  # data = 2
    elif value is NO_VALUE:
        message = b""
    else:
        packed = any_bytes(*to_any(value))
        message = b"*%b%b" % (varint(len(packed)), packed)  # value = 5
    if sequence:
        message += b"0" + varint(sequence)  # sequence = 6
    if final:
        message += b"\x18\x01"  # is_final = 3
    if chunk.metadata:
        noted = bridge_pb2.ToolChunk()
        add_metadata(noted.metadata, chunk.metadata)
        message += noted.SerializeToString()  # metadata = 4
    if (progress := chunk.progress) is not None:
        note = bridge_pb2.Progress(fraction=progress.fraction, message=progress.message).SerializeToString()
        message += b":" + varint(len(note)) + note  # progress = 7
    return message


def add_metadata(field: MutableMapping[str, str], metadata: Mapping[str, str]) -> None:
    """Puts the metadata of a chunk, a mapping that a tool has made, into the field for it.

    Raises ``BridgeError`` INVALID_ARGUMENT, reason ``UNSUPPORTED_VALUE``, if it is not all text.
    """
    try:
        field.update(metadata)
    except (AttributeError, TypeError, ValueError):
        problem = "keys and values must be text, and valid Unicode"
        raise invalid_argument("$.metadata", problem, reason="UNSUPPORTED_VALUE") from None


def pack_call(
    tool: str, arguments: Mapping[str, Any], session_id: str = "", metadata: Mapping[str, str] | None = None
) -> bytes:
    """An ``ExecuteToolRequest``. Raises ``BridgeError`` INVALID_ARGUMENT with the path of what cannot be carried."""
    if not isinstance(tool, str) or not isinstance(session_id, str):
        # None would pass for "not set".
        raise invalid_argument("tool", "the name of a tool and the id of a session must be text")
    try:
        request = bridge_pb2.ExecuteToolRequest(tool_name=tool, session_id=session_id)
    except ValueError:
        raise invalid_argument("tool", "the name of a tool and the id of a session must be valid Unicode") from None
    for name, value in arguments.items():
        try:
            if isinstance(value, (bytes, bytearray, memoryview)) and not is_lent(value):
                request.binary_parameters[name] = bytes(value)
            else:
                encode(value, request.parameters[name], f"$.{name}")
        except (TypeError, ValueError):
            raise invalid_argument("$", f"the argument name {name!r:.100} is not text") from None
    if metadata:
        try:
            request.metadata.update(metadata)
        except (TypeError, ValueError):
            raise invalid_argument("metadata", "keys and values must be text") from None
    return request.SerializeToString()


def unsupported_result(tool: str, error: BridgeError) -> BridgeError:
    """What a tool gave and nothing can carry is the tool's mistake, not the caller's."""
    return BridgeError(
        Code.UNKNOWN,
        f"tool {tool!r} gave a value that cannot be carried: {error.message}",
        reason="UNSUPPORTED_RESULT",
        details=error.details,
    )


def message_too_large(tool: str, size: int, limit: int) -> BridgeError:
    """A tool gave more at once than a message may hold."""
    return BridgeError(
        Code.RESOURCE_EXHAUSTED,
        f"tool {tool!r} gave a message of {size} bytes, and {limit} are allowed (--max-message-bytes): return less, or "
        "stream it in parts",
        reason="MESSAGE_TOO_LARGE",
    )


_parse_call = bridge_pb2.ExecuteToolRequest.FromString


def read_call(
    data: bytes, views: Callable[[str], Collection[str]] | None = None
) -> tuple[bridge_pb2.ExecuteToolRequest, dict[str, Any]]:
    """An ``ExecuteToolRequest`` and the arguments in it. Raises ``BridgeError`` INVALID_ARGUMENT with the path of what
    is wrong.

    Args:
        data: the message.
        views: which arguments of a tool may be ``memoryview`` instead of ``bytes``, if they come in shared memory.
    """
    request = parse_request(_parse_call, data)
    viewed = {} if views is None or borrowed() is None else _views(request, views(request.tool_name))
    arguments = decode_fields(request.parameters)
    arguments.update(viewed)
    if request.binary_parameters:
        for name, raw in request.binary_parameters.items():
            if name in arguments:
                raise invalid_argument(f"$.{name}", "is in parameters and in binary_parameters")
            arguments[name] = raw
    return request, arguments


def _views(request: bridge_pb2.ExecuteToolRequest, names: Collection[str]) -> dict[str, memoryview]:
    """Takes arguments out of a request, uncopied."""
    found: dict[str, memoryview] = {}
    for name in names:
        if name in request.parameters and request.parameters[name].type_url == SHARED_BYTES_URL:
            try:
                found[name] = view(request.parameters[name].value)
            except Refusal as refusal:
                raise refusal.as_error(f"$.{name}") from None
            del request.parameters[name]
    return found


def bad_response(problem: str) -> BridgeError:
    """What came back is not what the protocol promises."""
    message = f"the answer is damaged: {problem}; do both sides speak the same version?"
    return BridgeError(Code.DATA_LOSS, message, reason="BAD_RESPONSE")


def parse_response(kind: type[M], data: bytes) -> M:
    """A response message. Raises ``BridgeError`` DATA_LOSS, reason ``BAD_RESPONSE``."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise bad_response(f"it is no {kind.DESCRIPTOR.full_name}") from None


def _value(packed: Any) -> Any:
    try:
        return decode(packed)
    except BridgeError as error:
        raise bad_response(error.message) from error


def read_result(data: bytes) -> Any:
    """The result in an ``ExecuteToolResponse``; ``None`` if it has none."""
    response = parse_response(bridge_pb2.ExecuteToolResponse, data)
    if response.HasField("result"):
        return _value(response.result)
    return response.binary_result if response.HasField("binary_result") else None


async def read_stream(messages: AsyncGenerator[bytes, None]) -> AsyncGenerator[Chunk, None]:
    """What the ``ToolChunk`` messages of a stream hold; checks that none is missing and that there is one end.

    Closing it closes ``messages``. Raises ``BridgeError`` DATA_LOSS, reason ``BAD_RESPONSE``.
    """
    expected, final = 0, False
    try:
        async for data in messages:
            message = parse_response(bridge_pb2.ToolChunk, data)
            if final:
                raise bad_response("a chunk follows the final one")
            if message.sequence != expected:
                raise bad_response(f"chunk {expected} is missing, chunk {message.sequence} came instead")
            expected += 1
            final = message.is_final
            chunk = _chunk(message)
            if chunk.value is not NO_VALUE or chunk.progress is not None:
                yield chunk
        if not final:
            raise bad_response(f"the stream ended after {expected} chunks without a final one")
    finally:
        await messages.aclose()


def read_chunk(data: bytes) -> Chunk:
    """What a ``ToolChunk`` holds, whatever its number."""
    return _chunk(parse_response(bridge_pb2.ToolChunk, data))


def _chunk(message: bridge_pb2.ToolChunk) -> Chunk:
    value = NO_VALUE
    if message.HasField("value"):
        value = _value(message.value)
    elif message.HasField("data"):
        value = message.data
    return Chunk(value, _progress(message), dict(message.metadata) if message.metadata else None)


def _progress(message: bridge_pb2.ToolChunk) -> Progress | None:
    if not message.HasField("progress"):
        return None
    progress = message.progress
    return Progress(progress.fraction if progress.HasField("fraction") else None, progress.message)
