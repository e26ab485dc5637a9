"""Calls of the host's tools: the requests of a plugin, and what answers them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import tables
from .calls import NO_VALUE, Chunk, Progress
from .codec.buffers import is_lent
from .errors import BridgeError, Code, invalid_argument
from .protobuf import Message, decode, encode
from .values import from_any, to_any

__all__ = [
    "StreamReader",
    "bad_response",
    "check_texts",
    "pack_request",
    "parse_response",
    "read_chunk",
    "read_result",
]


def pack_request(
    tool: str, arguments: Mapping[str, Any], session_id: str = "", metadata: Mapping[str, str] | None = None
) -> bytes:
    """An ``ExecuteToolRequest``. Raises ``BridgeError`` INVALID_ARGUMENT with the path of what cannot be carried."""
    if not isinstance(tool, str) or not isinstance(session_id, str):
        # None would pass for "not set".
        raise invalid_argument("tool", "the name of a tool and the id of a session must be text")
    parameters: dict[str, dict[str, Any]] = {}
    binary: dict[str, bytes] = {}
    for name, value in arguments.items():
        if not isinstance(name, str):
            raise invalid_argument("$", f"the argument name {name!r:.100} is not text")
        if isinstance(value, (bytes, bytearray, memoryview)) and not is_lent(value):
            binary[name] = bytes(value)
        else:
            url, data = to_any(value, f"$.{name}")
            parameters[name] = {"type_url": url, "value": data}
    fields = {
        "session_id": session_id,
        "tool_name": tool,
        "parameters": parameters,
        "metadata": check_texts(metadata),
        "binary_parameters": binary,
    }
    try:
        return encode(tables.EXECUTE_TOOL_REQUEST, fields)
    except ValueError:
        description = "names of tools and arguments and the id of a session must be valid Unicode"
        raise invalid_argument("tool", description) from None


def check_texts(metadata: Mapping[str, str] | None) -> Mapping[str, str]:
    """Metadata, if it is text. Raises ``BridgeError`` INVALID_ARGUMENT for what is not."""
    try:
        for key, value in (metadata or {}).items():
            (str.encode(key), str.encode(value))
    except (TypeError, ValueError):
        raise invalid_argument("metadata", "keys and values must be text") from None
    return metadata or {}


def bad_response(problem: str) -> BridgeError:
    """What came back is not what the protocol promises."""
    message = f"the answer is damaged: {problem}; do both sides speak the same version?"
    return BridgeError(Code.DATA_LOSS, message, reason="BAD_RESPONSE")


def parse_response(message: Message, data: bytes) -> dict[str, Any]:
    """A response message. Raises ``BridgeError`` DATA_LOSS, reason ``BAD_RESPONSE``."""
    try:
        return decode(message, data)
    except ValueError:
        raise bad_response(f"it is no {message.name}") from None


def _value(packed: Mapping[str, Any]) -> Any:
    try:
        return from_any(packed["type_url"], packed["value"])
    except BridgeError as error:
        raise bad_response(error.message) from error


def read_result(data: bytes) -> Any:
    """The result in an ``ExecuteToolResponse``; ``None`` if it has none."""
    response = parse_response(tables.EXECUTE_TOOL_RESPONSE, data)
    return response["binary_result"] if response["result"] is None else _value(response["result"])


def read_chunk(data: bytes) -> Chunk:
    """What a ``ToolChunk`` holds, whatever its number."""
    return _chunk(parse_response(tables.TOOL_CHUNK, data))


def _chunk(message: Mapping[str, Any]) -> Chunk:
    value = NO_VALUE
    if message["value"] is not None:
        value = _value(message["value"])
    elif message["data"] is not None:
        value = message["data"]
    note = message["progress"]
    return Chunk(value, None if note is None else Progress(note["fraction"], note["message"]))


class StreamReader:
    """What the ``ToolChunk`` messages of a stream hold; checks that none is missing and that there is one end.

    Everything raises ``BridgeError`` DATA_LOSS, reason ``BAD_RESPONSE``.
    """

    __slots__ = ("_expected", "_final")

    def __init__(self) -> None:
        self._expected = 0
        self._final = False

    def feed(self, data: bytes) -> Chunk | None:
        """The next message; ``None`` if it has neither a value nor a note."""
        message = parse_response(tables.TOOL_CHUNK, data)
        if self._final:
            raise bad_response("a chunk follows the final one")
        if message["sequence"] != self._expected:
            raise bad_response(f"chunk {self._expected} is missing, chunk {message['sequence']} came instead")
        self._expected += 1
        self._final = message["is_final"]
        chunk = _chunk(message)
        return None if chunk.value is NO_VALUE and chunk.progress is None else chunk

    def end(self) -> None:
        """No message follows."""
        if not self._final:
            raise bad_response(f"the stream ended after {self._expected} chunks without a final one")
