"""Values as the JSON texts of requests and answers: exact in both directions.

What JSON carries exactly stands for itself, so a caller that knows nothing of this package sees plain JSON; all else
stands in the forms of ``bridge.json_form``, such as ``{"$bytes": "aGk="}``.
"""

from __future__ import annotations

import json
import math
from typing import Any

from google.protobuf.message import Message
from msgspec import Raw

from bridge.codec import DEFAULT_LIMITS, Limits, decode, pack
from bridge.codec.base import Refusal
from bridge.codec.json_text import encode_json, exact_json, read_document
from bridge.errors import invalid_argument
from bridge.json_form import from_json, to_json

__all__ = ["read_params", "read_value", "write_value"]

_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_AS_THEY_ARE = frozenset({type(None), bool, int, str})
_LIMITS = Limits(max_depth=DEFAULT_LIMITS.max_depth + 4)
"""Params are containers around the values in them."""


def write_value(value: Any) -> bytes:
    """The JSON text of a value.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``UNSUPPORTED_VALUE``, with the path of what cannot be carried.
    """
    kind = type(value)
    if kind in _AS_THEY_ARE or (kind is float and math.isfinite(value)):
        try:
            return encode_json(value)
        except UnicodeEncodeError:
            pass  # the codec says what is wrong with the text
    elif kind is dict or kind is list:
        document = exact_json(value)
        if document is not None and not _may_have_forms(document):
            return document
    return _dumps(_form(value)).encode()


def _form(value: Any) -> Any:
    """By the rules of the codec, so that every wire gives the same of a value."""
    if type(value) is bytes or isinstance(value, Message):
        return to_json(value)
    return to_json(decode(pack(value)))


def read_value(text: Raw | bytes, path: str = "$") -> Any:
    """The value of a JSON text.

    Args:
        text: well-formed.
        path: how an error names it.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``VALUE_REFUSED`` (too deep, too many digits, out of range) or
            ``VALUE_MALFORMED`` (begins like one of our forms and is none); FAILED_PRECONDITION, reason
            ``MISSING_EXTRA``, for an array or a table where its library is not installed.
    """
    document = bytes(text)
    value = _read(document, path)
    return _restored(value, path) if _may_have_forms(document) else value


def read_params(params: Raw | None) -> Any:
    """What the params of a request hold: a dict, a list, or ``None`` if there are none. Errors as ``read_value``."""
    if params is None:
        return None
    document = bytes(params)
    found = _read(document, "$")
    if not _may_have_forms(document):
        return found
    if type(found) is dict:
        return {name: _restored(value, f"$.{name}") for name, value in found.items()}
    return [_restored(value, f"$[{index}]") for index, value in enumerate(found)]


def _read(document: bytes, path: str) -> Any:
    try:
        return read_document(document, _LIMITS, 0)
    except Refusal as refusal:
        raise refusal.as_error(path) from None


def _may_have_forms(document: bytes) -> bool:
    # One byte is found many times faster than two.
    return (b"$" in document and b'"$' in document) or (b"\\" in document and b"\\u0024" in document)


def _restored(value: Any, path: str) -> Any:
    try:
        return from_json(value)
    except ValueError as error:
        form = str(error).partition(":")[0]  # what follows may repeat the value
        raise invalid_argument(
            path, f"has a damaged {form}; docs/jsonrpc.md has its form", reason="VALUE_MALFORMED"
        ) from error
