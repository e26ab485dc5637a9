"""One side of a JSON-RPC 2.0 connection, without the connection (https://www.jsonrpc.org/specification).

Both sides may ask, so a client and a server are the same ``Peer``. Its texts go through a framing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from bridge.errors import BridgeError
from bridge.protocols import refusals
from bridge.protocols.framing import FramingViolation
from bridge.protocols.limits import DEFAULT_LIMITS, ProtocolLimits
from bridge.protocols.messages import (
    Cancel,
    Event,
    Id,
    Invalid,
    Notification,
    Outgoing,
    Request,
    Response,
    Unmatched,
    as_json,
    encode,
)
from bridge.protocols.reading import Incoming, Refused, reader
from bridge.protocols.rpc_errors import PARSE_ERROR, RpcError, numbered, to_rpc_error

__all__ = ["Peer", "parse_error"]


class _Cancelled(msgspec.Struct):
    """Params of LSP's ``$/cancelRequest``."""

    id: Id


class _McpCancelled(_Cancelled):
    """Params of MCP's ``notifications/cancelled``."""

    id: Id = msgspec.field(name="requestId")


_CANCELS: dict[str, Callable[[bytes | Raw], _Cancelled]] = {
    "$/cancelRequest": msgspec.json.Decoder(_Cancelled).decode,
    "notifications/cancelled": msgspec.json.Decoder(_McpCancelled).decode,
}

_decode_error = msgspec.json.Decoder(RpcError).decode
_NULL = Raw(b"null")


def parse_error(violation: FramingViolation) -> bytes:
    """The text to send before a connection is closed because of a violation."""
    return _failure(None, numbered(PARSE_ERROR, violation))


class _Batch:
    """The answers to the requests of one batch, which go out together."""

    def __init__(self) -> None:
        self._answers: list[bytes] = []
        self._missing = 1  # the batch itself, until all of it was read

    def expect(self) -> None:
        """One answer more is to come."""
        self._missing += 1

    def refuse(self, answer: bytes) -> None:
        """Adds an answer that was not expected."""
        self._answers.append(answer)

    def settle(self, answer: bytes | None) -> bytes | None:
        """Takes an answer that was expected, if there is one; all together if it was the last."""
        self._missing -= 1
        if answer is not None:
            self._answers.append(answer)
        if self._missing or not self._answers:
            return None
        return b"[" + b",".join(self._answers) + b"]"


