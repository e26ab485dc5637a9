"""JSON documents (``bridge.v1.Json``): exactness, depth and digits.

The json module converts silently: tuples become arrays, keys that are numbers become text, a number may become
infinity. So a document is chosen only if reading it gives an equal value. Equality hides no change: plain None, bool,
int, float, str, list and dict are all that comes of reading, and bool, int and float are kept apart (``true``, ``1``,
``1.0``, ``-0.0``).
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from json import encoder
from typing import Any

from ..json_structure import is_deeper, without_strings
from ..protobuf import decode
from ..tables import JSON
from .base import MAX_DEPTH, MAX_DIGITS, TYPE_URL_PREFIX, Packed, malformed, refused
from .wire import delimited, payload

__all__ = ["JSON_URL", "PACK_LOWERED", "READERS", "exact_json", "read_document"]

JSON_URL = TYPE_URL_PREFIX + "bridge.v1.Json"

_SHORT = 128
"""No document below so many bytes is nested deeper than ``MAX_DEPTH``; and their length takes one byte."""
_FIELD_1 = [bytes((10, size)) for size in range(_SHORT)]

_TOO_MANY_DIGITS = re.compile(rb"(?<![.0-9])[0-9]{%d}" % (MAX_DIGITS + 1))
_SURROGATE_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class _NotFinite(ValueError):
    """A number that no float is."""


def _refuse(value: object) -> None:
    raise TypeError


def _no_constant(name: str) -> None:
    raise _NotFinite("NaN and infinity are not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (math.inf, -math.inf):
        raise refused("the JSON document is refused: a number is out of range")
    return number


_reader = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant)
_scan = _reader.raw_decode


def _make_writer() -> Callable[[Any], str]:
    """What makes text of a value. ``json.dumps`` would make this object anew each time."""
    text = json.JSONEncoder(
        ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"), default=_refuse
    ).encode
    make = getattr(encoder, "c_make_encoder", None)
    if make is None:
        return text
    try:
        chunks = make(None, _refuse, encoder.encode_basestring, None, ":", ",", False, False, False)
        if "".join(chunks({"é": [1, 2.5, None]}, 0)) == '{"é":[1,2.5,null]}':
            return lambda value: "".join(chunks(value, 0))
    except TypeError:  # an interpreter whose accelerator takes other arguments
        pass
    return text


_write = _make_writer()


def exact_json(value: Any) -> Packed | None:
    """The document of a dict or list that comes back equal, and is not too deep; ``None`` if there is none."""
    try:
        text = _write(value)
        document = text.encode()
        size = len(document)
        if size >= _SHORT and (is_deeper(document, MAX_DEPTH) or _has_long_integer(document)):
            return None
        if _scan(text)[0] != value:
            return None
    except Exception:  # noqa: BLE001 - a user's __eq__ may raise anything; the careful way then says what is wrong
        return None
    return JSON_URL, _FIELD_1[size] + document if size < _SHORT else delimited(document)


def _pack_lowered(value: Any) -> Packed:
    return JSON_URL, delimited(_write(value).encode())


PACK_LOWERED: dict[type, Callable[[Any], Packed]] = {dict: _pack_lowered, list: _pack_lowered}


def _read_json(data: bytes, depth: int) -> Any:
    document = payload(data)
    if document is None:
        document = decode(JSON, data)["document"]
    return read_document(document, depth)


def read_document(document: bytes, depth: int) -> Any:
    """The value of a document that stands inside ``depth`` containers."""
    if is_deeper(document, MAX_DEPTH - depth):
        raise refused(f"the value is nested deeper than {MAX_DEPTH} levels")
    if _has_long_integer(document):
        raise refused(f"the JSON document is refused: an integer has more than {MAX_DIGITS} digits")
    try:
        text = document.decode()
        if "\\u" in text and _has_lone_surrogate(text):
            raise malformed("the JSON document is not valid: a lone surrogate")
        return _parse(text)
    except RecursionError:
        raise refused("the value is nested deeper than Python's stack") from None
    except (json.JSONDecodeError, UnicodeDecodeError, _NotFinite) as error:
        problem = error.reason if isinstance(error, UnicodeDecodeError) else error
        raise malformed(f"the JSON document is not valid: {problem}") from None
    except ValueError:  # well-formed, but sys.set_int_max_str_digits() is below our own limit
        raise refused("the JSON document is refused: an integer has more digits than Python converts") from None


def _parse(text: str) -> Any:
    try:
        value, end = _scan(text)
        if end == len(text):
            return value
    except json.JSONDecodeError:
        pass
    return _reader.decode(text)  # white space around it, or a mistake that this names


READERS: dict[str, Callable[[bytes, int], Any]] = {JSON_URL: _read_json}


def _has_long_integer(document: bytes) -> bool:
    """Whether it has an integer beyond ``MAX_DIGITS`` that Python, told to know no limit, would spend minutes on."""
    if len(document) <= MAX_DIGITS:
        return False
    limit = sys.get_int_max_str_digits() if hasattr(sys, "get_int_max_str_digits") else 0
    if 0 < limit <= MAX_DIGITS:
        return False
    return _TOO_MANY_DIGITS.search(without_strings(document)) is not None


def _has_lone_surrogate(text: str) -> bool:
    escapes = text.replace("\\\\", " ")
    return _SURROGATE.search(_SURROGATE_PAIR.sub(" ", escapes)) is not None
