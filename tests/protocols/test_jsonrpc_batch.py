"""Batches: their messages come one by one, and their answers go out together."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from bridge.protocols.content_length import ContentLength
from bridge.protocols.limits import ProtocolLimits
from bridge.protocols.messages import Cancel, Invalid, Notification, Request, Response
from tests.protocols.wire import FRAMINGS, MakeFraming, Side, call, numbers

NOTE = {"jsonrpc": "2.0", "method": "echo"}


@pytest.fixture(params=FRAMINGS)
def side(request: pytest.FixtureRequest) -> Side:
    """A server over each framing."""
    make: MakeFraming = request.param
    return Side(make)


def sent(text: bytes | None) -> Any:
    assert text is not None
    return json.loads(text)


def test_J10_three_requests_and_a_notification_give_an_array_of_three(side: Side) -> None:
    (answers,) = side.hear([call(1, params=[1]), NOTE, call("b", "fail"), call(3, "unheard")])
    assert [answer["id"] for answer in answers] == [1, "b", 3]
    assert answers[0]["result"] == [1]
    assert numbers(answers[1:]) == [("b", -32052), (3, -32601)]
    assert [type(event) for event in side.events] == [Request, Notification, Request, Request]


def test_J10_the_array_goes_out_with_the_last_answer(side: Side) -> None:
    assert side.hear([call(1, "hold"), call(2), call(3, "hold")]) == []
    assert side.peer.answer(3, 3) is None
    assert [answer["id"] for answer in sent(side.peer.answer(1, 1))] == [2, 3, 1]
    assert side.peer.in_flight == 0


def test_J10_requests_of_batches_run_beside_each_other_and_single_ones(side: Side) -> None:
    side.hear([call(1, "hold")], [call(2, "hold"), call(3, "hold")], call(4, "hold"))
    assert side.peer.answer(2, None) is None
    assert sent(side.peer.answer(4, None))["id"] == 4
    assert [answer["id"] for answer in sent(side.peer.answer(1, None))] == [1]
    assert [answer["id"] for answer in sent(side.peer.answer(3, None))] == [2, 3]


def test_J10_an_array_of_one_is_answered_by_an_array(side: Side) -> None:
    (answers,) = side.hear([call(1)])
    assert [answer["id"] for answer in answers] == [1]


def test_J10_an_array_may_have_blanks_before_it(side: Side) -> None:
    (answers,) = side.hear(b" \t[" + json.dumps(call(1)).encode() + b"]")
    assert [answer["id"] for answer in answers] == [1]


def test_J11_a_batch_of_notifications_is_not_answered(side: Side) -> None:
    assert side.hear([NOTE, NOTE]) == []
    assert len(side.events) == 2


def test_J12_an_empty_batch_is_one_error(side: Side) -> None:
    assert numbers(side.hear([], b" [ ] ")) == [(None, -32600)] * 2


def test_J12_each_element_that_is_no_message_is_an_error(side: Side) -> None:
    assert [numbers(answers) for answers in side.hear([1, 2])] == [[(None, -32600)] * 2]
    assert [numbers(answers) for answers in side.hear([[], NOTE, {"id": 5}])] == [[(None, -32600), (5, -32600)]]
    assert [event.answer is None for event in side.events if isinstance(event, Invalid)] == [True, False, True, False]


def test_J12_good_and_bad_elements_are_answered_together(side: Side) -> None:
    assert side.hear([1, call(1, "hold"), {"jsonrpc": "2.0"}]) == []
    answers = sent(side.peer.answer(1, "x"))
    assert numbers(answers[:2]) == [(None, -32600)] * 2
    assert answers[2]["result"] == "x"


def test_J13_of_a_batch_that_is_too_large_nothing_runs(side: Side) -> None:
    (refused,) = side.hear([call(number) for number in range(101)])
    assert numbers([refused]) == [(None, -32600)]
    assert "more than 100 messages" in refused["error"]["message"]
    assert [type(event) for event in side.events] == [Invalid]
    assert len(side.hear([call(number) for number in range(100)])[0]) == 100


def test_J13_a_batch_of_many_small_elements_takes_no_more_memory_than_its_text() -> None:
    side = Side()
    stream = b"".join(ContentLength().encode(b"[" + b"1," * 1_000_000 + b"1]"))
    tracemalloc.start()
    try:
        (refused,) = side.hear_bytes(stream)
        assert tracemalloc.get_traced_memory()[1] < 2.2 * len(stream)
    finally:
        tracemalloc.stop()
    assert numbers([refused]) == [(None, -32600)]


def test_J16_an_id_twice_in_a_batch_is_refused_the_second_time(side: Side) -> None:
    (answers,) = side.hear([call(1, "hold"), call(1, "hold")]) or [sent(side.peer.answer(1, "first"))]
    assert numbers(answers[:1]) == [(None, -32600)]
    assert answers[1] == {"jsonrpc": "2.0", "id": 1, "result": "first"}


def test_C02_a_dropped_request_is_left_out_of_the_array(side: Side) -> None:
    side.hear([call(1, "hold"), call(2, "hold")], [call(3, "hold")])
    assert side.peer.answer(1, 1) is None
    assert [answer["id"] for answer in sent(side.peer.drop(2))] == [1]
    assert side.peer.drop(3) is None
    assert side.peer.in_flight == 0


def test_C02_a_batch_may_cancel_a_request_of_its_own(side: Side) -> None:
    side.hear([call(1, "hold"), {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": 1}}])
    assert side.events[1] == Cancel(1)


def test_C09_the_limit_of_running_requests_counts_those_of_batches() -> None:
    side = Side(limits=ProtocolLimits(max_in_flight=2))
    side.hear([call(number, "hold") for number in range(4)])
    assert side.peer.in_flight == 2
    side.peer.answer(0, None)
    assert numbers(sent(side.peer.answer(1, None))[:2]) == [(2, -32058), (3, -32058)]


def test_answers_may_come_in_a_batch(side: Side) -> None:
    first, _ = side.peer.request("a")
    second, _ = side.peer.request("b")
    assert side.hear([{"jsonrpc": "2.0", "id": id, "result": id} for id in (second, first)]) == []
    assert [event.id for event in side.events if isinstance(event, Response)] == [second, first]
