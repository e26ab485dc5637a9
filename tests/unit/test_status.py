"""Errors survive the way through a gRPC status, and fit into the trailers every client takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BridgeError, Code, ErrorDetails, FieldViolation
from bridge.status import MAX_MESSAGE_BYTES, MAX_STATUS_BYTES, from_status, to_status, wire_message

ANY_TEXT = st.text(max_size=5000) | st.text(alphabet="é🎈\ud800\x00\x1b%a", max_size=5000)


def there_and_back(error: BridgeError) -> BridgeError:
    return from_status(int(error.code), wire_message(error), to_status(error))


def test_an_error_comes_back_whole() -> None:
    details = ErrorDetails(
        violations=(FieldViolation("$.a[3]", "is wrong"), FieldViolation("$.b", "is required")),
        retry_after=0.25,
        metadata={"error_id": "00ff"},
        debug="Traceback",
    )
    back = there_and_back(BridgeError(Code.RESOURCE_EXHAUSTED, "später", reason="SERVER_BUSY", details=details))
    assert (back.code, back.message, back.reason) == (Code.RESOURCE_EXHAUSTED, "später", "SERVER_BUSY")
    assert back.details == details


@given(
    message=ANY_TEXT,
    reason=ANY_TEXT,
    debug=st.none() | ANY_TEXT,
    metadata=st.dictionaries(st.sampled_from(["a", "b", "c"]), ANY_TEXT),
    violations=st.lists(st.builds(FieldViolation, ANY_TEXT, ANY_TEXT), max_size=8),
)
def test_whatever_an_error_holds_its_status_fits(
    message: str, reason: str, debug: str | None, metadata: dict[str, str], violations: list[FieldViolation]
) -> None:
    details = ErrorDetails(tuple(violations), 1.0, metadata, debug)
    error = BridgeError(Code.UNKNOWN, message, reason=reason, details=details)
    text = wire_message(error)
    assert sum(1 if " " <= c <= "~" and c != "%" else 3 * len(c.encode()) for c in text) <= MAX_MESSAGE_BYTES
    assert len(to_status(error)) <= MAX_STATUS_BYTES
    assert there_and_back(error).retry_after == 1.0


@given(st.binary(max_size=200))
def test_details_that_are_none_are_left_out(status: bytes) -> None:
    assert from_status(5, "gone", status).code is Code.NOT_FOUND


@pytest.mark.parametrize("code", [0, 17, 99, -1])
def test_an_unknown_code_is_unknown(code: int) -> None:
    assert from_status(code, "", None).code is Code.UNKNOWN


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -1e300])
def test_a_time_that_is_none_is_left_out(seconds: float) -> None:
    error = BridgeError(Code.UNAVAILABLE, "later", details=ErrorDetails(retry_after=seconds))
    back = there_and_back(error)
    assert (back.code, back.message, back.retry_after) == (Code.UNAVAILABLE, "later", None)
