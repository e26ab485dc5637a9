"""The values of Snakepit's wire: JSON texts in ``Any.value``, and bytes beside them.

Nothing there is a packed message, whatever ``Any.type_url`` says, but for texts of Snakepit's own Python client, which
are a packed ``StringValue``. Both are read. Nothing that a peer could make run as code is: no pickle, no Erlang terms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import StringValue

from bridge.codec.base import DEFAULT_LIMITS, TYPE_URL_PREFIX, Refusal
from bridge.codec.json_text import read_document
from bridge.errors import invalid_argument
from bridge.snakepit.graceful import ResultRules, document_of, plain

__all__ = ["AnyLike", "ResultRules", "plain", "read_arguments", "read_parameter", "write_result"]

_URL = TYPE_URL_PREFIX + "snakepit."
_BINARY_URL = _URL + "binary"
"""Of bytes that are empty: the wire cannot tell empty ``binary_result`` from none."""
_URLS = {
    ord(begin): _URL + kind
    for begin, kind in (("{", "map"), ("[", "list"), ('"', "string"), ("t", "boolean"), ("f", "boolean"), ("n", "null"))
}
"""By the first byte of a document; all others are numbers."""

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class AnyLike(Protocol):
    """A ``google.protobuf.Any`` of any descriptor pool."""

    type_url: str
    value: bytes


def read_parameter(type_url: str, value: bytes, path: str) -> Any:
    """The value in an ``Any``: that of its JSON text, or the text of a packed ``StringValue``.

    Args:
        type_url: tells the packed texts; and a ``snakepit.float`` may be one of the texts NaN, Infinity and -Infinity.
        value: the bytes.
        path: how an error names the value, ``$.name``.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``VALUE_MALFORMED`` if it is neither, ``VALUE_REFUSED`` if it is too deep,
            has too many digits or is pickled.
    """
    try:
        return _read(type_url, value)
    except Refusal as refusal:
        raise refusal.as_error(path) from None


def read_arguments(
    parameters: Mapping[str, AnyLike], binary_parameters: Mapping[str, bytes], metadata: Mapping[str, str]
) -> dict[str, Any]:
    """The arguments of an ``ExecuteToolRequest``, of its fields of these names.

    Raises:
        BridgeError: as ``read_parameter``; INVALID_ARGUMENT also for a name that comes twice, and, reason
            ``VALUE_REFUSED``, for bytes that ``metadata["binary_format:<name>"]`` says to be more than bytes.
    """
    arguments: dict[str, Any] = {}
    for name in parameters:
        message = parameters[name]
        try:
            arguments[name] = _read(message.type_url, message.value)
        except Refusal as refusal:
            refusal.inside(name)
            raise refusal.as_error("$") from None
    for name in binary_parameters:
        if name in arguments:
            raise invalid_argument(f"$.{name}", "stands in parameters and in binary_parameters: send it in one of them")
        if metadata.get(f"binary_format:{name}", "") not in ("", "raw"):
            text = "its binary_format is not read, as decoding it may run code: send the bytes as they are, or JSON"
            raise invalid_argument(f"$.{name}", text, reason="VALUE_REFUSED")
        arguments[name] = binary_parameters[name]
    return arguments


def _read(url: str, value: bytes) -> Any:
    if not value or value[0] == 10:  # no JSON that Elixir writes is empty or begins with a line break
        text = _packed_text(url, value)
        if text is not None:
            return text
    if url.endswith(".binary"):
        raise Refusal("its data is pickled or an Erlang term, and neither is read: send JSON", "VALUE_REFUSED")
    made = read_document(value, DEFAULT_LIMITS, 0)
    return _NOT_FINITE.get(made, made) if type(made) is str and url.endswith("/snakepit.float") else made


def _packed_text(url: str, value: bytes) -> str | bytes | None:
    """What a packed value holds; ``None`` if it is JSON.

    A line break is also white space of JSON and the tag of a ``StringValue``. It is the tag if the length fits, so that
    the text ``123456789`` stays one.
    """
    if url == _BINARY_URL and not value:
        return b""
    if url.rpartition("/")[2] != "google.protobuf.StringValue":
        return None
    try:
        message = StringValue.FromString(value)
    except DecodeError:
        return None
    return message.value if StringValue(value=message.value).SerializeToString() == value else None


def write_result(value: Any, rules: ResultRules = ResultRules.EXACT) -> tuple[str, bytes, bytes]:
    """A tool's result: ``result.type_url``, ``result.value`` and ``binary_result``, which is empty if there is none.

    Elixir takes no notice of the type. Raises as ``plain``.
    """
    if rules is ResultRules.EXACT and isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        # Elixir takes a result that is not JSON, as nothing is, for the bytes themselves.
        return (_URL + "null", b"null", data) if data else (_BINARY_URL, b"", b"")
    document = document_of(value, rules)
    url = _URLS.get(document[0])
    if url is None or isinstance(value, float):
        is_integer = document.lstrip(b"-").isdigit()
        url = _URL + ("integer" if is_integer else "float")
    return url, document, b""
