"""Whatever a frame holds, a peer makes events of it, answers with messages, and keeps count."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.protocols.jsonrpc import Peer
from bridge.protocols.limits import ProtocolLimits
from bridge.protocols.messages import Invalid, Request
from tests.protocols.wire import FRAMINGS, QUICK, MakeFraming, Side, call, cut, framed

LIMITS = ProtocolLimits(max_depth=8, max_batch=4, max_in_flight=3)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | VALUES,
        "id": st.sampled_from([1, 2, "a", None, 1.5]) | VALUES,
        "method": st.sampled_from(["echo", "hold", "fail", "$/cancelRequest", "notifications/cancelled"]) | VALUES,
        "params": VALUES | st.fixed_dictionaries({"id": st.sampled_from([1, "a"])}),
        "result": VALUES,
        "error": VALUES | st.fixed_dictionaries({"code": st.integers(), "message": st.text(max_size=3)}),
    },
)
DOCUMENTS = (MESSAGES | st.lists(MESSAGES | VALUES, max_size=5)).map(lambda value: json.dumps(value).encode())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A document with some bytes changed, taken out or put in."""
    text = bytearray(draw(DOCUMENTS))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        text[place : place + draw(st.integers(0, 2))] = draw(
            st.binary(max_size=2) | st.sampled_from([b"[", b'"', b"\\"])
        )
    return bytes(text)


@QUICK
@given(st.lists(damaged() | DOCUMENTS | st.binary(max_size=60), max_size=6))
def test_J05_no_text_raises_and_each_answer_is_a_message(texts: list[bytes]) -> None:
    peer = Peer(LIMITS)
    for text in texts:
        for event in peer.receive(text):
            msgspec.json.encode(event)
            answers = json.loads(event.answer) if isinstance(event, Invalid) and event.answer else []
            for answer in answers if isinstance(answers, list) else [answers]:
                assert set(answer) == {"jsonrpc", "id", "error"}
            if isinstance(event, Request):
                assert event.params is None or isinstance(json.loads(bytes(event.params)), dict | list)
        assert peer.in_flight <= LIMITS.max_in_flight


@QUICK
@given(texts=st.lists(damaged() | DOCUMENTS, max_size=5), places=st.lists(st.integers(0, 10_000), max_size=10))
@pytest.mark.parametrize("make", FRAMINGS)
def test_F02_a_conversation_is_the_same_however_its_stream_is_cut(
    make: MakeFraming, texts: list[bytes], places: list[int]
) -> None:
    stream = framed(make(), *texts, call("last"))
    whole, pieces = Side(make, LIMITS), Side(make, LIMITS)
    answers: list[Any] = []
    for piece in cut(stream, places):
        answers += pieces.hear_bytes(piece)
    assert whole.hear_bytes(stream) == answers
    assert whole.events == pieces.events
