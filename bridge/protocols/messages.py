"""What a ``Peer`` hears, and the texts it sends (JSON-RPC 2.0, https://www.jsonrpc.org/specification)."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from bridge.errors import invalid_argument
from bridge.protocols.rpc_errors import RpcError

__all__ = [
    "Cancel",
    "Event",
    "Id",
    "Invalid",
    "Notification",
    "Outgoing",
    "Request",
    "Response",
    "Unmatched",
    "as_json",
    "encode",
    "plain",
    "progress_token",
]

Id: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | str
"""The name of a request: a string, or an integer of 64 bits; ``1`` and ``"1"`` are two. Numbers with a fraction or an
exponent are refused, as the specification wants none and languages disagree about what they are equal to."""


class Request(msgspec.Struct, frozen=True):
    """To be answered once: by ``Peer.answer``, ``fail`` or ``drop``."""

    id: Id
    method: str
    params: Raw | None
    """The text of an object or an array. ``"params": null`` is as if there were none."""


class Notification(msgspec.Struct, frozen=True):
    """Never answered, not even if it is wrong."""

    method: str
    params: Raw | None


class Response(msgspec.Struct, frozen=True):
    """The answer to a request of this side."""

    id: int
    result: Raw | None
    """The text of a value; ``None``: it failed."""
    error: RpcError | None = None


class Unmatched(msgspec.Struct, frozen=True):
    """An answer that nobody waits for: late, to a request that was cancelled, or (``id`` is ``None``) from a side that
    could not read what it got."""

    id: Id | None
    error: RpcError | None = None


class Cancel(msgspec.Struct, frozen=True):
    """Nobody waits for the answer to a running request any more. In LSP it is still answered, with REQUEST_CANCELLED;
    in MCP it is dropped."""

    id: Id


class Invalid(msgspec.Struct, frozen=True):
    """What came is refused."""

    error: RpcError
    answer: bytes | None
    """To be sent; ``None``: what came is not to be answered, or not yet, being of a batch."""


Event: TypeAlias = Request | Notification | Response | Unmatched | Cancel | Invalid


class Outgoing(msgspec.Struct, kw_only=True, tag_field="jsonrpc", tag="2.0"):
    """Any message on its way out. Of ``params`` and ``result``, ``Raw`` is a JSON text, everything else a value that
    becomes one by msgspec's rules: whose values must come back exactly makes their texts with a codec."""

    id: Id | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: Any = UNSET
    result: Any = UNSET
    error: RpcError | UnsetType = UNSET


_encode = msgspec.json.Encoder().encode


def encode(message: Outgoing) -> bytes:
    """The text of a message.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``UNSUPPORTED_VALUE``, for a value that has no JSON text.
    """
    try:
        return _encode(message)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        what = "params" if message.result is UNSET else "result"
        problem = f"a {type(error).__name__}: only JSON's values, or a JSON text as msgspec.Raw, can be sent"
        raise invalid_argument(f"$.{what}", problem, reason="UNSUPPORTED_VALUE") from error


def as_json(value: Any) -> Any:
    """``bytes`` given as params or as a result are a JSON text."""
    return Raw(value) if isinstance(value, bytes) else value


_decode = msgspec.json.Decoder().decode


def plain(text: Raw) -> Any:
    """The value of params or of a result by Python's JSON rules: None, bool, int, float, str, list and dict.

    The last of several members of the same name counts.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``VALUE_REFUSED``, for a number beyond what Python holds: an integer of
            more than 4300 digits, a fraction or an exponent that is no finite float.
    """
    try:
        return _decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise invalid_argument("$", f"is refused: {error}", reason="VALUE_REFUSED") from error


class _Meta(msgspec.Struct):
    token: Id | UnsetType = msgspec.field(default=UNSET, name="progressToken")


class _Progressing(msgspec.Struct):
    token: Id | UnsetType = msgspec.field(default=UNSET, name="progressToken")
    meta: _Meta = msgspec.field(default_factory=_Meta, name="_meta")


_read_token = msgspec.json.Decoder(_Progressing).decode


def progress_token(params: Raw | None) -> Id | None:
    """By which name the caller wants to hear of progress (``Peer.progress``); ``None``: it does not.

    Looked for as MCP has it, ``params._meta.progressToken``, then as ``params.progressToken``. What is no ``Id`` there
    is no token, but somebody's own parameter.
    """
    if params is None:
        return None
    try:
        found = _read_token(params)
    except msgspec.MsgspecError:
        return None
    token = found.token if found.meta.token is UNSET else found.meta.token
    return None if token is UNSET else token
