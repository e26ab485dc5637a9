"""What a server and its worker say to each other, as msgpack arrays in frames.

A frame is a length of four bytes, big-endian, and a msgpack array that begins with the number of its kind
(https://github.com/msgpack/msgpack/blob/master/spec.md). Values, results and errors travel as the bytes of the
``bridge.v1`` messages they have on the outer wire, so there is one codec and nothing to lose between the two.

    server ─▶ worker   Settings, Call, Cancel, Credit, Answer, AnswerEnd, Ping, Shutdown
    worker ─▶ server   Ready, Failed, Chunk, Result, Error, Ask, AskCancel, AskCredit, Log, Pong

Numbers of calls are the server's, numbers of questions (``Ask``) the worker's; none is used twice on a connection.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from bridge.errors import BridgeError, Code

__all__ = [
    "CREDIT",
    "NOT_PLACED",
    "Answer",
    "AnswerEnd",
    "Ask",
    "AskCancel",
    "AskCredit",
    "Call",
    "Cancel",
    "Chunk",
    "Credit",
    "Error",
    "Failed",
    "FrameReader",
    "FromServer",
    "FromWorker",
    "Log",
    "Ping",
    "Pong",
    "Ready",
    "Result",
    "Settings",
    "Shutdown",
    "bad_frame",
    "encode",
]

NOT_PLACED = "WORKER_NOT_PLACED"
"""Reason of a failure to begin that tells of no fault: there was no room for the worker. Callers are told."""
CREDIT = 16
"""Chunks that may be on their way; one more for each that was taken."""

_LENGTH = struct.Struct(">I")


class Call(msgspec.Struct, array_like=True, tag=1, gc=False):
    """Run a tool."""

    id: int
    request: bytes
    """``bridge.v1.ExecuteToolRequest``."""
    headers: dict[str, str]
    remaining: float | None
    """Seconds until the deadline."""
    principal: str
    streaming: bool
    shared: int = 0
    """Bytes of the memory that comes with the frame, as a descriptor (``bridge.runtime.shared``); 0: none does."""
    plain: str = ""
    """``ToolCall.plain``; without meaning to a plugin, whose runtime has values that all stay as they are."""


class Cancel(msgspec.Struct, array_like=True, tag=2, gc=False):
    """Nobody waits for a call any more. Without meaning for a call that has ended."""

    id: int


class Credit(msgspec.Struct, array_like=True, tag=3, gc=False):
    """So many more chunks of a call may be sent."""

    id: int
    chunks: int


class Answer(msgspec.Struct, array_like=True, tag=4, gc=False):
    """A message that answers a question; the only one, or one of a stream."""

    id: int
    response: bytes


class AnswerEnd(msgspec.Struct, array_like=True, tag=5, gc=False):
    """A stream of answers is over, or a question failed."""

    id: int
    status: bytes
    """``google.rpc.Status`` of a failure; empty: none."""


class Shutdown(msgspec.Struct, array_like=True, tag=6, gc=False):
    """End when the running calls have."""


class Settings(msgspec.Struct, array_like=True, tag=7, gc=False, frozen=True):
    """What is the same for all calls that come after it; until one comes, what stands here."""

    redact: bool = False
    """Hide the messages of tools' exceptions."""
    debug: bool = False
    """Send their tracebacks."""
    max_message_bytes: int = 16 * 1024 * 1024
    """Most bytes of a result, a chunk or a question, without what is shared."""
    log_level: str = "info"
    """The least level that is logged: debug, info, warning, error or critical."""
    max_shared_bytes: int = 4 * 1024 * 1024 * 1024
    """Most bytes of the memory that comes with a frame; 0: none comes, all values are in the message."""


class Ping(msgspec.Struct, array_like=True, tag=8, gc=False):
    """Answer with a ``Pong`` of this number at once, whatever runs."""

    id: int


class Ready(msgspec.Struct, array_like=True, tag=17, gc=False):
    """Calls may come."""

    pid: int
    tools: bytes = b""
    """``bridge.v1.ListToolsResponse``: what can be called."""


