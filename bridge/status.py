"""``BridgeError`` to and from the rich error model of gRPC (google.rpc.Status in ``grpc-status-details-bin``).

Facts: google/rpc/status.proto and google/rpc/error_details.proto in googleapis.
"""

from __future__ import annotations

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from bridge.errors import BridgeError, Code, ErrorDetails, FieldViolation

__all__ = ["DETAILS_KEY", "DOMAIN", "from_status", "read_status", "to_status"]

DETAILS_KEY = "grpc-status-details-bin"
"""Trailer that carries the serialized google.rpc.Status."""
DOMAIN = "tool-bridge"
"""ErrorInfo.domain of every error of ours."""

MAX_MESSAGE_BYTES = 2048
"""Bytes of a status message as it travels, percent-encoded."""
MAX_STATUS_BYTES = 4096
"""Bytes of google.rpc.Status. Clients take 8 KiB of trailers by default (gRPC's soft limit), message included twice."""

_MAX_ITEM_BYTES = 512
_MAX_SPAN = 315_576_000_000
"""Seconds of the longest Duration, 10,000 years."""

# What a Python exception message may hold and a gRPC status message may not.
_UNPRINTABLE = {i: None for i in range(32) if chr(i) not in "\t\n"}


def _clip(text: str, limit: int) -> str:
    """At most ``limit`` bytes of UTF-8, and valid UTF-8 whatever the text was."""
    data = text[:limit].translate(_UNPRINTABLE).encode("utf-8", "replace")
    if len(data) <= limit and len(text) <= limit:
        return data.decode()
    return data[: limit - 3].decode("utf-8", "ignore") + "…"


def wire_message(error: BridgeError) -> str:
    """The status message: clipped, without control characters, always valid UTF-8."""
    text = _clip(error.message, MAX_MESSAGE_BYTES)
    # gRPC percent-encodes what is not printable ASCII: three bytes for each of those (gRPC over HTTP2, Status-Message).
    encoded = sum(1 if " " <= char <= "~" and char != "%" else 3 * len(char.encode()) for char in text)
    return text if encoded <= MAX_MESSAGE_BYTES else _clip(text, MAX_MESSAGE_BYTES // 3)


def to_status(error: BridgeError) -> bytes:
    """Serialized google.rpc.Status of an error, at most ``MAX_STATUS_BYTES``: what does not fit is left out."""
    status = status_pb2.Status(code=int(error.code), message=wire_message(error))
    details = error.details

    def add(message: Message) -> bool:
        if status.ByteSize() + message.ByteSize() > MAX_STATUS_BYTES - 128:
            return False
        status.details.add().Pack(message)
        return True

    if error.reason or details.metadata:
        metadata = {key: _clip(str(value), _MAX_ITEM_BYTES) for key, value in details.metadata.items()}
        info = error_details_pb2.ErrorInfo(reason=_clip(error.reason, 128), domain=DOMAIN, metadata=metadata)
        if not add(info):
            info.ClearField("metadata")
            add(info)
    if details.retry_after is not None and abs(details.retry_after) <= _MAX_SPAN:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(details.retry_after * 1e9))
        add(retry)
    if details.violations:
        add(_bad_request(details.violations, MAX_STATUS_BYTES - 256 - status.ByteSize()))
    if details.debug is not None:
        room = MAX_STATUS_BYTES - 256 - status.ByteSize()
        if room > 0:
            # The end of a traceback tells more than its beginning.
            tail = details.debug.encode("utf-8", "replace")[-room:].decode("utf-8", "ignore")
            add(error_details_pb2.DebugInfo(detail=_clip(tail, room)))
    data: bytes = status.SerializeToString()
    return data


def _bad_request(violations: tuple[FieldViolation, ...], room: int) -> error_details_pb2.BadRequest:
    """As many violations as there is room for."""
    bad = error_details_pb2.BadRequest()
    for violation in violations:
        bad.field_violations.add(field=_clip(violation.field, 256), description=_clip(violation.description, 512))
        if bad.ByteSize() > room:
            del bad.field_violations[-1]
            break
    return bad


def from_status(code: int, message: str, status: bytes | None) -> BridgeError:
    """The error behind a gRPC status.

    Args:
        code: gRPC status code; anything unknown becomes ``UNKNOWN``.
        message: gRPC status message.
        status: content of the ``grpc-status-details-bin`` trailer, if there was one. What is unreadable or of another
            kind is left out, never an error of its own.
    """
    try:
        known = Code(code)
    except ValueError:
        known = Code.UNKNOWN
    if not status:
        return BridgeError(known, message)
    try:
        parsed = status_pb2.Status.FromString(status)
    except DecodeError:
        return BridgeError(known, message)
    reason, details = _read_details(parsed.details)
    return BridgeError(known, message, reason=reason, details=details)


def read_status(data: bytes) -> BridgeError:
    """The error in a serialized google.rpc.Status, where it travels without a gRPC status beside it."""
    try:
        status = status_pb2.Status.FromString(data)
    except DecodeError:
        return BridgeError(Code.UNKNOWN, "the other side failed and said nothing readable about it")
    return from_status(status.code, status.message, data)


def _read_details(packed: list[Any]) -> tuple[str, ErrorDetails]:
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry, debug = error_details_pb2.RetryInfo(), error_details_pb2.DebugInfo()
    violations: tuple[FieldViolation, ...] = ()
    retry_after: float | None = None
    for detail in packed:
        try:
            if detail.Unpack(bad):
                violations = tuple(FieldViolation(v.field, v.description) for v in bad.field_violations)
            elif detail.Unpack(retry):
                retry_after = retry.retry_delay.ToNanoseconds() / 1e9
            else:
                detail.Unpack(info) or detail.Unpack(debug)
        except DecodeError:
            continue
    return info.reason, ErrorDetails(violations, retry_after, dict(info.metadata), debug.detail or None)
