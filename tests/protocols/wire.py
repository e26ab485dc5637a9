"""Both ends of a connection in memory, as the tests of the protocols use them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from hypothesis import settings

from bridge.errors import BridgeError, Code
from bridge.protocols.content_length import ContentLength
from bridge.protocols.framing import Framing, FramingViolation
from bridge.protocols.jsonrpc import Peer, parse_error
from bridge.protocols.limits import DEFAULT_LIMITS, ProtocolLimits
from bridge.protocols.messages import Event, Invalid, Request
from bridge.protocols.newline import Newline

QUICK = settings(derandomize=True, deadline=None, database=None, max_examples=150)

MakeFraming: TypeAlias = Callable[..., Framing]
FRAMINGS: list[MakeFraming] = [ContentLength, Newline]


def heard(framing: Framing, pieces: Iterable[bytes]) -> tuple[list[bytes], FramingViolation | None]:
    """The texts in a stream that comes in pieces, and what ended it."""
    texts: list[bytes] = []
    try:
        for piece in pieces:
            texts.extend(framing.feed(piece))  # keeps what came before a violation
    except FramingViolation as violation:
        return texts, violation
    return texts, None


def each_byte(stream: bytes) -> list[bytes]:
    """A stream that comes byte by byte."""
    return [stream[place : place + 1] for place in range(len(stream))]


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    """A stream cut at these places."""
    bounds = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[begin:end] for begin, end in itertools.pairwise(bounds)]


def framed(framing: Framing, *messages: Any) -> bytes:
    """The stream of some messages; ``bytes`` are a text as it is."""
    texts = (each if isinstance(each, bytes) else json.dumps(each).encode() for each in messages)
    return b"".join(part for text in texts for part in framing.encode(text))


def call(id: Any, method: str = "echo", **more: Any) -> dict[str, Any]:
    """A request."""
    return {"jsonrpc": "2.0", "id": id, "method": method, **more}


class Side:
    """A server: ``echo`` answers its params, ``fail`` fails, ``hold`` is not answered, everything else is unknown."""

    def __init__(self, make: MakeFraming = ContentLength, limits: ProtocolLimits = DEFAULT_LIMITS) -> None:
        self.framing, self.peer = make(limits), Peer(limits)
        self.events: list[Event] = []

    def hear(self, *messages: Any) -> list[Any]:
        """What it sends after it heard these messages."""
        return self.hear_bytes(framed(self.framing, *messages))

    def hear_bytes(self, stream: bytes) -> list[Any]:
        """The same for a stream."""
        sent: list[bytes | None] = []
        try:
            for text in self.framing.feed(stream):
                for event in self.peer.receive(text):
                    self.events.append(event)
                    sent.append(self._answer(event))
        except FramingViolation as violation:
            sent.append(parse_error(violation))
        return self._received([text for text in sent if text is not None])

    def _received(self, texts: list[bytes]) -> list[Any]:
        """What the other side gets, through the same framing."""
        framing = type(self.framing)()
        stream = b"".join(part for text in texts for part in framing.encode(text))
        assert list(framing.feed(stream)) == texts
        return [json.loads(text) for text in texts]

    def _answer(self, event: Event) -> bytes | None:
        if isinstance(event, Invalid):
            return event.answer
        if not isinstance(event, Request) or event.method == "hold":
            return None
        if event.method == "echo":
            return self.peer.answer(event.id, event.params)
        if event.method == "fail":
            return self.peer.fail(event.id, BridgeError(Code.UNKNOWN, "it broke", reason="RuntimeError"))
        return self.peer.fail(event.id, BridgeError(Code.NOT_FOUND, "no such method", reason="METHOD_NOT_FOUND"))


def numbers(answers: list[Any]) -> list[tuple[Any, int]]:
    """Ids and numbers of errors."""
    return [(answer["id"], answer["error"]["code"]) for answer in answers]
