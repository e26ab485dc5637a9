"""Values as plain JSON, in the form that the schemas of results describe."""

from __future__ import annotations

import math
import os
from typing import Any

import msgspec

from bridge.errors import BridgeError, Code

__all__ = ["plain_json"]


def plain_json(tool: str, value: Any) -> bytes:
    """The JSON text of what a tool gave: bytes are base64, times ISO 8601, arrays lists, tables lists of rows.

    Raises ``BridgeError`` UNKNOWN, reason ``UNSUPPORTED_RESULT``, for what JSON has nothing for.
    """
    try:
        text = msgspec.json.encode(value, enc_hook=_foreign)
        # The encoder makes null of NaN and of infinities, which is another value: where is no null, there is none.
        if b"null" in text and (path := _not_finite(msgspec.to_builtins(value, str_keys=True, enc_hook=_foreign), "$")):
            raise _unsupported(tool, f"{path} is NaN or infinite, and JSON has no such number; return None or a text")
    except UnicodeEncodeError:
        raise _unsupported(tool, "a text in it has half of a surrogate pair, which is no character") from None
    except RecursionError:
        raise _unsupported(tool, "it is nested too deeply") from None
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise _unsupported(tool, f"{error}; return numbers, texts, bytes, lists and dicts") from error
    return text


def _unsupported(tool: str, why: str) -> BridgeError:
    message = f"tool {tool!r} gave a value that cannot be carried: {why}"
    return BridgeError(Code.UNKNOWN, message, reason="UNSUPPORTED_RESULT")


def _not_finite(value: Any, path: str) -> str:
    """Where a number that JSON does not have stands; empty: nowhere."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else path
    if isinstance(value, dict):
        return next(filter(None, (_not_finite(item, f"{path}.{key}") for key, item in value.items())), "")
    if isinstance(value, list | tuple):
        return next(filter(None, (_not_finite(item, f"{path}[{at}]") for at, item in enumerate(value))), "")
    return ""


def _foreign(value: Any) -> Any:
    """What msgspec does not know, told by what it can do: its library is not imported here."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "to_pylist"):
        return value.to_pylist()
    if hasattr(value, "DESCRIPTOR"):
        from google.protobuf.json_format import MessageToDict  # only for tools that return messages

        return MessageToDict(value)
    raise TypeError(f"values of type {type(value).__name__} have no form in JSON")
