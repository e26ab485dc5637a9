"""Requests as bytes, read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError

from bridge.errors import BridgeError, Code

__all__ = ["parse_request"]

R = TypeVar("R")


def parse_request(from_string: Callable[[bytes], R], data: bytes) -> R:
    """A request message. Raises ``BridgeError`` INVALID_ARGUMENT if the bytes are none."""
    try:
        return from_string(data)
    except DecodeError:
        raise BridgeError(
            Code.INVALID_ARGUMENT,
            "the request is not a valid protobuf message of this method: regenerate the client's stubs from proto/",
            reason="MALFORMED_REQUEST",
        ) from None