class Failed(msgspec.Struct, array_like=True, tag=18, gc=False):
    """The worker cannot begin and ends."""

    status: bytes


class Chunk(msgspec.Struct, array_like=True, tag=19, gc=False):
    """Something a streaming tool yielded, or a note of progress (which needs no credit)."""

    id: int
    chunk: bytes
    """``bridge.v1.ToolChunk``."""
    shared: int = 0
    """As in ``Call``."""


class Result(msgspec.Struct, array_like=True, tag=20, gc=False):
    """A call has ended well."""

    id: int
    response: bytes
    """``bridge.v1.ExecuteToolResponse``; empty after the last chunk of a stream."""
    shared: int = 0
    """As in ``Call``."""


class Error(msgspec.Struct, array_like=True, tag=21, gc=False):
    """A call has failed."""

    id: int
    status: bytes
    """``google.rpc.Status``."""


class Ask(msgspec.Struct, array_like=True, tag=22, gc=False):
    """A tool asks its host: an RPC of ``bridge.v1.HostService``."""

    id: int
    call: int
    """On behalf of which call."""
    path: str
    request: bytes
    headers: dict[str, str]
    remaining: float | None
    streaming: bool


class AskCancel(msgspec.Struct, array_like=True, tag=23, gc=False):
    """Nobody waits for an answer any more."""

    id: int


class AskCredit(msgspec.Struct, array_like=True, tag=24, gc=False):
    """So many more answers may be sent."""

    id: int
    answers: int


class Log(msgspec.Struct, array_like=True, tag=25, gc=False):
    """A record of the worker's logging."""

    call: int
    """0: outside of any call."""
    level: int
    logger: str
    message: str
    """With the traceback, if there was one."""
    fields: dict[str, str | int | float | bool | None] = {}
    """The extra fields of the record, as they may be shown."""


class Pong(msgspec.Struct, array_like=True, tag=26, gc=False):
    """The worker's loop runs."""

    id: int


FromServer = Call | Cancel | Credit | Answer | AnswerEnd | Shutdown | Settings | Ping
FromWorker = Ready | Failed | Chunk | Result | Error | Ask | AskCancel | AskCredit | Log | Pong

_encoder = msgspec.msgpack.Encoder()


def encode(message: FromServer | FromWorker) -> bytes:
    """A message as a frame."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Makes messages of bytes as they come, however they are cut.

    Args:
        kinds: ``FromServer`` or ``FromWorker``.
        limit: bytes of the longest frame; checked before any of it is kept.
    """

    def __init__(self, kinds: object, limit: int) -> None:
        self._decoder = msgspec.msgpack.Decoder(kinds)
        self._limit = limit
        self._buffer = bytearray()

    @property
    def is_inside(self) -> bool:
        """Whether a frame has begun to come and is not complete."""
        return bool(self._buffer)

    def feed(self, data: bytes | memoryview) -> Iterator[FromServer | FromWorker]:
        """Yields what is complete. Raises DATA_LOSS, reason ``BAD_FRAME``, for what is no message; nothing may be fed
        after that."""
        buffer = self._buffer
        if buffer:
            buffer += data
        source: Any = buffer or data  # most often whole frames come: nothing is left, nothing is copied
        begin, size = 0, len(source)
        try:
            while size - begin >= 4:
                (length,) = _LENGTH.unpack_from(source, begin)
                if length > self._limit:
                    raise bad_frame(f"a frame of {length} bytes, and {self._limit} are allowed")
                end = begin + 4 + length
                if size < end:
                    break
                try:
                    message = self._decoder.decode(memoryview(source)[begin + 4 : end])
                except msgspec.DecodeError as error:
                    raise bad_frame(str(error)) from None
                begin = end
                yield message
        finally:
            if source is buffer:
                del buffer[:begin]
            else:
                buffer += source[begin:]


def bad_frame(problem: str) -> BridgeError:
    """What came is no message of this protocol."""
    return BridgeError(Code.DATA_LOSS, f"the other side of a worker's pipe sent {problem}", reason="BAD_FRAME")
