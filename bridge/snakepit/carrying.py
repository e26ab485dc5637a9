"""What a tool has given, made ready for Snakepit's wire where the tool runs: only there it is all that it was."""

from __future__ import annotations

from typing import Any

from bridge.snakepit.graceful import ResultRules, document_of, plain

__all__ = ["carried", "write_chunk"]


def carried(value: Any, rules: str, *, streaming: bool) -> Any:
    """A value as the frontend is to get it; once more changes nothing.

    Args:
        value: a result, or a chunk.
        rules: ``ToolCall.plain``; empty for callers by other wires, who get what JSON can carry, too.
        streaming: whether it becomes a chunk.

    Raises as ``plain``.
    """
    if not rules:
        return plain(value)
    return write_chunk(value) if streaming else plain(value, ResultRules(rules))


def write_chunk(value: Any) -> bytes:
    """The data of a chunk: bytes and text as they are, nothing for None, all else as JSON. Raises as ``plain``."""
    if value is None:
        return b""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, str):
        text: str = plain(value)
        return text.encode()
    return document_of(value)
