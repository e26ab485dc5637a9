"""Texts from the other side, checked and taken apart; values in them stay texts."""

from __future__ import annotations

import codecs
import functools
import itertools
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from bridge.protocols import refusals
from bridge.protocols.limits import ProtocolLimits
from bridge.protocols.messages import Id
from bridge.protocols.rpc_errors import RpcError
from bridge.runtime.json_structure import is_deeper

__all__ = ["Incoming", "Reader", "Refused", "reader"]

_BOM: Final = b"\xef\xbb\xbf"
_BLANKS: Final = b" \t\r\n"
_SLICE: Final = 1024 * 1024
"""Bytes decoded at once to see whether they are UTF-8."""


class Incoming(msgspec.Struct):
    """Any message. A ``Raw`` is false if the message has no such member."""

    jsonrpc: Literal["2.0"]
    id: Id | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: Raw = Raw()
    """Of an object or an array."""
    result: Raw = Raw()
    error: Raw = Raw()


class Refused(Exception):
    """What came is no message.

    Args:
        error: why.
        id: of the request it was meant to be, if that can be told.
        is_answered: whether the other side is told; not if it was meant to be a notification or an answer.
    """

    def __init__(self, error: RpcError, id: Id | None = None, *, is_answered: bool = True) -> None:
        super().__init__(error.message)
        self.error = error
        self.id = id
        self.is_answered = is_answered


class _Loose(msgspec.Struct):
    """What can be told of an object that is no message."""

    id: Raw = Raw()
    method: Raw = Raw()
    result: Raw = Raw()
    error: Raw = Raw()


_read = msgspec.json.Decoder(Incoming).decode
_read_loosely = msgspec.json.Decoder(_Loose).decode
_read_id: Any = msgspec.json.Decoder(Id).decode
_check_json = msgspec.json.Decoder(Raw).decode

_UNREADABLE = (msgspec.MsgspecError, RecursionError)


class Reader:
    """Reads texts within limits, each checked before anything is made of what it limits."""

    def __init__(self, limits: ProtocolLimits) -> None:
        self._limits = limits
        self._too_deep = refusals.too_deep(limits)
        self._too_many = refusals.batch_too_large(limits)
        # An array read as an object of so many members gives that many elements; those after them are skipped.
        members = [(f"_{place}", Raw, Raw()) for place in range(limits.max_batch + 1)]
        self._read_elements = msgspec.json.Decoder(msgspec.defstruct("Elements", members, array_like=True)).decode

    def open(self, frame: bytes) -> bytes:
        """The text in a frame: not too deep, and UTF-8. A byte order mark before it is ignored, as RFC 8259, 8.1,
        allows. Raises ``Refused``."""
        if not frame:
            raise Refused(refusals.EMPTY)
        if is_deeper(frame, self._limits.max_depth):
            raise Refused(self._too_deep)
        if not _is_utf8(frame):
            raise Refused(refusals.NOT_UTF8)
        return frame.removeprefix(_BOM).lstrip(_BLANKS)

    def message(self, text: bytes | Raw) -> Incoming:
        """The message of an opened text. Raises ``Refused``."""
        try:
            message = _read(text)
        except _UNREADABLE:
            raise _why_refused(text) from None
        if message.params and (first := memoryview(message.params)[0]) not in b"{[":
            if first != ord("n"):
                id = message.id
                raise Refused(refusals.BAD_PARAMS, None if id is UNSET else id, is_answered=id is not UNSET)
            message.params = Raw()
        return message

    def batch(self, text: bytes) -> list[Raw]:
        """The texts in an opened text that is an array. Raises ``Refused``."""
        try:
            elements = msgspec.structs.astuple(self._read_elements(text))
        except _UNREADABLE:
            raise Refused(refusals.NOT_JSON) from None
        texts = list(itertools.takewhile(bool, elements))
        if not texts:
            raise Refused(refusals.EMPTY_BATCH)
        if len(texts) > self._limits.max_batch:
            raise Refused(self._too_many)
        return texts


@functools.cache
def reader(limits: ProtocolLimits) -> Reader:
    """The reader within limits. It keeps nothing of what it reads, and takes longer to make than a message to read."""
    return Reader(limits)


def _is_utf8(text: bytes) -> bool:
    """Whether all of it is: msgspec looks only into the strings that it makes."""
    if text.isascii():
        return True
    decode = codecs.getincrementaldecoder("utf-8")().decode
    view = memoryview(text)
    try:
        for begin in range(0, len(text), _SLICE):
            decode(view[begin : begin + _SLICE])
        decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _why_refused(text: bytes | Raw) -> Refused:
    """Why a text is no message, and whom to tell."""
    try:
        _check_json(text)
    except _UNREADABLE:
        return Refused(refusals.NOT_JSON)
    try:
        loose = _read_loosely(text)
        if (loose.result or loose.error) and not loose.method:
            return Refused(refusals.NO_MESSAGE, is_answered=False)
        return Refused(refusals.NO_MESSAGE, _read_id(loose.id))
    except _UNREADABLE:  # it is no object, or has no legal id
        return Refused(refusals.NO_MESSAGE)
