"""What requests of ``bridge.v1.HostService`` ask for, for whoever answers them."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.duration_pb2 import Duration

from bridge import codec
from bridge.codec.wire import varint
from bridge.errors import BridgeError, invalid_argument
from bridge.hosts.messages import fill_failure, read_constraints, read_duration
from bridge.v1 import host_pb2
from bridge.variables import Declaration, Write, WriteResult, check_name

__all__ = [
    "fill_results",
    "pack_version",
    "read_declaration",
    "read_expected",
    "read_ttl",
    "read_write",
    "read_writes",
]


def read_ttl(
    request: host_pb2.OpenSessionRequest
    | host_pb2.RegisterVariableRequest
    | host_pb2.SetVariableRequest
    | host_pb2.SetVariablesRequest,
    ttl: Duration,
) -> float | None:
    """The time to live in a request, in seconds, if it has one.

    Args:
        request: says whether.
        ttl: its field ``ttl``.
    """
    return read_duration(ttl) if request.HasField("ttl") else None


def read_expected(
    request: host_pb2.SetVariableRequest | host_pb2.DeleteVariableRequest | host_pb2.RollbackVariableRequest,
) -> int | None:
    """The version that must be there, if the request names one."""
    return request.expected_version if request.HasField("expected_version") else None


def read_declaration(request: host_pb2.RegisterVariableRequest) -> Declaration:
    """The variable to register. Raises ``BridgeError`` INVALID_ARGUMENT."""
    check_name(request.name)
    return Declaration(
        name=request.name,
        type=request.type,
        value=codec.decode(request.value, request.name),
        constraints=read_constraints(request.constraints),
        metadata=request.metadata,
        ttl=read_ttl(request, request.ttl),
    )


def read_write(request: host_pb2.SetVariableRequest) -> Write:
    """The one write. Raises ``BridgeError`` INVALID_ARGUMENT."""
    name = request.name
    try:
        value = codec.decode(request.value, name)
    except BridgeError:
        check_name(name)  # the host does for a value that can be read; what has no name must not stand in an error
        raise
    return Write(
        name=name,
        value=value,
        expected_version=read_expected(request),
        metadata=request.metadata,
        ttl=read_ttl(request, request.ttl),
    )


def read_writes(request: host_pb2.SetVariablesRequest) -> tuple[list[Write], dict[str, BridgeError]]:
    """The writes of a batch, in the order of their names; without ``atomic`` also those that cannot be read.

    Raises ``BridgeError`` INVALID_ARGUMENT for what concerns the whole batch.
    """
    for name in request.expected_versions:
        if name not in request.updates:
            raise invalid_argument("expected_versions", "has a name that updates has not")
    writes: list[Write] = []
    refused: dict[str, BridgeError] = {}
    expected, metadata, ttl = request.expected_versions, dict(request.metadata), read_ttl(request, request.ttl)
    for name in sorted(request.updates):
        try:
            check_name(name)
            value = codec.decode(request.updates[name], name)
        except BridgeError as error:
            if request.atomic:
                raise
            refused[name] = error
            continue
        version = expected.get(name)
        writes.append(Write(name=name, value=value, expected_version=version, metadata=metadata, ttl=ttl))
    return writes, refused


def pack_version(result: WriteResult) -> bytes:
    """A ``SetVariableResponse``, of the result of an atomic write."""
    if isinstance(result, BridgeError):
        raise result
    return b"\x18" + varint(result)  # version = 3


def fill_results(message: host_pb2.SetVariablesResponse, results: Mapping[str, WriteResult]) -> None:
    """Says what became of each write."""
    for name, result in results.items():
        if isinstance(result, BridgeError):
            fill_failure(message.failures[name], result)
        else:
            message.versions[name] = result
