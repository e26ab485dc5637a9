"""Errors survive the way through JSON-RPC, and have the numbers that others know."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from bridge.errors import BridgeError, Code, ErrorDetails, FieldViolation, invalid_argument
from bridge.protocols.framing import FramingViolation
from bridge.protocols.jsonrpc import Peer, parse_error
from bridge.protocols.messages import Unmatched
from bridge.protocols.rpc_errors import RpcError, from_rpc_error, to_rpc_error
from tests.protocols.wire import QUICK

TEXT = st.text(max_size=50)
ANY_TEXT = TEXT | st.text(alphabet="a\ud800\x00\udfff", max_size=5)


def errors(text: st.SearchStrategy[str]) -> st.SearchStrategy[BridgeError]:
    """Errors of all kinds."""
    details = st.builds(
        ErrorDetails,
        violations=st.lists(st.builds(FieldViolation, text, text), max_size=3).map(tuple),
        retry_after=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        metadata=st.dictionaries(st.sampled_from(["error_id", "current_version", "b"]) | text, text, max_size=3),
        debug=st.none() | text,
    )
    reasons = st.sampled_from(["", "TOOL_NOT_FOUND", "METHOD_NOT_FOUND", "ValueError"]) | text
    return st.builds(
        lambda code, message, reason, details: BridgeError(code, message, reason=reason, details=details),
        st.sampled_from(Code),
        text,
        reasons,
        details,
    )


def over_the_wire(error: BridgeError) -> BridgeError:
    return from_rpc_error(msgspec.json.decode(msgspec.json.encode(to_rpc_error(error)), type=RpcError))


@QUICK
@given(errors(TEXT))
def test_an_error_comes_back_whole(error: BridgeError) -> None:
    back = over_the_wire(error)
    assert (back.code, back.message, back.reason, back.details) == (
        error.code,
        error.message,
        error.reason,
        error.details,
    )


@QUICK
@given(errors(ANY_TEXT))
def test_text_that_utf8_cannot_carry_does_not_stop_an_error(error: BridgeError) -> None:
    assert over_the_wire(error).code is error.code


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_a_time_that_is_none_is_left_out(seconds: float) -> None:
    error = BridgeError(Code.UNAVAILABLE, "later", details=ErrorDetails(retry_after=seconds))
    assert over_the_wire(error).retry_after is None


def test_each_code_has_a_number_of_its_own() -> None:
    numbers = {code: to_rpc_error(BridgeError(code, "")).code for code in Code}
    assert len(set(numbers.values())) == len(Code)
    known = {Code.INVALID_ARGUMENT: -32602, Code.INTERNAL: -32603, Code.CANCELLED: -32800}
    assert known.items() <= numbers.items()
    assert numbers[Code.DEADLINE_EXCEEDED] == -32001
    assert all(-32099 <= number <= -32000 for code, number in numbers.items() if code not in known)
    assert all(from_rpc_error(RpcError(number, "")).code is code for code, number in numbers.items())


@pytest.mark.parametrize(("reason", "number"), [("TOOL_NOT_FOUND", -32601), ("METHOD_NOT_FOUND", -32601), ("", -32055)])
def test_what_is_no_method_has_another_number_than_what_is_no_session(reason: str, number: int) -> None:
    assert to_rpc_error(BridgeError(Code.NOT_FOUND, "none", reason=reason)).code == number


def test_a_reason_that_sounds_like_the_protocols_does_not_choose_a_number() -> None:
    error = BridgeError(Code.INVALID_ARGUMENT, "the file is not JSON", reason="PARSE_ERROR")
    assert to_rpc_error(error).code == -32602


def test_a_violation_comes_back_as_what_it_was() -> None:
    violation = FramingViolation(Code.RESOURCE_EXHAUSTED, "too large", reason="FRAME_TOO_LARGE")
    (event,) = Peer().receive(parse_error(violation))
    assert isinstance(event, Unmatched)
    assert event.error is not None
    assert event.error.code == -32700
    back = from_rpc_error(event.error)
    assert (back.code, back.message, back.reason) == (Code.RESOURCE_EXHAUSTED, "too large", "FRAME_TOO_LARGE")


def test_data_says_what_the_number_cannot() -> None:
    error = invalid_argument("$.a", "is required")
    assert msgspec.json.decode(to_rpc_error(error).data) == {
        "code": "INVALID_ARGUMENT",
        "reason": "INVALID_ARGUMENT",
        "violations": [{"field": "$.a", "description": "is required"}],
    }
    failed = BridgeError(Code.UNKNOWN, "", details=ErrorDetails(metadata={"error_id": "00ff", "a": "b"}))
    assert msgspec.json.decode(to_rpc_error(failed).data) == {
        "code": "UNKNOWN",
        "error_id": "00ff",
        "metadata": {"a": "b"},
    }


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (-32700, Code.INVALID_ARGUMENT),
        (-32600, Code.INVALID_ARGUMENT),
        (-32601, Code.NOT_FOUND),
        (-32801, Code.ABORTED),
        (-32802, Code.CANCELLED),
        (-32000, Code.UNKNOWN),
        (1, Code.UNKNOWN),
        (10**30, Code.UNKNOWN),
    ],
)
def test_errors_of_other_servers_have_a_code(number: int, code: Code) -> None:
    assert from_rpc_error(RpcError(number, "text")).code is code


@pytest.mark.parametrize(
    "data", [b'"text"', b"[1]", b'{"code":5}', b'{"violations":"x"}', b"{nope", b'{"code":"ENOENT"}']
)
def test_data_that_is_not_ours_is_left_out(data: bytes) -> None:
    error = from_rpc_error(RpcError(-32602, "text", Raw(data)))
    assert (error.code, error.message, error.details) == (Code.INVALID_ARGUMENT, "text", ErrorDetails())


@QUICK
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | TEXT,
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["code", "reason", "error_id", "retry_after", "violations", "metadata", "debug"]), inner
            )
        ),
    )
)
def test_no_data_of_others_raises(data: Any) -> None:
    assert from_rpc_error(RpcError(1, "text", Raw(msgspec.json.encode(data)))).message == "text"
