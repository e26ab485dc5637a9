"""``BridgeError`` to and from the rich error model of gRPC (google.rpc.Status in ``grpc-status-details-bin``).

Facts: google/rpc/status.proto and google/rpc/error_details.proto in googleapis.
"""

from __future__ import annotations

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from bridge.errors import BridgeError, Code, ErrorDetails, FieldViolation

__all__ = ["DETAILS_KEY", "DOMAIN", "from_status", "to_status"]

DETAILS_KEY = "grpc-status-details-bin"
"""Trailer that carries the serialized google.rpc.Status."""
DOMAIN = "tool-bridge"
"""ErrorInfo.domain of every error of ours."""

MAX_TEXT = 4096
"""Characters of a message or traceback that go on the wire: trailers share the metadata limit (16 KiB by default)."""

# What a Python exception message may hold and a gRPC status message may not.
_UNPRINTABLE = {i: None for i in range(32) if chr(i) not in "\t\n"}


def _clip(text: str, limit: int = MAX_TEXT) -> str:
    text = text.translate(_UNPRINTABLE).encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def wire_message(error: BridgeError) -> str:
    """The status message: clipped, without control characters, always valid UTF-8."""
    return _clip(error.message)


def to_status(error: BridgeError) -> bytes:
    """Serialized google.rpc.Status of an error."""
    status = status_pb2.Status(code=int(error.code), message=wire_message(error))
    details = error.details

    def add(message: Message) -> None:
        status.details.add().Pack(message)

    if error.reason or details.metadata:
        metadata = {key: _clip(str(value), 512) for key, value in details.metadata.items()}
        add(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    if details.violations:
        bad = error_details_pb2.BadRequest()
        for violation in details.violations[:32]:
            bad.field_violations.add(field=_clip(violation.field, 256), description=_clip(violation.description, 512))
        add(bad)
    if details.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(details.retry_after * 1e9))
        add(retry)
    if details.debug is not None:
        add(error_details_pb2.DebugInfo(detail=_clip(details.debug[-MAX_TEXT:])))
    data: bytes = status.SerializeToString()
    return data


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
