"""The messages of a servicer's method, read and written so that a bad one is a clear failure."""

from __future__ import annotations

from typing import Any

import grpc

from bridge.errors import BridgeError, Code

__all__ = ["Messages", "is_failing"]


class Messages:
    """How the messages of one method become bytes.

    Args:
        path: of the method.
        handler: the ``grpc.RpcMethodHandler`` as it was registered. Without a serializer, messages are bytes.
    """

    __slots__ = ("_deserialize", "_name", "_serialize")

    def __init__(self, path: str, handler: Any) -> None:
        self._name = path[1:]
        self._deserialize = handler.request_deserializer
        self._serialize = handler.response_serializer or _bytes

    def read(self, data: bytes) -> Any:
        """A request. Raises ``BridgeError`` INVALID_ARGUMENT."""
        if self._deserialize is None:
            return data
        try:
            return self._deserialize(data)
        except Exception as error:
            raise BridgeError(
                Code.INVALID_ARGUMENT,
                f"the request is not a valid message of {self._name}: do both sides have the same .proto?",
                reason="MALFORMED_REQUEST",
            ) from error

    def write(self, message: Any) -> bytes:
        """A response. Raises ``TypeError`` for what is not the message that was promised: the servicer's fault."""
        try:
            data: bytes = self._serialize(message)
        except Exception as error:
            raise TypeError(
                f"{self._name} answered with {type(message).__name__}, which is not its response message"
            ) from error
        return data


def _bytes(message: Any) -> bytes:
    if not isinstance(message, bytes):
        raise TypeError("without a serializer, a message must be bytes")
    return message


def is_failing(context: Any) -> bool:
    """Whether a servicer has set a code other than OK; its response is not sent then, and may be anything."""
    code = context.code()
    return code is not None and code is not grpc.StatusCode.OK and code != 0
