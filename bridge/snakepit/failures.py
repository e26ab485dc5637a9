"""Errors as Snakepit's Elixir side understands them: JSON that becomes an exception struct there.

``{"type", "message", "stacktrace", "traceback", "context"}``, where ``type`` is the name of a Python exception. Elixir
has structs for eleven of them and ``Snakepit.Error.PythonException`` for all others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bridge.errors import BridgeError, Code
from bridge.status import MAX_MESSAGE_BYTES, wire_message

__all__ = ["error_payload", "goes_as_status", "status_payload"]

_TYPES = {
    Code.CANCELLED: "CancelledError",
    Code.INVALID_ARGUMENT: "ValueError",
    Code.DEADLINE_EXCEEDED: "TimeoutError",
    Code.NOT_FOUND: "KeyError",
    Code.PERMISSION_DENIED: "PermissionError",
    Code.OUT_OF_RANGE: "IndexError",
    Code.UNIMPLEMENTED: "NotImplementedError",
    Code.UNAUTHENTICATED: "PermissionError",
}
"""For errors that are not exceptions of a tool; ``RuntimeError`` for the other codes."""
_TYPES_BY_REASON = {
    "TOOL_NOT_FOUND": "NotImplementedError",
    "MISSING_EXTRA": "ImportError",
    "UNSUPPORTED_RESULT": "TypeError",
    "UNSUPPORTED_VALUE": "TypeError",
}
_OF_CALL = frozenset(
    {
        (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
        (Code.CANCELLED, "CANCELLED"),
        (Code.CANCELLED, "CLIENT_GONE"),
        (Code.UNAVAILABLE, "DRAINING"),
    }
)
"""A tool has reasons of its own, in the same words maybe: the code must fit."""


def goes_as_status(error: BridgeError) -> bool:
    """Whether an error is the gRPC status of the RPC, and not a payload in its answer.

    Those of the call rather than the tool are: it was too late, or cancelled, or refused before it began.
    """
    return error.details.retry_after is not None or (error.code, error.reason) in _OF_CALL


def error_payload(error: BridgeError, context: Mapping[str, str]) -> str:
    """The payload, for ``error_message``.

    Args:
        error: what happened.
        context: what is known of the call (``tool_name``, ``session_id``, ``correlation_id``). ``code``, ``reason``,
            ``violations`` and the metadata of the error (``error_id``, ``signal``) come beside it.
    """
    return _text(_payload(error, context))


def status_payload(error: BridgeError, context: Mapping[str, str]) -> str:
    """The payload for the message of a gRPC status, as streams have it: what does not fit there is left out.

    First the traceback goes, then the context but for the names, then the end of the message; it is always valid JSON.
    """
    payload = _payload(error, context)
    payload.update(type=_clip(payload["type"], 128), message=_clip(payload["message"], MAX_MESSAGE_BYTES))
    text = _text(payload)
    if _too_long(text):
        payload.update(stacktrace=[], traceback="")
        text = _text(payload)
    if _too_long(text):
        kept = {name: value for name, value in payload["context"].items() if name in ("code", "reason", "error_id")}
        payload["context"] = {name: _clip(value, 128) for name, value in {**kept, **context}.items()}
        text = _text(payload)
    while _too_long(text):
        if not payload["message"]:
            payload["context"] = {}
        payload["message"] = _clip(payload["message"], len(payload["message"]) * 3 // 4)
        text = _text(payload)
    return text


def _payload(error: BridgeError, context: Mapping[str, str]) -> dict[str, Any]:
    details = error.details
    debug = details.debug or ""
    known: dict[str, Any] = {**details.metadata, **context, "code": error.code.name, "reason": error.reason}
    if details.violations:
        known["violations"] = [{"field": one.field, "description": one.description} for one in details.violations]
    kind = _type(error)
    return {
        "type": kind,
        "message": error.message.removeprefix(f"{kind}: "),
        "stacktrace": debug.splitlines(keepends=True),
        "traceback": debug,
        "context": known,
    }


def _type(error: BridgeError) -> str:
    """The exception's own class if it was the tool's, else the one that says nearest what the code says."""
    if error.code is Code.UNKNOWN and error.reason.isidentifier() and not error.reason.isupper():
        return error.reason
    return _TYPES_BY_REASON.get(error.reason) or _TYPES.get(error.code, "RuntimeError")


def _text(payload: dict[str, Any]) -> str:
    """JSON; what UTF-8 cannot carry is replaced, or nothing at all would arrive."""
    return json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace").decode()


def _too_long(text: str) -> bool:
    """Whether it would not arrive whole as a status message."""
    return wire_message(BridgeError(Code.INTERNAL, text)) != text


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: max(0, limit - 1)] + "…"[:limit]
