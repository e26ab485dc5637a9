"""What the services of a host have in common: a message in, a message out, on somebody's behalf."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from bridge.engines.base import Method, ServerCall
from bridge.host import CallScope
from bridge.hosts.limits import limit_exceeded
from bridge.hosts.scopes import changed_by
from bridge.tool_messages import parse_request

__all__ = ["answering", "scope_of"]

R = TypeVar("R", bound=Message)


def answering(
    path: str,
    from_string: Callable[[bytes], R],
    handle: Callable[[ServerCall, R], Awaitable[Message]],
    max_message_bytes: int,
) -> Method:
    """A method that reads requests and writes answers; one that is too long is RESOURCE_EXHAUSTED."""

    async def answer(call: ServerCall, data: bytes) -> bytes:
        response = (await handle(call, parse_request(from_string, data))).SerializeToString()
        if len(response) > max_message_bytes:
            subject = f"an answer of {len(response)} bytes"
            advice = "ask for fewer variables at once, list them by a narrower pattern"
            raise limit_exceeded("max_message_bytes", max_message_bytes, subject, advice)
        return response

    return Method(path, unary=answer)


def scope_of(call: ServerCall, session_id: str) -> CallScope:
    """On whose behalf a host is asked."""
    headers = call.headers
    return CallScope(session_id, None, headers, changed_by(headers), call.principal)
