"""What Elixir makes of a worker's answers, by the rules of Snakepit 0.13: what callers of a pool really see."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import grpc
import msgspec

from bridge.snakepit import messages

__all__ = ["Raised", "read_answer", "read_chunk", "read_status"]

STRUCTS = frozenset(
    {
        "ValueError",
        "KeyError",
        "IndexError",
        "TypeError",
        "AttributeError",
        "ImportError",
        "RuntimeError",
        "NotImplementedError",
        "FileNotFoundError",
        "PermissionError",
        "ZeroDivisionError",
    }
)
"""Exceptions that have a struct of their own there."""
STATUSES = {3: "invalid_argument", 4: "timeout", 5: "not_found", 13: "internal", 14: "unavailable"}
"""gRPC statuses that become an atom; the others stay what they are."""


class Raised(msgspec.Struct, frozen=True):
    """An exception struct."""

    struct: str
    """Its name after ``Snakepit.Error.``."""
    message: str
    context: dict[str, Any]
    stacktrace: list[str]
    python_type: str
    python_traceback: str


def read_answer(data: bytes) -> tuple[Any, ...]:
    """What ``ExecuteToolResponse`` is for the caller: ``("ok", value)`` or ``("error", reason)``.

    Text is ``str`` if it was JSON, and ``bytes`` if it was not; ``{:binary, ...}`` is a tuple that begins so.
    """
    response = messages.ExecuteToolResponse.FromString(data)
    if not response.success:
        return "error", _exception(response.error_message)
    about = _decoded(response.result.value) if response.HasField("result") else None
    if not response.binary_result:
        return "ok", about
    if about is None or about == {}:
        return "ok", ("binary", response.binary_result)
    return "ok", ("binary", response.binary_result, about)


def read_chunk(data: bytes) -> dict[str, Any]:
    """What the callback of a stream gets. Neither the number of a chunk nor its end of the stream is looked at."""
    chunk = messages.ToolChunk.FromString(data)
    payload = _payload(chunk.data) | {"is_final": chunk.is_final}
    return payload | ({"_metadata": dict(chunk.metadata)} if chunk.metadata else {})


def read_status(error: grpc.aio.AioRpcError) -> str | tuple[int, str]:
    """What a status is for the caller of a tool that does not stream."""
    number: int = error.code().value[0]
    return STATUSES.get(number) or (number, error.details() or "")


def _payload(data: bytes) -> dict[str, Any]:
    if not data:
        return {}
    try:
        value = _json(data)
    except ValueError:
        return {"raw_data_base64": base64.b64encode(data).decode()}
    return value if isinstance(value, dict) else {"data": value}


def _decoded(data: bytes) -> Any:
    try:
        value = _json(data)
    except ValueError:
        return data
    if isinstance(value, dict) and value.get("__snakepit_zero_copy__"):
        return ("zero_copy", value)
    return value


def _exception(text: str) -> Raised | str:
    """The struct of a payload; any other text stays text."""
    try:
        payload = _json(text.encode())
    except ValueError:
        return text
    if not isinstance(payload, Mapping):
        return text
    kind, message = payload.get("type"), payload.get("message")
    if not isinstance(kind, str) or not isinstance(message, str):
        return text
    return Raised(
        struct=kind if kind in STRUCTS else "PythonException",
        message=message,
        context=payload.get("context") or {},
        stacktrace=payload.get("stacktrace") or [],
        python_type=kind,
        python_traceback=payload.get("traceback") or "".join(payload.get("stacktrace") or []),
    )


def _json(data: bytes) -> Any:
    """As Jason reads: no NaN, no infinities, nothing but UTF-8."""
    return json.loads(data.decode(), parse_constant=_refuse)


def _refuse(token: str) -> Any:
    raise ValueError(f"{token} is no JSON")
