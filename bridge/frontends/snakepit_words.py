"""Errors of a host in the words that Snakepit's programs look for: they read messages, not reasons."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from google.protobuf.message import Message

from bridge.engines.base import Method, ServerCall
from bridge.errors import BridgeError, Code
from bridge.frontends.answering import answering
from bridge.snakepit import SERVICE

__all__ = ["in_their_words", "their_method", "tool_failure", "variable_not_found"]

R = TypeVar("R", bound=Message)

_MAX_SHOWN = 260
"""Characters of an identifier in a message: all of one that could be meant."""


def their_method(
    name: str,
    kind: type[R],
    handle: Callable[[ServerCall, R], Awaitable[Message]],
    max_message_bytes: int,
) -> Method:
    """A method of ``snakepit.bridge.BridgeService``."""

    async def handle_in_their_words(call: ServerCall, request: R) -> Message:
        try:
            return await handle(call, request)
        except BridgeError as error:
            raise in_their_words(error, request) from error

    return answering(SERVICE + name, kind.FromString, handle_in_their_words, max_message_bytes)


def in_their_words(error: BridgeError, request: Any) -> BridgeError:
    """The error about a request, with the message that a stock host has for it."""
    if error.reason in ("SESSION_NOT_FOUND", "NO_SESSION"):
        message = f"Session not found: {_shown(request.session_id)}"
        return BridgeError(Code.NOT_FOUND, message, reason="SESSION_NOT_FOUND", details=error.details)
    if error.reason == "VARIABLE_NOT_FOUND" and (identifier := getattr(request, "variable_identifier", "")):
        return variable_not_found(identifier)
    return error


def tool_failure(error: BridgeError, request: Any) -> str:
    """What a caller of a tool is told, which is text for people."""
    if error.reason == "TOOL_NOT_FOUND":
        return f"Tool {_shown(request.tool_name)} not found for session {_shown(request.session_id)}"
    if error.violations:
        wrong = "; ".join(f"{one.field.removeprefix('$.')}: {one.description}" for one in error.violations)
        return f"Invalid parameter {wrong}"
    return in_their_words(error, request).message


def variable_not_found(identifier: str) -> BridgeError:
    """There is no variable of this name or id."""
    return BridgeError(Code.NOT_FOUND, f"Variable not found: {_shown(identifier)}", reason="VARIABLE_NOT_FOUND")


def _shown(text: str) -> str:
    return text if text.isprintable() and len(text) <= _MAX_SHOWN else ascii(text[:_MAX_SHOWN])
