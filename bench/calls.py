"""The calls of the bench: what is sent, and what a good reply holds.

A recorded reply proves nothing, so every call is made by a real client first, which decodes the answer by itself
(not with the codec under test) and compares it.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import Int64Value, StringValue

from bridge.v1 import bridge_pb2, bridge_pb2_grpc, host_pb2, host_pb2_grpc, values_pb2

__all__ = [
    "Call",
    "HttpCall",
    "SetCall",
    "StreamCall",
    "UnaryCall",
    "WrongReplyError",
    "channel",
    "decode",
    "frame",
    "request",
]

TIMEOUT = 60.0
GRPC_HEADERS = (("content-type", "application/grpc"), ("te", "trailers"))
JSON_HEADERS = (("content-type", "application/json"),)
_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class WrongReplyError(Exception):
    """A server answered something else than it should have; its figures would mean nothing."""


class Call(Protocol):
    """One call to measure."""

    @property
    def units(self) -> int:
        """What one call counts for: 1, or the messages of a stream."""

    @property
    def path(self) -> str:
        """Path of the URL."""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Headers beside those of every HTTP request."""

    @property
    def http1(self) -> bool:
        """Sent by HTTP/1.1 rather than HTTP/2."""

    def body(self) -> bytes:
        """Body of the HTTP request."""

    def check(self, address: str) -> int:
        """Makes the call with a real client. Returns the bytes of the response's body; raises ``WrongReplyError``."""

    def replies(self, count: int, checked: int) -> int:
        """Bytes of the bodies of the next ``count`` good replies, if the one that was checked last had ``checked``."""


def frame(message: bytes) -> bytes:
    """A message as gRPC puts it into an HTTP/2 body: uncompressed, length, message."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def request(
    tool: str, arguments: Mapping[str, str | int], *, data: bytes | None = None, session_id: str = ""
) -> bridge_pb2.ExecuteToolRequest:
    """A request with its arguments in the wrappers any client would use."""
    message = bridge_pb2.ExecuteToolRequest(tool_name=tool, session_id=session_id)
    for name, value in arguments.items():
        packed = StringValue(value=value) if isinstance(value, str) else Int64Value(value=value)
        message.parameters[name].Pack(packed)
    if data is not None:
        message.binary_parameters["data"] = data
    return message


def decode(value: AnyMessage) -> object:
    """The value of a reply, for the few types the bench's replies have."""
    if value.type_url.endswith("/bridge.v1.Json"):
        document: object = json.loads(values_pb2.Json.FromString(value.value).document)
        return document
    for wrapper in (StringValue, Int64Value):
        if value.type_url.endswith(f"/{wrapper.DESCRIPTOR.full_name}"):
            unpacked: object = wrapper.FromString(value.value).value
            return unpacked
    raise WrongReplyError(f"a reply of type {value.type_url!r}")


def channel(address: str) -> grpc.Channel:
    """A connection of the checking client."""
    return grpc.insecure_channel(address, options=_OPTIONS)


def _stub(connection: grpc.Channel) -> Any:
    return bridge_pb2_grpc.BridgeServiceStub(connection)  # type: ignore[no-untyped-call]


def _compare(what: str, got: object, expected: object) -> None:
    if got != expected:
        raise WrongReplyError(f"{what}: expected {expected!r:.200}, got {got!r:.200}")


class _Steady:
    """A call that is answered by the same bytes every time."""

    __slots__ = ()

    def replies(self, count: int, checked: int) -> int:
        return count * checked


@dataclass(frozen=True, slots=True)
class UnaryCall(_Steady):
    """``ExecuteTool``."""

    message: bridge_pb2.ExecuteToolRequest
    expected: object
    units: int = 1
    path: str = "/bridge.v1.BridgeService/ExecuteTool"
    headers: tuple[tuple[str, str], ...] = GRPC_HEADERS
    http1: bool = False

    def body(self) -> bytes:
        return frame(self.message.SerializeToString())

    def check(self, address: str) -> int:
        with channel(address) as connection:
            reply = _stub(connection).ExecuteTool(self.message, timeout=TIMEOUT)
        got = reply.binary_result if reply.HasField("binary_result") else decode(reply.result)
        _compare(f"{self.message.tool_name} at {address}", got, self.expected)
        return 5 + int(reply.ByteSize())


@dataclass(frozen=True, slots=True)
class StreamCall(_Steady):
    """``ExecuteStreamingTool`` of zeros: ``units`` chunks of ``size`` bytes."""

    message: bridge_pb2.ExecuteToolRequest
    units: int
    size: int
    path: str = "/bridge.v1.BridgeService/ExecuteStreamingTool"
    headers: tuple[tuple[str, str], ...] = GRPC_HEADERS
    http1: bool = False

    def body(self) -> bytes:
        return frame(self.message.SerializeToString())

    def check(self, address: str) -> int:
        total, values = 0, []
        with channel(address) as connection:
            chunks: list[Any] = list(_stub(connection).ExecuteStreamingTool(self.message, timeout=TIMEOUT))
        for chunk in chunks:
            total += 5 + chunk.ByteSize()
            if chunk.HasField("data"):
                values.append(chunk.data)
        what = f"{self.message.tool_name} at {address}"
        _compare(f"{what}, final chunks", [chunk.is_final for chunk in chunks].count(True), 1)
        _compare(f"{what}, order", [chunk.sequence for chunk in chunks], list(range(len(chunks))))
        _compare(what, values, [bytes(self.size)] * self.units)
        return total


@dataclass(slots=True)
class SetCall:
    """``SetVariable``. Each reply has the next version, so the bytes of many tell that each of them was committed."""

    message: host_pb2.SetVariableRequest
    version: int = 0
    """The last one that was given out."""
    units: int = 1
    path: str = "/bridge.v1.HostService/SetVariable"
    headers: tuple[tuple[str, str], ...] = GRPC_HEADERS
    http1: bool = False

    def body(self) -> bytes:
        return frame(self.message.SerializeToString())

    def check(self, address: str) -> int:
        with channel(address) as connection:
            stub: Any = host_pb2_grpc.HostServiceStub(connection)  # type: ignore[no-untyped-call]
            reply = stub.SetVariable(self.message, timeout=TIMEOUT)
        if reply.version <= self.version:
            raise WrongReplyError(f"SetVariable at {address}: version {reply.version} after {self.version}")
        self.version = reply.version
        return 5 + int(reply.ByteSize())

    def replies(self, count: int, checked: int) -> int:
        first, self.version = self.version + 1, self.version + count
        # Five bytes before each message, one for the field's key, and seven bits of the version in each byte.
        return 6 * count + sum(-(-version.bit_length() // 7) for version in range(first, self.version + 1))


@dataclass(frozen=True, slots=True)
class HttpCall(_Steady):
    """A POST of JSON; the reply is JSON, or a line of JSON per message."""

    path: str
    arguments: Mapping[str, object]
    expected: object
    units: int = 1
    lines: bool = False
    headers: tuple[tuple[str, str], ...] = JSON_HEADERS
    http1: bool = True

    def body(self) -> bytes:
        return json.dumps(self.arguments).encode()

    def check(self, address: str) -> int:
        host, _, port = address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT)
        try:
            connection.request("POST", self.path, self.body(), dict(self.headers))
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        _compare(f"{self.path} at {address}, status", response.status, 200)
        got = [json.loads(line) for line in body.splitlines()] if self.lines else json.loads(body)
        _compare(f"{self.path} at {address}", got, self.expected)
        return len(body)
