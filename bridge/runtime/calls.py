"""The messages of ExecuteTool to and from Python values; the twin of ``bridge.tool_messages`` for plugins.

What every call needs is written and read by hand: in pure Python a walk by tables would cost more than all else. That
both say the same is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from . import tables
from .codec.base import Refusal
from .codec.buffers import is_lent, view
from .codec.registry import READERS
from .codec.wire import any_bytes
from .errors import BridgeError, Code, invalid_argument
from .protobuf import decode, encode, read_varint, varint
from .shared import BYTES_URL as SHARED_BYTES_URL
from .shared import borrowed
from .values import from_any, to_any

__all__ = [
    "NO_VALUE",
    "Chunk",
    "ParameterSpec",
    "Progress",
    "Request",
    "ToolSpec",
    "duration_fields",
    "pack_chunk",
    "pack_result",
    "pack_tools",
    "read_request",
    "unsupported_result",
]


class _NoValue:
    """Stands where a chunk or a stream has no value; ``None`` is a value."""

    def __repr__(self) -> str:
        return "NO_VALUE"

    def __bool__(self) -> bool:
        return False


NO_VALUE: Any = _NoValue()


class Request(NamedTuple):
    """A call, as it arrives."""

    tool: str
    session_id: str
    arguments: dict[str, Any]
    metadata: dict[str, str]


class Progress(NamedTuple):
    """How far a tool is."""

    fraction: float | None = None
    """Done part of the work from 0 to 1, if the tool can tell."""
    message: str = ""
    """What it is doing, for people."""


class Chunk(NamedTuple):
    """What a tool gives before it ends: a value it yields, or a note of progress."""

    value: Any = NO_VALUE
    progress: Progress | None = None


class ParameterSpec(NamedTuple):
    """A parameter of a tool; the fields of ``bridge.v1.ParameterSpec``."""

    name: str
    type: str = ""
    description: str = ""
    required: bool = False
    default: Any = NO_VALUE
    """What it is when left out; one that cannot be carried is not listed."""
    schema: str = ""


class ToolSpec(NamedTuple):
    """What a client must know to call a tool; the fields of ``bridge.v1.ToolSpec``."""

    name: str
    description: str = ""
    parameters: Sequence[ParameterSpec] = ()
    metadata: Mapping[str, str] = {}
    supports_streaming: bool = False
    input_schema: str = ""
    output_schema: str = ""
    idempotent: bool = False
    read_only: bool = False
    isolation: str = ""
    timeout: float | None = None
    """Seconds."""
    collects: bool = False


# Results


def pack_result(value: Any) -> bytes:
    """An ``ExecuteToolResponse``. Raises ``BridgeError`` for what cannot be carried."""
    if type(value) is bytes and not is_lent(value):
        return b"2%b%b" % (varint(len(value)), value)  # binary_result = 6
    packed = any_bytes(*to_any(value))
    return b"\x12%b%b" % (varint(len(packed)), packed)  # result = 2


def pack_chunk(value: Any, sequence: int, progress: Progress | None = None, *, final: bool = False) -> bytes:
    """A ``ToolChunk``, of a value or of ``NO_VALUE``. Raises ``BridgeError`` for what cannot be carried."""
    if value is NO_VALUE:
        message = b""
    elif type(value) is bytes and not is_lent(value):
        message = b"\x12%b%b" % (varint(len(value)), value)  # data = 2
    else:
        packed = any_bytes(*to_any(value))
        message = b"*%b%b" % (varint(len(packed)), packed)  # value = 5
    if sequence:
        message += b"0" + varint(sequence)  # sequence = 6
    if final:
        message += b"\x18\x01"  # is_final = 3
    if progress is not None:
        note = encode(tables.PROGRESS, progress._asdict())
        message += b":" + varint(len(note)) + note  # progress = 7
    return message


def unsupported_result(tool: str, error: BridgeError) -> BridgeError:
    """What a tool gave and nothing can carry is the tool's mistake, not the caller's."""
    return BridgeError(
        Code.UNKNOWN,
        f"tool {tool!r} gave a value that cannot be carried: {error.message}",
        reason="UNSUPPORTED_RESULT",
        details=error.details,
    )


def pack_tools(tools: Iterable[ToolSpec]) -> bytes:
    """A ``ListToolsResponse``, sorted by name."""
    listed = [_tool_fields(tool) for tool in sorted(tools, key=lambda tool: tool.name)]
    return encode(tables.LIST_TOOLS_RESPONSE, {"tools": listed})


def _tool_fields(tool: ToolSpec) -> dict[str, Any]:
    fields = tool._asdict()
    fields["parameters"] = [_parameter_fields(parameter) for parameter in tool.parameters]
    fields["timeout"] = None if tool.timeout is None else duration_fields(tool.timeout)
    return fields


def _parameter_fields(parameter: ParameterSpec) -> dict[str, Any]:
    fields = parameter._asdict()
    if parameter.default is not NO_VALUE:
        try:
            url, data = to_any(parameter.default)
        except BridgeError:  # not listed, and used all the same
            return fields
        fields["default_value"] = {"type_url": url, "value": data}
    return fields


def duration_fields(seconds: float) -> dict[str, int]:
    """The fields of a ``Duration``, not below zero."""
    whole, nanos = divmod(round(seconds * 1_000_000_000), 1_000_000_000)
    return {"seconds": whole, "nanos": nanos}


# Requests


def read_request(data: bytes, views: Callable[[str], Collection[str]] | None = None) -> Request:
    """An ``ExecuteToolRequest``. Raises ``BridgeError`` INVALID_ARGUMENT with the path of what is wrong.

    Args:
        data: the message.
        views: which arguments of a tool may be ``memoryview`` instead of ``bytes``, if they come in shared memory.
    """
    if borrowed() is None:
        try:
            return _read_usual(data)
        except (IndexError, ValueError, Refusal, _UnusualError):
            pass  # what is wrong, or only unusual, is found out by the walk
        views = None
    return _read_by_tables(data, views)


class _UnusualError(Exception):
    """A message that protobuf may write and hardly ever does."""


def _read_usual(data: bytes) -> Request:
    tool = session_id = ""
    arguments: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    binary: dict[str, bytes] = {}
    at, end = 0, len(data)
    while at < end:
        tag = data[at]
        size = data[at + 1]
        at += 2
        if size > 127:
            size, at = read_varint(data, at - 1)
        stop = at + size
        if stop > end:
            raise _UnusualError
        if tag == 26:  # parameters = 3
            name, content = _usual_entry(data, at, stop)
            arguments[name] = _usual_value(data, content, stop)
        elif tag == 18:  # tool_name = 2
            tool = data[at:stop].decode()
        elif tag == 10:  # session_id = 1
            session_id = data[at:stop].decode()
        elif tag == 34:  # metadata = 4
            name, content = _usual_entry(data, at, stop)
            metadata[name] = data[content:stop].decode()
        elif tag == 50:  # binary_parameters = 6
            name, content = _usual_entry(data, at, stop)
            binary[name] = data[content:stop]
        else:
            raise _UnusualError
        at = stop
    if binary:
        if not arguments.keys().isdisjoint(binary):
            raise _UnusualError
        arguments.update(binary)
    return Request(tool, session_id, arguments, metadata)


def _usual_entry(data: bytes, at: int, stop: int) -> tuple[str, int]:
    """The key of an entry of a map, and where its value begins, which ends it."""
    middle = at + 2 + data[at + 1]
    content = middle + 2
    size = data[middle + 1]
    if size > 127:
        size, content = read_varint(data, middle + 1)
    # Each size must be a single byte, but for the last one, and they must add up.
    if data[at] != 10 or data[at + 1] > 127 or data[middle] != 18 or content + size != stop:
        raise _UnusualError
    return data[at + 2 : middle].decode(), content


def _usual_value(data: bytes, at: int, stop: int) -> Any:
    """The value in an ``Any``."""
    middle = at + 2 + data[at + 1]
    reader = _BY_URL.get(data[at + 2 : middle])
    if reader is None or data[at] != 10:
        raise _UnusualError
    if middle == stop:
        return reader(b"", 0)
    content = middle + 2
    size = data[middle + 1]
    if size > 127:
        size, content = read_varint(data, middle + 1)
    if data[middle] != 18 or content + size != stop:
        raise _UnusualError
    return reader(data[content:stop], 0)


_BY_URL = {url.encode(): reader for url, reader in READERS.items()}


def _read_by_tables(data: bytes, views: Callable[[str], Collection[str]] | None) -> Request:
    try:
        fields = decode(tables.EXECUTE_TOOL_REQUEST, data)
    except ValueError:
        raise BridgeError(
            Code.INVALID_ARGUMENT,
            "the request is not a valid protobuf message of this method: regenerate the client's stubs from proto/",
            reason="MALFORMED_REQUEST",
        ) from None
    viewed = () if views is None else views(fields["tool_name"])
    arguments: dict[str, Any] = {}
    for name, value in fields["parameters"].items():
        arguments[name] = _argument(name, value["type_url"], value["value"], name in viewed)
    for name, raw in fields["binary_parameters"].items():
        if name in arguments:
            raise invalid_argument(f"$.{name}", "is in parameters and in binary_parameters")
        arguments[name] = raw
    return Request(fields["tool_name"], fields["session_id"], arguments, fields["metadata"])


def _argument(name: str, url: str, data: bytes, viewed: bool) -> Any:
    if not viewed or url != SHARED_BYTES_URL:
        return from_any(url, data, f"$.{name}")
    try:
        return view(data)
    except Refusal as refusal:
        raise refusal.as_error(f"$.{name}") from None
