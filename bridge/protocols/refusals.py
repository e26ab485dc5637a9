"""What a ``Peer`` answers by itself."""

from __future__ import annotations

import functools

from bridge.errors import BridgeError, Code, ErrorDetails, invalid_argument
from bridge.protocols.limits import ProtocolLimits
from bridge.protocols.rpc_errors import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR, RpcError, numbered, to_rpc_error

__all__ = [
    "BAD_ANSWER",
    "BAD_PARAMS",
    "DUPLICATE_ID",
    "EMPTY",
    "EMPTY_BATCH",
    "NOTHING",
    "NOT_JSON",
    "NOT_UTF8",
    "NO_MESSAGE",
    "NULL_ID",
    "batch_too_large",
    "busy",
    "too_deep",
]


def _invalid(reason: str, message: str) -> RpcError:
    return numbered(INVALID_REQUEST, BridgeError(Code.INVALID_ARGUMENT, message, reason=reason))


def _unparsed(message: str) -> RpcError:
    return numbered(PARSE_ERROR, BridgeError(Code.INVALID_ARGUMENT, message, reason="PARSE_ERROR"))


NOT_UTF8 = _unparsed("the message is not UTF-8; encode it so")
NOT_JSON = _unparsed("the message is not JSON; send one JSON text")

EMPTY = _invalid("INVALID_REQUEST", "the message is empty; send a JSON text")
EMPTY_BATCH = _invalid("INVALID_REQUEST", "the batch is empty; send at least one message in it")
NO_MESSAGE = _invalid(
    "INVALID_REQUEST",
    'this is no JSON-RPC 2.0 message: "jsonrpc" has to be "2.0", "method" a string,'
    ' and "id" a string or an integer of 64 bits',
)
NOTHING = _invalid("INVALID_REQUEST", 'the message has no "method", no "result" and no "error"')
NULL_ID = _invalid("INVALID_REQUEST", '"id" is null; give the request an id, or leave it out to get no answer')
DUPLICATE_ID = _invalid("DUPLICATE_ID", "a request of this id is running; give each request an id of its own")
BAD_PARAMS = numbered(INVALID_PARAMS, invalid_argument("$.params", "has to be an object or an array"))
BAD_ANSWER = to_rpc_error(
    BridgeError(Code.DATA_LOSS, "the other side's answer is neither a result nor an error", reason="BAD_ANSWER")
)
"""Not sent, but told to who waits for the answer."""


def too_deep(limits: ProtocolLimits) -> RpcError:
    """The message is nested too deep."""
    return _invalid("TOO_DEEP", f"the message is nested deeper than {limits.max_depth} levels; flatten it")


def batch_too_large(limits: ProtocolLimits) -> RpcError:
    """The batch has too many messages; none of them was looked at."""
    return _invalid("BATCH_TOO_LARGE", f"the batch has more than {limits.max_batch} messages; send smaller ones")


@functools.cache
def busy(limits: ProtocolLimits) -> RpcError:
    """Too many requests are running."""
    why = f"{limits.max_in_flight} requests are running on this connection; try again when some are answered"
    details = ErrorDetails(retry_after=0.1)
    return to_rpc_error(BridgeError(Code.RESOURCE_EXHAUSTED, why, reason="SERVER_BUSY", details=details))
