"""``BridgeError`` to and from google.rpc.Status; the twin of ``bridge.status`` for plugins.

Facts: google/rpc/status.proto and google/rpc/error_details.proto in googleapis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import tables
from .errors import BridgeError, Code, ErrorDetails, FieldViolation
from .protobuf import Message, decode, encode

__all__ = ["read_status", "to_status"]

DOMAIN = "tool-bridge"
"""ErrorInfo.domain of every error of ours."""
MAX_MESSAGE_BYTES = 2048
"""Bytes of a status message as it travels, percent-encoded."""
MAX_STATUS_BYTES = 4096
"""Bytes of google.rpc.Status."""

_MAX_ITEM_BYTES = 512
_MAX_SPAN = 315_576_000_000
"""Seconds of the longest Duration, 10,000 years."""
_NANOS = 1_000_000_000
_PREFIX = "type.googleapis.com/"

# What a Python exception message may hold and a gRPC status message may not.
_UNPRINTABLE = {i: None for i in range(32) if chr(i) not in "\t\n"}


def _clip(text: str, limit: int) -> str:
    """At most ``limit`` bytes of UTF-8, and valid UTF-8 whatever the text was."""
    data = text[:limit].translate(_UNPRINTABLE).encode("utf-8", "replace")
    if len(data) <= limit and len(text) <= limit:
        return data.decode()
    return data[: limit - 3].decode("utf-8", "ignore") + "…"


def _wire_message(error: BridgeError) -> str:
    """The status message: clipped, without control characters, always valid UTF-8."""
    text = _clip(error.message, MAX_MESSAGE_BYTES)
    # gRPC percent-encodes what is not printable ASCII: three bytes for each of those (gRPC over HTTP2, Status-Message).
    encoded = sum(1 if " " <= char <= "~" and char != "%" else 3 * len(char.encode()) for char in text)
    return text if encoded <= MAX_MESSAGE_BYTES else _clip(text, MAX_MESSAGE_BYTES // 3)


class _Status:
    """A status that is being made, and how much room is left in it."""

    def __init__(self, error: BridgeError) -> None:
        self._data = encode(tables.STATUS, {"code": int(error.code), "message": _wire_message(error)})

    def add(self, message: Message, fields: dict[str, Any]) -> bool:
        """Adds a detail, if it fits."""
        data = encode(message, fields)
        if len(self._data) + len(data) > MAX_STATUS_BYTES - 128:
            return False
        packed = {"type_url": _PREFIX + message.name, "value": data}
        self._data += encode(tables.STATUS, {"details": [packed]})
        return True

    @property
    def room(self) -> int:
        """Bytes for what can be cut to fit."""
        return MAX_STATUS_BYTES - 256 - len(self._data)

    def __bytes__(self) -> bytes:
        return self._data


def to_status(error: BridgeError) -> bytes:
    """Serialized google.rpc.Status of an error, at most ``MAX_STATUS_BYTES``: what does not fit is left out."""
    status = _Status(error)
    details = error.details
    if error.reason or details.metadata:
        metadata = {
            _clip(str(key), MAX_STATUS_BYTES): _clip(str(value), _MAX_ITEM_BYTES)
            for key, value in details.metadata.items()
        }
        info = {"reason": _clip(error.reason, 128), "domain": DOMAIN, "metadata": metadata}
        if not status.add(tables.ERROR_INFO, info):
            info.pop("metadata")
            status.add(tables.ERROR_INFO, info)
    if details.retry_after is not None and abs(details.retry_after) <= _MAX_SPAN:
        status.add(tables.RETRY_INFO, {"retry_delay": _duration(details.retry_after)})
    if details.violations:
        status.add(tables.BAD_REQUEST, {"field_violations": _violations(details.violations, status.room)})
    if details.debug is not None and status.room > 0:
        # The end of a traceback tells more than its beginning.
        tail = details.debug.encode("utf-8", "replace")[-status.room :].decode("utf-8", "ignore")
        status.add(tables.DEBUG_INFO, {"detail": _clip(tail, status.room)})
    return bytes(status)


def _duration(seconds: float) -> dict[str, int]:
    """The fields of a ``Duration``: both parts have the sign."""
    nanos = int(seconds * 1e9)
    whole = abs(nanos) // _NANOS
    rest = abs(nanos) % _NANOS
    return {"seconds": whole, "nanos": rest} if nanos >= 0 else {"seconds": -whole, "nanos": -rest}


def _violations(violations: Sequence[FieldViolation], room: int) -> list[dict[str, str]]:
    """As many violations as there is room for."""
    fields: list[dict[str, str]] = []
    for violation in violations:
        one = {"field": _clip(violation.field, 256), "description": _clip(violation.description, _MAX_ITEM_BYTES)}
        if len(encode(tables.BAD_REQUEST, {"field_violations": [*fields, one]})) > room:
            break
        fields.append(one)
    return fields


def read_status(data: bytes) -> BridgeError:
    """The error in a serialized google.rpc.Status. What is unreadable or of another kind is left out, never an error
    of its own."""
    try:
        status = decode(tables.STATUS, data)
    except ValueError:
        return BridgeError(Code.UNKNOWN, "the other side failed and said nothing readable about it")
    try:
        code = Code(status["code"])
    except ValueError:
        code = Code.UNKNOWN
    reason, details = _read_details(status["details"])
    return BridgeError(code, status["message"], reason=reason, details=details)


_DETAILS = {
    message.name: message for message in (tables.ERROR_INFO, tables.RETRY_INFO, tables.BAD_REQUEST, tables.DEBUG_INFO)
}


def _read_details(packed: Sequence[dict[str, Any]]) -> tuple[str, ErrorDetails]:
    found: dict[Message, dict[str, Any]] = {}
    for detail in packed:
        _, slash, name = detail["type_url"].rpartition("/")
        message = _DETAILS.get(name) if slash else None
        if message is not None:
            try:
                found[message] = decode(message, detail["value"])
            except ValueError:
                continue
    info = found.get(tables.ERROR_INFO, {"reason": "", "metadata": {}})
    violations = found.get(tables.BAD_REQUEST, {"field_violations": ()})["field_violations"]
    delay = found.get(tables.RETRY_INFO, {"retry_delay": None})
    debug = found.get(tables.DEBUG_INFO, {"detail": ""})["detail"]
    retry_after: float | None = None
    if tables.RETRY_INFO in found:
        span = delay["retry_delay"] or {"seconds": 0, "nanos": 0}
        retry_after = (span["seconds"] * _NANOS + span["nanos"]) / 1e9
    return info["reason"], ErrorDetails(
        tuple(FieldViolation(one["field"], one["description"]) for one in violations),
        retry_after,
        info["metadata"],
        debug or None,
    )
