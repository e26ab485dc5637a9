"""Python values to the bytes of requests, and bytes of responses to Python values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from google.protobuf.message import DecodeError, Message

from bridge.call import NO_VALUE, Progress
from bridge.codec import decode, encode
from bridge.errors import BridgeError, Code, FieldViolation, invalid_argument
from bridge.v1 import bridge_pb2

__all__ = ["bad_response", "chunk_progress", "chunk_value", "encode_call", "merge_arguments", "parse", "result_value"]

M = TypeVar("M", bound=Message)


def merge_arguments(arguments: Mapping[str, Any] | None, keywords: dict[str, Any]) -> Mapping[str, Any]:
    """Arguments given as a mapping, as keywords, or both. A name in both is ``TypeError``, as in a call in Python."""
    if not arguments:
        return keywords
    if keywords:
        twice = keywords.keys() & arguments.keys()
        if twice:
            raise TypeError(f"argument given twice, in the mapping and as a keyword: {', '.join(sorted(twice))}")
        return {**arguments, **keywords}
    return arguments


def encode_call(tool: str, arguments: Mapping[str, Any], session_id: str, metadata: Mapping[str, str] | None) -> bytes:
    """Bytes of an ``ExecuteToolRequest``. Raises INVALID_ARGUMENT with the path of what cannot be carried."""
    if not isinstance(tool, str) or not isinstance(session_id, str):
        # None would pass for "not set".
        raise invalid_argument("tool", "the name of a tool and the id of a session must be text")
    try:
        request = bridge_pb2.ExecuteToolRequest(tool_name=tool, session_id=session_id)
    except ValueError:
        raise invalid_argument("tool", "the name of a tool and the id of a session must be valid Unicode") from None
    for name, value in arguments.items():
        try:
            if isinstance(value, (bytes, bytearray, memoryview)):
                request.binary_parameters[name] = bytes(value)
            else:
                encode(value, request.parameters[name])
        except BridgeError as error:
            raise _inside(error, name) from None
        except (TypeError, ValueError):
            raise invalid_argument("$", f"the argument name {name!r:.100} is not text") from None
    if metadata:
        try:
            request.metadata.update(metadata)
        except (TypeError, ValueError):
            raise invalid_argument("metadata", "keys and values must be text") from None
    return request.SerializeToString()


def _inside(error: BridgeError, name: str) -> BridgeError:
    """The codec's refusal of one argument, with paths that begin at the arguments."""
    violations = tuple(
        FieldViolation(f"$.{name}{violation.field.removeprefix('$')}", violation.description)
        for violation in error.violations
    )
    message = "; ".join(f"{v.field}: {v.description}" for v in violations) or f"$.{name}: {error.message}"
    return BridgeError(
        error.code, message, reason=error.reason, details=msgspec.structs.replace(error.details, violations=violations)
    )


def bad_response(problem: str) -> BridgeError:
    """What came back is not what the protocol promises."""
    return BridgeError(
        Code.DATA_LOSS,
        f"the answer is damaged: {problem}; do client and server speak the same version?",
        reason="BAD_RESPONSE",
    )


def parse(kind: type[M], data: bytes) -> M:
    """A response message."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise bad_response(f"it is no {kind.DESCRIPTOR.full_name}") from None


def _value(packed: Any) -> Any:
    try:
        return decode(packed)
    except BridgeError as error:
        raise bad_response(error.message) from error


def result_value(data: bytes) -> Any:
    """The result in an ``ExecuteToolResponse``; ``None`` if it has none."""
    response = parse(bridge_pb2.ExecuteToolResponse, data)
    if response.HasField("result"):
        return _value(response.result)
    return response.binary_result if response.HasField("binary_result") else None


def chunk_value(chunk: bridge_pb2.ToolChunk) -> Any:
    """The value in a chunk, or ``NO_VALUE``."""
    if chunk.HasField("value"):
        return _value(chunk.value)
    return chunk.data if chunk.HasField("data") else NO_VALUE


def chunk_progress(chunk: bridge_pb2.ToolChunk) -> Progress | None:
    """The note of progress in a chunk, if it has one."""
    if not chunk.HasField("progress"):
        return None
    progress = chunk.progress
    return Progress(progress.fraction if progress.HasField("fraction") else None, progress.message)
