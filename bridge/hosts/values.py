"""Values of variables to and from ``google.protobuf.Any``, with refusals that say which variable."""

from __future__ import annotations

from typing import Any

import msgspec
from google.protobuf.any_pb2 import Any as AnyMessage

from bridge import codec
from bridge.errors import BridgeError, FieldViolation

__all__ = ["encode_value"]


def encode_value(name: str, value: Any, into: AnyMessage) -> None:
    """Fills a message with a value. Raises INVALID_ARGUMENT with the path of what cannot be carried, beginning with
    the name of the variable."""
    try:
        codec.encode(value, into)
    except BridgeError as error:
        violations = tuple(
            FieldViolation(name + one.field.removeprefix("$"), one.description) for one in error.violations
        )
        message = "; ".join(f"{one.field}: {one.description}" for one in violations) or f"{name}: {error.message}"
        details = msgspec.structs.replace(error.details, violations=violations)
        raise BridgeError(error.code, message, reason=error.reason, details=details) from None
