"""JSON documents as bytes: exactness, depth and digits, checked at C speed.

msgspec converts silently: bytes become base64 text, UUID, Decimal, Enum and datetime become strings, NaN becomes null,
integer keys become strings, tuples and sets become arrays. So a document is chosen only if decoding it gives an equal
value. Equality hides no change: the decoder makes plain None, bool, int, float, str, list and dict only, and the
encoder keeps bool, int and float apart (``true``, ``1``, ``1.0``, ``-0.0``); what equals a plain value and is of
another type (StrEnum, IntEnum, OrderedDict) is defined to be carried as that plain value.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from bridge.codec.base import DEFAULT_LIMITS, TYPE_URL_PREFIX, Limits, Packed, Refusal, malformed, unsupported
from bridge.codec.wire import length_delimited, payload
from bridge.runtime.json_structure import is_deeper, without_strings
from bridge.v1.values_pb2 import Json

__all__ = [
    "JSON_URL",
    "PACK_LOWERED",
    "READERS",
    "decode_json",
    "encode_json",
    "exact_json",
    "pack_json",
    "read_document",
]

JSON_URL = TYPE_URL_PREFIX + "bridge.v1.Json"

encode_json = msgspec.json.Encoder().encode
decode_json = msgspec.json.Decoder().decode

MAX_DEPTH = DEFAULT_LIMITS.max_depth

_DECODER_DIGITS = 4300
"""Digits of an integer beyond which msgspec refuses by itself."""


def exact_json(value: Any) -> bytes | None:
    """The document of a dict or list that comes back equal, and is not too deep; ``None`` if there is none."""
    try:
        document = encode_json(value)
        if decode_json(document) != value:
            return None
    except Exception:  # noqa: BLE001 - a user's __eq__ may raise anything; the careful way then says what is wrong
        return None
    return None if is_deeper(document, MAX_DEPTH) else document


def pack_json(document: bytes) -> Packed:
    """A document whose exactness and depth are known."""
    return JSON_URL, length_delimited(document)


def _pack_lowered(value: Any, depth: int) -> Packed:
    document = encode_json(value)
    if is_deeper(document, MAX_DEPTH - depth):
        raise unsupported(f"the value is nested deeper than {MAX_DEPTH} levels")
    return JSON_URL, length_delimited(document)


PACK_LOWERED = {dict: _pack_lowered, list: _pack_lowered, msgspec.Raw: _pack_lowered}


def _read_json(data: bytes, limits: Limits, depth: int) -> Any:
    document = payload(data)
    return read_document(Json.FromString(data).document if document is None else document, limits, depth)


def read_document(document: bytes, limits: Limits, depth: int) -> Any:
    """The value of a JSON text that stands inside ``depth`` containers. Raises ``Refusal``."""
    if is_deeper(document, limits.max_depth - depth):
        raise Refusal(f"the value is nested deeper than {limits.max_depth} levels", "VALUE_REFUSED")
    if limits.max_digits < _DECODER_DIGITS and len(document) > limits.max_digits:
        _check_digits(document, limits.max_digits)
    try:
        return decode_json(document)
    except RecursionError:
        raise Refusal("the value is nested deeper than Python's stack", "VALUE_REFUSED") from None
    except msgspec.ValidationError as error:  # well-formed, but a number is too large
        raise Refusal(f"the JSON document is refused: {error}", "VALUE_REFUSED") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise malformed(f"the JSON document is not valid: {error}") from None


READERS = {JSON_URL: _read_json}


def _check_digits(document: bytes, allowed: int) -> None:
    if re.search(rb"(?<![.0-9])[0-9]{%d}" % (allowed + 1), without_strings(document)):
        raise Refusal(f"a number has more than {allowed} digits", "VALUE_REFUSED")
