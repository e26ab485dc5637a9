"""The side that asks: its requests, their answers, cancels and progress."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from bridge.errors import BridgeError, Code
from bridge.protocols.jsonrpc import Peer
from bridge.protocols.messages import Invalid, Notification, Request, Response, Unmatched, plain, progress_token
from bridge.protocols.rpc_errors import RpcError, from_rpc_error


def answer(id: Any, **outcome: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id, **outcome}).encode()


def test_two_peers_ask_each_other() -> None:
    client, server = Peer(), Peer()
    id, text = client.request("tools.call", {"name": "echo"})
    (asked,) = server.receive(text)
    assert asked == Request(id, "tools.call", Raw(b'{"name":"echo"}'))
    back_id, back_text = server.request("variables.get", [1])
    assert [type(event) for event in client.receive(back_text)] == [Request]
    assert server.receive(client.answer(back_id, b"[2]") or b"") == [Response(back_id, Raw(b"[2]"))]
    assert client.receive(server.answer(id, "done") or b"") == [Response(id, Raw(b'"done"'))]
    assert (client.waiting, client.in_flight, server.waiting, server.in_flight) == (0, 0, 0, 0)


@pytest.mark.parametrize("params", [b"[1]", Raw(b"[1]"), [1], (1,)])
def test_params_are_a_json_text_or_a_value(params: Any) -> None:
    assert json.loads(Peer().request("m", params)[1])["params"] == [1]
    assert json.loads(Peer().notify("m", params)) == {"jsonrpc": "2.0", "method": "m", "params": [1]}


def test_without_params_there_is_no_such_member() -> None:
    assert json.loads(Peer().request("m")[1]) == {"jsonrpc": "2.0", "id": 1, "method": "m"}
    assert json.loads(Peer().notify("m")) == {"jsonrpc": "2.0", "method": "m"}


def test_params_without_json_are_refused_and_nobody_waits() -> None:
    peer = Peer()
    with pytest.raises(BridgeError, match=r"\$\.params") as caught:
        peer.request("m", {"a": object()})
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert peer.waiting == 0


def test_an_error_comes_to_the_one_who_asked() -> None:
    client, server = Peer(), Peer()
    id, text = client.request("m")
    server.receive(text)
    sent = server.fail(id, BridgeError(Code.NOT_FOUND, "no such session", reason="SESSION_NOT_FOUND"))
    (response,) = client.receive(sent or b"")
    assert isinstance(response, Response)
    assert response.result is None
    assert response.error is not None
    error = from_rpc_error(response.error)
    assert (error.code, error.reason, error.message) == (Code.NOT_FOUND, "SESSION_NOT_FOUND", "no such session")


@pytest.mark.parametrize("id", [0, 2, "1", "", None])
def test_an_answer_that_nobody_waits_for_is_nobodys(id: Any) -> None:
    peer = Peer()
    peer.request("m")
    assert peer.receive(answer(id, result=1)) == [Unmatched(id)]
    assert peer.waiting == 1


def test_a_second_answer_is_nobodys() -> None:
    peer = Peer()
    id, _ = peer.request("m")
    assert peer.receive(answer(id, result=1)) == [Response(id, Raw(b"1"))]
    assert peer.receive(answer(id, result=2)) == [Unmatched(id)]


def test_C06_an_answer_after_a_cancel_is_nobodys_and_its_id_is_not_used_again() -> None:
    client, server = Peer(), Peer()
    id, text = client.request("m")
    server.receive(text)
    assert json.loads(client.cancel(id)) == {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id}}
    assert client.waiting == 0
    other, _ = client.request("m")
    assert other != id
    assert client.receive(server.answer(id, 1) or b"") == [Unmatched(id)]
    assert client.waiting == 1


def test_a_side_that_could_not_read_says_so_without_an_id() -> None:
    client = Peer()
    client.request("m")
    (refused,) = Peer().receive(b"{nope")
    assert isinstance(refused, Invalid)
    (event,) = client.receive(refused.answer or b"")
    assert event == Unmatched(None, refused.error)


def test_a_result_of_null_is_a_result() -> None:
    peer = Peer()
    id, _ = peer.request("m")
    assert peer.receive(answer(id, result=None)) == [Response(id, Raw(b"null"))]


def test_an_error_of_null_is_none() -> None:
    peer = Peer()
    id, _ = peer.request("m")
    assert peer.receive(answer(id, result=5, error=None)) == [Response(id, Raw(b"5"))]


@pytest.mark.parametrize(
    "outcome",
    [{}, {"error": None}, {"error": "text"}, {"error": {}}, {"error": {"code": "x", "message": ""}}, {"error": [1]}],
)
def test_an_answer_that_is_none_fails_the_one_who_waits(outcome: dict[str, Any]) -> None:
    peer = Peer()
    id, _ = peer.request("m")
    (response,) = peer.receive(answer(id, **outcome))
    assert isinstance(response, Response)
    assert response.error is not None
    assert from_rpc_error(response.error).reason == "BAD_ANSWER"


@pytest.mark.parametrize("outcome", [{"result": 1}, {"error": {"code": 1, "message": ""}}])
def test_an_answer_that_is_wrong_is_not_answered(outcome: dict[str, Any]) -> None:
    peer = Peer()
    for text in (answer(1.5, **outcome), json.dumps({"id": 1, **outcome}).encode()):
        (event,) = peer.receive(text)
        assert isinstance(event, Invalid)
        assert event.answer is None


def test_data_of_an_error_may_be_anything() -> None:
    peer = Peer()
    id, _ = peer.request("m")
    error = {"code": 5, "message": "no", "data": [1, {"a": None}]}
    assert peer.receive(answer(id, error=error)) == [Response(id, None, RpcError(5, "no", Raw(b'[1, {"a": null}]')))]


@pytest.mark.parametrize(
    ("params", "token"),
    [
        ({"_meta": {"progressToken": "a"}}, "a"),
        ({"_meta": {"progressToken": 7, "other": 1}, "name": "x"}, 7),
        ({"progressToken": 7}, 7),
        ({"progressToken": 7, "_meta": {"progressToken": "a"}}, "a"),
        ({"progressToken": 0}, 0),
        ({"progressToken": 1.5}, None),
        ({"progressToken": {"a": 1}}, None),
        ({"_meta": 5}, None),
        ({}, None),
        (["progressToken"], None),
        (None, None),
    ],
)
def test_C08_a_request_may_bring_a_name_for_its_progress(params: Any, token: Any) -> None:
    client, server = Peer(), Peer()
    (request,) = server.receive(client.request("m", params)[1])
    assert isinstance(request, Request)
    assert progress_token(request.params) == token


def test_C08_progress_is_a_notification_with_that_name() -> None:
    client, server = Peer(), Peer()
    (event,) = client.receive(server.progress("a", {"percent": 50}))
    assert isinstance(event, Notification)
    assert event.method == "$/progress"
    assert plain(event.params or Raw()) == {"token": "a", "value": {"percent": 50}}
    assert server.progress(1, b"[5]") == b'{"jsonrpc":"2.0","method":"$/progress","params":{"token":1,"value":[5]}}'
