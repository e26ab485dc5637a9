"""The core of JSON-RPC 2.0, by the numbers of its scenarios, over both framings."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from msgspec import Raw

from bridge.errors import BridgeError, Code, ErrorDetails
from bridge.protocols.jsonrpc import Peer
from bridge.protocols.limits import ProtocolLimits
from bridge.protocols.messages import Cancel, Invalid, Notification, Request, plain
from bridge.protocols.rpc_errors import RpcError
from tests.protocols.wire import FRAMINGS, MakeFraming, Side, call, numbers


@pytest.fixture(params=FRAMINGS)
def make(request: pytest.FixtureRequest) -> MakeFraming:
    """Each framing."""
    made: MakeFraming = request.param
    return made


@pytest.fixture
def side(make: MakeFraming) -> Side:
    """A server."""
    return Side(make)


def test_J01_a_request_gets_one_response(side: Side) -> None:
    answers = side.hear(call(7, params={"text": "hé"}), call(8, "fail"))
    assert answers[0] == {"jsonrpc": "2.0", "id": 7, "result": {"text": "hé"}}
    assert set(answers[1]) == {"jsonrpc", "id", "error"}
    assert len(answers) == 2


@pytest.mark.parametrize("id", ["a", "", "1", 0, 1, -1, 2**53, 2**63 - 1, -(2**63), "é🎈", '"\\'])
def test_J02_an_id_comes_back_as_it_was(side: Side, id: Any) -> None:
    (answer,) = side.hear(call(id))
    assert answer["id"] == id
    assert type(answer["id"]) is type(id)


@pytest.mark.parametrize("id", [None, {}, [], [1], True, False, 1.5, 1.0, 2**63, -(2**63) - 1, 10**30])
def test_J03_an_id_that_is_none_is_refused(side: Side, id: Any) -> None:
    refused, answered = side.hear(call(id), call(1))
    assert numbers([refused]) == [(None, -32600)]
    assert answered["id"] == 1


def test_J03_an_id_with_an_exponent_is_refused(side: Side) -> None:
    assert numbers(side.hear(b'{"jsonrpc":"2.0","id":1e0,"method":"echo"}')) == [(None, -32600)]


def test_J04_notifications_are_never_answered(side: Side) -> None:
    good = {"jsonrpc": "2.0", "method": "echo", "params": [1]}
    unknown = {"jsonrpc": "2.0", "method": "unheard"}
    wrong = {"jsonrpc": "2.0", "method": "echo", "params": 5}
    assert [answer["id"] for answer in side.hear(good, unknown, wrong, call(1))] == [1]
    assert side.events[:2] == [Notification("echo", Raw(b"[1]")), Notification("unheard", None)]
    assert isinstance(side.events[2], Invalid)


@pytest.mark.parametrize(
    "text",
    [
        b"{nope",
        b'{"jsonrpc":"2.0","id":1,"method":"echo"',
        b'{"jsonrpc":"2.0","id":1,"method":"echo"} x',
        b'{"jsonrpc":"2.0","id":1,"method":"echo"}{}',
        b'{"jsonrpc":"2.0","id":1,"method":"echo","params":[1,]}',
        b'{"jsonrpc":"2.0","id":1,"method":"echo","params":[01]}',
        b'{"jsonrpc":"2.0","id":1,"method":"echo","params":[NaN]}',
        b'{"jsonrpc":"1.0","id":1,"method":"echo"',
        b"[",
        b"[1,",
        b'[{"jsonrpc":"2.0","id":1,"method":"echo"}',
        b"nul",
    ],
)
def test_J05_what_is_not_json_is_refused_and_the_next_message_is_heard(side: Side, text: bytes) -> None:
    assert numbers(side.hear(text)) == [(None, -32700)]
    assert [answer["id"] for answer in side.hear(call(1))] == [1]


@pytest.mark.parametrize(
    "text",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"\xff"}',
        b'{"jsonrpc":"2.0","id":1,"method":"echo","params":["\xff"]}',
        b'{"jsonrpc":"2.0","id":1,"method":"echo","params":["\xed\xa0\x80"]}',
        b'{"jsonrpc":"2.0","id":1,"method":"echo","other":"' + b"\xc3\xa9" * 700_000 + b'\xc3"}',
        b'[{"jsonrpc":"2.0","method":"echo","params":["\xc3"]}]',
    ],
)
def test_J06_what_is_not_utf8_is_refused_wherever_it_stands(side: Side, text: bytes) -> None:
    assert numbers(side.hear(text)) == [(None, -32700)]
    assert [answer["id"] for answer in side.hear(call(1))] == [1]


def test_J06_what_is_utf8_is_heard_however_long_it_is(side: Side) -> None:
    text = "€" * 400_000  # a slice of the check ends inside of a character
    (answer,) = side.hear(json.dumps(call(1, params=[text]), ensure_ascii=False).encode())
    assert answer["result"] == [text]


def test_J06_a_byte_order_mark_before_a_message_is_ignored(side: Side) -> None:
    text = json.dumps(call(1)).encode()
    assert [answer["id"] for answer in side.hear(b"\xef\xbb\xbf" + text, b"\xef\xbb\xbf [" + text + b"]")[:1]] == [1]
    assert numbers(side.hear(b"\xef\xbb\xbf" * 2 + text, b"\xef\xbb\xbf")) == [(None, -32700)] * 2


@pytest.mark.parametrize("text", [b"null", b"5", b'"x"', b"true", b"1e400", b"{}"])
def test_J07_a_message_that_is_no_object_of_ours_is_refused(side: Side, text: bytes) -> None:
    assert numbers(side.hear(text)) == [(None, -32600)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"jsonrpc": "1.0", "result": 5},
        {"jsonrpc": "1.0"},
        {"jsonrpc": 2.0},
        {"jsonrpc": None},
        {"method": 5},
        {"method": None},
        {"method": ["echo"]},
    ],
)
def test_J07_a_request_that_is_wrong_is_refused_under_its_id(side: Side, wrong: dict[str, Any]) -> None:
    assert numbers(side.hear(call("a") | wrong)) == [("a", -32600)]
    assert numbers(side.hear({"jsonrpc": "2.0", "method": 1, "params": "bar"})) == [(None, -32600)]


@pytest.mark.parametrize("missing", ["jsonrpc", "method"])
def test_J07_a_request_without_a_member_is_refused_under_its_id(side: Side, missing: str) -> None:
    message = call(3)
    del message[missing]
    assert numbers(side.hear(message)) == [(3, -32600)]


@pytest.mark.parametrize("method", ["unheard", "rpc.discover", "_private", ""])
def test_J08_a_method_that_nobody_has_is_not_found(side: Side, method: str) -> None:
    assert numbers(side.hear(call(1, method))) == [(1, -32601)]


@pytest.mark.parametrize("params", [{"a": 1}, [1, "b"], {}, []])
def test_J09_params_come_by_name_or_by_position(side: Side, params: Any) -> None:
    assert side.hear(call(1, params=params))[0]["result"] == params
    (event,) = side.events
    assert isinstance(event, Request)
    assert event.params is not None
    assert plain(event.params) == params


def test_J09_params_may_be_absent_or_null(side: Side) -> None:
    side.hear(call(1), call(2, params=None))
    assert side.events == [Request(1, "echo", None), Request(2, "echo", None)]


@pytest.mark.parametrize("params", [5, "text", True, -1.5])
def test_J09_params_that_are_no_container_are_refused(side: Side, params: Any) -> None:
    (answer,) = side.hear(call(1, params=params))
    assert numbers([answer]) == [(1, -32602)]
    assert answer["error"]["data"]["violations"][0]["field"] == "$.params"


def test_J14_an_error_of_a_handler_is_told_and_the_connection_lives(side: Side) -> None:
    first, second = side.hear(call(1, "fail"), call(2))
    assert numbers([first]) == [(1, -32052)]
    assert first["error"]["data"] == {"code": "UNKNOWN", "reason": "RuntimeError"}
    assert second["id"] == 2


def test_J14_a_traceback_is_told_only_if_there_is_one() -> None:
    peer = Peer()
    peer.receive(json.dumps(call(1)).encode())
    error = BridgeError(Code.UNKNOWN, "it broke", details=ErrorDetails(debug="Traceback"))
    sent = peer.fail(1, error)
    assert sent is not None
    assert json.loads(sent)["error"]["data"]["debug"] == "Traceback"


@pytest.mark.parametrize("value", [object(), {(1, 2): 3}, "\ud800", {"a": [object()]}])
def test_J15_a_value_that_has_no_json_is_refused_and_the_request_is_still_to_be_answered(value: Any) -> None:
    peer = Peer()
    peer.receive(json.dumps(call(1)).encode())
    with pytest.raises(BridgeError) as caught:
        peer.answer(1, value)
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "UNSUPPORTED_VALUE")
    assert peer.in_flight == 1
    sent = peer.fail(1, caught.value)
    assert sent is not None
    assert numbers([json.loads(sent)]) == [(1, -32602)]


def test_J15_a_value_inside_of_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(BridgeError, match="RecursionError"):
        Peer().notify("log", value)


@pytest.mark.parametrize("value", [Raw(b'{"a": 1}'), b'{"a": 1}', {"a": 1}])
def test_J15_a_result_is_a_json_text_or_a_plain_value(value: Any) -> None:
    peer = Peer()
    peer.receive(json.dumps(call(1)).encode())
    assert json.loads(peer.answer(1, value) or b"") == {"jsonrpc": "2.0", "id": 1, "result": {"a": 1}}


def test_J15_a_result_of_nothing_is_null() -> None:
    peer = Peer()
    peer.receive(json.dumps(call(1)).encode())
    assert peer.answer(1, None) == b'{"jsonrpc":"2.0","id":1,"result":null}'


def test_J16_a_second_request_of_a_running_id_is_refused_and_the_first_is_answered(side: Side) -> None:
    refused = side.hear(call(1, "hold"), call(1), call(1, params=5), call(1) | {"method": 5})
    assert numbers(refused[:1]) == [(None, -32600)]
    assert refused[0]["error"]["data"]["reason"] == "DUPLICATE_ID"
    assert all(answer["id"] is None for answer in refused)  # its own id would answer the first
    assert len(refused) == 3
    assert side.peer.answer(1, b"5") == b'{"jsonrpc":"2.0","id":1,"result":5}'
    assert [answer["id"] for answer in side.hear(call(1))] == [1]  # it runs no more


def test_J16_a_number_and_its_text_are_two_ids(side: Side) -> None:
    assert side.hear(call(1, "hold"), call("1", "hold")) == []
    assert side.peer.answer("1", True) == b'{"jsonrpc":"2.0","id":"1","result":true}'
    assert side.peer.in_flight == 1


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
        b'{"jsonrpc":"2.0","id":1,"method":"echo","params":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"jsonrpc":"2.0","id":1,"method":"echo","params":' + b"[" * 128 + b"]" * 128 + b"}",
    ],
)
def test_J17_what_is_nested_too_deep_is_refused_before_it_is_read(side: Side, text: bytes) -> None:
    tracemalloc.start()
    try:
        (answer,) = side.hear(text)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(text) + 200_000
    finally:
        tracemalloc.stop()
    assert numbers([answer]) == [(None, -32600)]
    assert "128 levels" in answer["error"]["message"]
    assert [answer["id"] for answer in side.hear(call(1))] == [1]


def test_J17_what_is_as_deep_as_allowed_is_heard(side: Side) -> None:
    text = b'{"jsonrpc":"2.0","id":1,"method":"echo","params":' + b"[" * 127 + b"]" * 127 + b"}"
    assert [answer["id"] for answer in side.hear(text)] == [1]


def test_J17_a_limit_beyond_the_stack_is_no_way_to_crash_it() -> None:
    side = Side(limits=ProtocolLimits(max_depth=1_000_000))
    assert numbers(side.hear(b"[" * 100_000 + b"]" * 100_000)) == [(None, -32700)]


def test_J18_a_number_of_any_length_passes_untouched(side: Side) -> None:
    number = "9" * 5000
    side.hear(f'{{"jsonrpc":"2.0","id":1,"method":"hold","params":[{number}]}}'.encode())
    (event,) = side.events
    assert isinstance(event, Request)
    assert event.params == Raw(f"[{number}]".encode())
    with pytest.raises(BridgeError) as caught:
        plain(event.params)
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "VALUE_REFUSED")
    assert "999" not in caught.value.message


@pytest.mark.parametrize("escape", [b"\\ud800", b"\\udc00", b"\\ud800\\ud800"])
def test_J18_half_of_a_surrogate_pair_is_not_json(side: Side, escape: bytes) -> None:
    assert numbers(side.hear(b'{"jsonrpc":"2.0","id":1,"method":"echo","params":["' + escape + b'"]}')) == [
        (None, -32700)
    ]


def test_J18_a_surrogate_pair_is_one_character(side: Side) -> None:
    (answer,) = side.hear(b'{"jsonrpc":"2.0","id":1,"method":"echo","params":["\\ud83c\\udf88"]}')
    assert answer["result"] == ["🎈"]


def test_J18_of_two_members_of_a_name_the_last_counts(side: Side) -> None:
    (answer,) = side.hear(b'{"jsonrpc":"2.0","id":1,"id":2,"method":"no","method":"echo","params":{"a":1,"a":2}}')
    assert answer["id"] == 2
    assert answer["result"] == {"a": 2}


def test_C01_answers_go_out_in_the_order_in_which_they_are_ready(side: Side) -> None:
    first, second = side.hear(call(1, "hold"), call(2), call(3))
    assert (first["id"], second["id"]) == (2, 3)
    assert json.loads(side.peer.answer(1, "slow") or b"")["id"] == 1


@pytest.mark.parametrize(("method", "name"), [("$/cancelRequest", "id"), ("notifications/cancelled", "requestId")])
@pytest.mark.parametrize("id", [1, "a"])
def test_C02_a_cancel_names_the_running_request(side: Side, method: str, name: str, id: Any) -> None:
    side.hear(call(id, "hold"), {"jsonrpc": "2.0", "method": method, "params": {name: id, "reason": "x"}})
    assert side.events[1] == Cancel(id)
    assert side.peer.in_flight == 1
    sent = side.peer.fail(id, BridgeError(Code.CANCELLED, "the call was cancelled", reason="CANCELLED"))
    assert numbers([json.loads(sent or b"")]) == [(id, -32800)]


def test_C02_a_cancelled_request_may_be_dropped(side: Side) -> None:
    side.hear(call(1, "hold"))
    assert side.peer.drop(1) is None
    assert side.peer.in_flight == 0
    assert side.peer.answer(1, b"5") is None  # too late
    assert side.peer.fail(1, RpcError(1, "late")) is None
    assert side.peer.drop(1) is None


def test_C04_a_cancel_of_nothing_that_runs_is_ignored(side: Side) -> None:
    def cancel(params: Any) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": params}

    assert side.hear(call(1), cancel({"id": 1}), cancel({"id": 99}), cancel({"id": "1"})) != []
    assert len(side.events) == 1
    assert side.hear(cancel({}), cancel([1]), cancel(None), cancel({"id": 1.5}), cancel({"requestId": 1})) == []
    assert all(isinstance(event, Invalid) and event.answer is None for event in side.events[1:])


def test_C09_over_the_limit_of_running_requests_the_answer_is_busy(make: MakeFraming) -> None:
    side = Side(make, ProtocolLimits(max_in_flight=2))
    (refused,) = side.hear(call(1, "hold"), call(2, "hold"), call(3))
    assert numbers([refused]) == [(3, -32058)]
    assert refused["error"]["data"]["reason"] == "SERVER_BUSY"
    assert refused["error"]["data"]["retry_after"] == 0.1
    side.peer.answer(1, None)
    assert [answer["id"] for answer in side.hear(call(3))] == [3]


def test_what_comes_is_never_repeated_in_a_refusal(side: Side) -> None:
    secret = "hunter2"
    for answer in side.hear(
        call(1, secret) | {"jsonrpc": secret},
        call([secret]),
        call(2, params=secret),
        f'{{"{secret}'.encode(),
    ):
        assert secret not in json.dumps(answer)