class Peer:
    """Makes events of the other side's texts, and texts of what this side has to say.

    It knows which requests run in both directions. Ids of its own are never used twice, so a late answer is nobody's.

    Args:
        limits: of what the other side sends. What is over them is refused before anything is made of it.
    """

    def __init__(self, limits: ProtocolLimits = DEFAULT_LIMITS) -> None:
        self._reader = reader(limits)
        self._max_in_flight = limits.max_in_flight
        self._busy = refusals.busy(limits)
        self._running: dict[Id, _Batch | None] = {}
        self._asked: set[Id] = set()
        self._last = 0

    @property
    def in_flight(self) -> int:
        """Requests of the other side that are not answered yet."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests of this side that are not answered yet."""
        return len(self._asked)

    def receive(self, frame: bytes) -> list[Event]:
        """What a text means, in its order. Never fails: what is refused becomes ``Invalid``."""
        try:
            text = self._reader.open(frame)
            if text.startswith(b"["):
                return self._receive_batch(self._reader.batch(text))
        except Refused as refused:
            return [self._refuse(refused, None)]
        event = self._receive_one(text, None)
        return [] if event is None else [event]

    def answer(self, id: Id, result: Any) -> bytes | None:
        """The text that answers a request, once.

        Args:
            id: of the request.
            result: ``msgspec.Raw`` or ``bytes``: a JSON text; anything else: a value, as in ``Outgoing``.

        Returns:
            What to send: an array if it completes a batch; ``None`` if it does not, or if no such request is running
            (the other side cancelled it, and it was dropped).

        Raises:
            BridgeError: INVALID_ARGUMENT, reason ``UNSUPPORTED_VALUE``, for a value that has no JSON text. The request
                is still to be answered.
        """
        if id not in self._running:
            return None
        return self._settle(id, encode(Outgoing(id=id, result=as_json(result))))

    def fail(self, id: Id, error: BridgeError | RpcError) -> bytes | None:
        """The text that answers a request with an error, once. Returns what ``answer`` does, and never fails."""
        if id not in self._running:
            return None
        return self._settle(id, _failure(id, error if isinstance(error, RpcError) else to_rpc_error(error)))

    def drop(self, id: Id) -> bytes | None:
        """Ends a request without an answer, as MCP has it after a cancel. Returns what ``answer`` does."""
        return self._settle(id, None) if id in self._running else None

    def request(self, method: str, params: Any = None) -> tuple[int, bytes]:
        """The id and the text of a request of this side. ``params`` as a result in ``answer``; ``None``: without."""
        self._last += 1
        text = encode(Outgoing(id=self._last, method=method, params=_params(params)))
        self._asked.add(self._last)
        return self._last, text

    def notify(self, method: str, params: Any = None) -> bytes:
        """The text of a notification. ``params`` as in ``request``."""
        return encode(Outgoing(method=method, params=_params(params)))

    def cancel(self, id: int) -> bytes:
        """The text that says that nobody waits for the answer to a request of this side; one that comes is
        ``Unmatched``."""
        self._asked.discard(id)
        return self.notify("$/cancelRequest", {"id": id})

    def progress(self, token: Id, value: Any) -> bytes:
        """The text that tells the progress of a request of the other side, which brought the token
        (``progress_token``). ``value`` as a result in ``answer``."""
        return self.notify("$/progress", {"token": token, "value": as_json(value)})

    def _receive_batch(self, texts: list[Raw]) -> list[Event]:
        batch = _Batch()
        events = [event for text in texts if (event := self._receive_one(text, batch)) is not None]
        answer = batch.settle(None)
        if answer is not None:  # nothing of it runs, so something was refused
            last = max(place for place, event in enumerate(events) if isinstance(event, Invalid))
            events[last] = msgspec.structs.replace(events[last], answer=answer)
        return events

    def _receive_one(self, text: bytes | Raw, batch: _Batch | None) -> Event | None:
        try:
            message = self._reader.message(text)
        except Refused as refused:
            return self._refuse(refused, batch)
        method, id = message.method, message.id
        if method is UNSET:
            return self._receive_answer(message, batch)
        params = message.params or None
        if id is UNSET:
            return self._receive_note(method, params)
        if id is None:
            return self._refuse(Refused(refusals.NULL_ID), batch)
        if id in self._running:
            return self._refuse(Refused(refusals.DUPLICATE_ID), batch)
        if len(self._running) >= self._max_in_flight:
            return self._refuse(Refused(self._busy, id), batch)
        self._running[id] = batch
        if batch is not None:
            batch.expect()
        return Request(id, method, params)

    def _receive_note(self, method: str, params: Raw | None) -> Event | None:
        read_cancel = _CANCELS.get(method)
        if read_cancel is None:
            return Notification(method, params)
        try:
            id = read_cancel(params or b"{}").id
        except msgspec.MsgspecError:
            return Invalid(refusals.BAD_PARAMS, None)
        return Cancel(id) if id in self._running else None  # answered, or never heard of

    def _receive_answer(self, message: Incoming, batch: _Batch | None) -> Event:
        id = None if message.id is UNSET else message.id
        asked = id if isinstance(id, int) and id in self._asked else None
        result, error = message.result or None, None
        if message.error and message.error != _NULL:
            result, error = None, _read_error(message.error)
        elif result is None:
            if asked is None:
                return self._refuse(Refused(refusals.NOTHING, id), batch)
            error = refusals.BAD_ANSWER
        if asked is None:
            return Unmatched(id, error)
        self._asked.remove(asked)
        return Response(asked, result, error)

    def _refuse(self, refused: Refused, batch: _Batch | None) -> Invalid:
        if not refused.is_answered:
            return Invalid(refused.error, None)
        # Under the id of a running request the error would be taken for its answer.
        answer = _failure(None if refused.id in self._running else refused.id, refused.error)
        if batch is None:
            return Invalid(refused.error, answer)
        batch.refuse(answer)
        return Invalid(refused.error, None)

    def _settle(self, id: Id, answer: bytes | None) -> bytes | None:
        batch = self._running.pop(id)
        return answer if batch is None else batch.settle(answer)


def _failure(id: Id | None, error: RpcError) -> bytes:
    return encode(Outgoing(id=id, error=error))


def _params(params: Any) -> Any:
    return UNSET if params is None else as_json(params)


def _read_error(text: Raw) -> RpcError:
    try:
        return _decode_error(text)
    except msgspec.MsgspecError:
        return refusals.BAD_ANSWER
