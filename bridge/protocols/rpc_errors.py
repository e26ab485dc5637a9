"""``BridgeError`` to and from the error objects of JSON-RPC.

=====================  ========  ===========================================================================
``Code``               number    meaning of the number
=====================  ========  ===========================================================================
(no message)           -32700    Parse error (JSON-RPC 2.0, 5.1); this and the next only from the ``Peer`` itself
(no request)           -32600    Invalid Request
NOT_FOUND of a method  -32601    Method not found: reason ``METHOD_NOT_FOUND`` or ``TOOL_NOT_FOUND``
INVALID_ARGUMENT       -32602    Invalid params; ``data.violations`` says which
INTERNAL               -32603    Internal error
CANCELLED              -32800    RequestCancelled (Language Server Protocol, ErrorCodes)
DEADLINE_EXCEEDED      -32001    a number of ours, as every one below
each other code        -32050    minus gRPC's number: UNKNOWN, an exception of a tool, is -32052, NOT_FOUND of
                                 anything else -32055, RESOURCE_EXHAUSTED -32058, UNAVAILABLE -32064
=====================  ========  ===========================================================================

An ``RpcFailure`` has a number, and ``data``, of its own protocol.

Otherwise ``data`` holds what a number cannot: ``code`` (the name), ``reason``, ``error_id``, ``retry_after`` (seconds),
``violations`` (``field``, ``description``), ``metadata``, ``debug``; each only if there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from bridge.errors import BridgeError, Code, ErrorDetails, FieldViolation

__all__ = [
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "METHOD_NOT_FOUND",
    "PARSE_ERROR",
    "REQUEST_CANCELLED",
    "RpcError",
    "RpcFailure",
    "from_rpc_error",
    "numbered",
    "to_rpc_error",
]

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
REQUEST_CANCELLED: Final = -32800
MAX_MESSAGE: Final = 2048
"""Characters of a message."""
_DEADLINE: Final = -32001
_FIRST: Final = -32050

_OWN: Final = "RPC_ERROR"
"""``BridgeError.reason`` of an ``RpcFailure``; in its metadata are ``rpc_code`` and ``rpc_data``."""

_NO_METHOD = frozenset({"METHOD_NOT_FOUND", "TOOL_NOT_FOUND"})

_NUMBERS = {code: _FIRST - code for code in Code} | {
    Code.INVALID_ARGUMENT: INVALID_PARAMS,
    Code.INTERNAL: INTERNAL_ERROR,
    Code.CANCELLED: REQUEST_CANCELLED,
    Code.DEADLINE_EXCEEDED: _DEADLINE,
}

# For errors of servers that are not ours, -32801 and -32802 from the Language Server Protocol.
_CODES = {number: code for code, number in _NUMBERS.items()} | {
    PARSE_ERROR: Code.INVALID_ARGUMENT,
    INVALID_REQUEST: Code.INVALID_ARGUMENT,
    METHOD_NOT_FOUND: Code.NOT_FOUND,
    -32801: Code.ABORTED,
    -32802: Code.CANCELLED,
}

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class RpcError(msgspec.Struct, frozen=True, omit_defaults=True):
    """The error object of a response (JSON-RPC 2.0, 5.1)."""

    code: int
    """Its number; those from -32768 to -32000 are not for applications."""
    message: str
    data: msgspec.Raw = msgspec.Raw()
    """Any JSON text; empty: none."""


class RpcFailure(BridgeError):
    """An error that a protocol on top of JSON-RPC has a number for, such as LSP's ServerNotInitialized, -32002.

    Args:
        number: what the other side gets as ``error.code``.
        message: for people.
        data: what it gets as ``error.data``, by msgspec's rules for JSON; ``None``: nothing. From a worker process no
            more than 2 KiB of it arrive.

    Raises ``TypeError`` or ``ValueError`` for data that has no JSON text.
    """

    def __init__(self, number: int, message: str, data: Any = None) -> None:
        facts = {"rpc_code": str(number)}
        if data is not None:
            facts["rpc_data"] = _encode(data).decode()
        super().__init__(Code.UNKNOWN, message, reason=_OWN, details=ErrorDetails(metadata=facts))


class _Data(msgspec.Struct, frozen=True, omit_defaults=True):
    """``RpcError.data`` of ours."""

    code: str = ""
    reason: str = ""
    error_id: str | None = None
    retry_after: float | None = None
    violations: tuple[FieldViolation, ...] = ()
    metadata: Mapping[str, str] = {}
    debug: str | None = None


_read_data = msgspec.json.Decoder(_Data).decode


def to_rpc_error(error: BridgeError) -> RpcError:
    """The error object of an error, by the table above. Never fails, whatever text is in the error."""
    if error.code is Code.NOT_FOUND and error.reason in _NO_METHOD:
        return numbered(METHOD_NOT_FOUND, error)
    if error.reason == _OWN and (own := _own(error)) is not None:
        return own
    return numbered(_NUMBERS[error.code], error)


def _own(error: BridgeError) -> RpcError | None:
    """The error object of an ``RpcFailure``, which may have crossed another wire; ``None``: it did not survive that."""
    facts = error.details.metadata
    try:
        number, message = int(facts["rpc_code"]), _clipped(error.message)
        if "rpc_data" not in facts:
            return RpcError(number, message)
        return RpcError(number, message, msgspec.Raw(_encode(_decode(facts["rpc_data"]))))
    except (KeyError, ValueError, RecursionError, msgspec.MsgspecError):
        return None


def numbered(number: int, error: BridgeError) -> RpcError:
    """The error object of an error, with a number that its code does not tell."""
    details = error.details
    metadata = {_text(key): _text(str(value)) for key, value in details.metadata.items()}
    data = _Data(
        code=error.code.name,
        reason=_text(error.reason),
        error_id=metadata.pop("error_id", None),
        retry_after=details.retry_after,
        violations=tuple(FieldViolation(_text(v.field), _text(v.description)) for v in details.violations),
        metadata=metadata,
        debug=None if details.debug is None else _text(details.debug),
    )
    return RpcError(number, _clipped(error.message), msgspec.Raw(_encode(data)))


def from_rpc_error(error: RpcError) -> BridgeError:
    """The error behind an error object. ``data`` that is not ours is left out; numbers nobody knows are UNKNOWN."""
    try:
        data = _read_data(error.data) if error.data else _Data()
    except (msgspec.MsgspecError, ValueError, RecursionError):
        data = _Data()
    code = Code.__members__.get(data.code) or _CODES.get(error.code, Code.UNKNOWN)
    metadata = dict(data.metadata)
    if data.error_id is not None:
        metadata["error_id"] = data.error_id
    details = ErrorDetails(data.violations, data.retry_after, metadata, data.debug)
    reason = data.reason or ("METHOD_NOT_FOUND" if error.code == METHOD_NOT_FOUND else "")
    return BridgeError(code, error.message, reason=reason, details=details)


def _clipped(message: str) -> str:
    """A message may repeat as much as its author likes, and every log on its way would have all of it."""
    return _text(message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…")


def _text(text: str) -> str:
    """What UTF-8 can carry; messages of exceptions may hold more."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
