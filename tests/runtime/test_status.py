"""Errors of a plugin travel as those of the bridge do."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.rpc import status_pb2
from hypothesis import example, given
from hypothesis import strategies as st

from bridge import errors as full_errors
from bridge import status as full_status
from bridge.runtime import errors, status
from bridge.runtime.errors import BridgeError, Code, ErrorDetails, FieldViolation
from tests.unit.codec_values import QUICK

ANY_TEXT = st.text(max_size=5000) | st.text(alphabet="é🎈\ud800\x00\x1b%a", max_size=5000) | st.just("x" * 5000)
CODES = st.sampled_from(list(Code))


def facts(error: Any) -> tuple[Any, ...]:
    """All there is to an error of either kind."""
    details = error.details
    violations = [(one.field, one.description) for one in details.violations]
    return (
        int(error.code),
        error.message,
        error.reason,
        violations,
        details.retry_after,
        dict(details.metadata),
        details.debug,
    )


def twins(
    code: int,
    message: str,
    reason: str = "",
    violations: Any = (),
    retry_after: float | None = None,
    metadata: Any = None,
    debug: str | None = None,
) -> tuple[BridgeError, full_errors.BridgeError]:
    """An error of each kind."""
    return tuple(
        module.BridgeError(
            module.Code(code),
            message,
            reason=reason,
            details=module.ErrorDetails(
                tuple(module.FieldViolation(*one) for one in violations), retry_after, metadata or {}, debug
            ),
        )
        for module in (errors, full_errors)
    )  # type: ignore[return-value]


@QUICK
@given(
    CODES,
    ANY_TEXT,
    ANY_TEXT,
    st.lists(st.tuples(ANY_TEXT, ANY_TEXT), max_size=8),
    st.none() | st.floats(-1e5, 1e9),
    st.dictionaries(st.sampled_from(["a", "b", "k" * 5000]), ANY_TEXT, max_size=1),
    st.none() | ANY_TEXT,
)
@example(Code.ABORTED, "x", "", [], 0.0, {}, "")
@example(Code.ABORTED, "x", "", [], -1.5, {}, None)
@example(Code.ABORTED, "x" * 2048, "R" * 128, [("f" * 256, "d" * 512)] * 8, 0.1, {"k": "v" * 512}, "t" * 4096)
@example(Code.ABORTED, "x", "R", [], None, {}, "".join(map(str, range(2000))))
@example(Code.ABORTED, "é" * 1024, "R", [("f", "d")] * 300, None, {}, "t" * 4096)
def test_a_status_has_the_bytes_of_the_bridge(
    code: Code, message: str, reason: str, violations: Any, retry_after: Any, metadata: Any, debug: Any
) -> None:
    ours, full = twins(code, message, reason, violations, retry_after, metadata, debug)
    data = status.to_status(ours)
    assert data == full_status.to_status(full)
    assert len(data) <= status.MAX_STATUS_BYTES
    assert facts(status.read_status(data)) == facts(full_status.read_status(data))


def test_an_error_comes_back_whole() -> None:
    details = ErrorDetails(
        violations=(FieldViolation("$.a[3]", "is wrong"), FieldViolation("$.b", "is required")),
        retry_after=0.25,
        metadata={"error_id": "00ff", "more": "x"},
        debug="Traceback",
    )
    error = BridgeError(Code.RESOURCE_EXHAUSTED, "später", reason="SERVER_BUSY", details=details)
    back = status.read_status(status.to_status(error))
    assert facts(back) == facts(error)
    assert type(back.details) is ErrorDetails
    assert facts(full_status.read_status(status.to_status(error))) == facts(error)


def test_metadata_that_does_not_fit_is_left_out() -> None:
    ours, full = twins(5, "x", "REASON", metadata={f"key {i}": "x" * 500 for i in range(20)})
    for back in (status.read_status(status.to_status(ours)), full_status.read_status(full_status.to_status(full))):
        assert (back.reason, dict(back.details.metadata)) == ("REASON", {})


def test_what_just_fits_is_there_as_in_the_bridge() -> None:
    metadata = dict.fromkeys("abcd", "x" * 500)
    lengths = set()
    for size in range(1500, 2040):
        ours, full = twins(5, "x" * size, "REASON", metadata=metadata, violations=[("f", "d" * 500)], retry_after=1.5)
        data, expected = status.to_status(ours), full_status.to_status(full)
        assert len(data) == len(expected)  # entries of metadata come in any order
        assert facts(status.read_status(data)) == facts(full_status.read_status(expected))
        lengths.add(len(data) - size)
    assert len(lengths) > 1


@pytest.mark.parametrize("seconds", [math.inf, -math.inf, math.nan, 1e300])
def test_a_time_that_is_none_is_left_out(seconds: float) -> None:
    details = ErrorDetails(retry_after=seconds)
    error = BridgeError(Code.UNAVAILABLE, "later", reason="R", details=details)
    back = status.read_status(status.to_status(error))
    assert (back.reason, back.retry_after) == ("R", None)


@QUICK
@given(st.binary(max_size=200))
@example(b"\xff")
@example(b"\x08\x63")
@example(b"\x08\x05\x12\x01x\x1a\x02\n\x00")
def test_any_bytes_are_an_error_all_the_same(data: bytes) -> None:
    assert facts(status.read_status(data)) == facts(full_status.read_status(data))


@QUICK
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=3), st.integers(0, 255))
def test_damaged_statuses_are_read_as_by_the_bridge(places: list[int], byte: int) -> None:
    _, full = twins(8, "message", "REASON", [("$.a", "is wrong")], 0.25, {"k": "v"}, "Traceback")
    raw = bytearray(full_status.to_status(full))
    for place in places:
        raw[place % len(raw)] = byte
    # Of a damaged detail protobuf may have read a part.
    assert facts(status.read_status(bytes(raw)))[:2] == facts(full_status.read_status(bytes(raw)))[:2]


def test_details_of_other_kinds_are_passed_over() -> None:
    _, full = twins(5, "gone", "REASON")
    message = status_pb2.Status.FromString(full_status.to_status(full))
    message.details.insert(0, message.details[0])
    message.details[0].type_url = "type.googleapis.com/google.rpc.Help"
    message.details.add(type_url="google.rpc.ErrorInfo", value=b"\n\x05OTHER")  # no slash, no type
    message.details.add(type_url="x/google.rpc.DebugInfo", value=b"\x12\x05trace")
    data = message.SerializeToString()
    assert facts(status.read_status(data)) == facts(full_status.read_status(data))
    assert status.read_status(data).details.debug == "trace"


def test_the_errors_are_those_of_the_bridge() -> None:
    assert {code.name: int(code) for code in Code} == {code.name: int(code) for code in full_errors.Code}
    assert ErrorDetails._fields == full_errors.ErrorDetails.__struct_fields__
    assert FieldViolation._fields == full_errors.FieldViolation.__struct_fields__
    assert set(errors.__all__) == set(full_errors.__all__)
    for module in (errors, full_errors):
        made = [
            module.ToolError("NOT_FOUND", "gone", metadata={"k": "v"}),
            module.ToolError(module.Code.ABORTED, "again", reason="R"),
            module.NoHostError(),
            module.NoSessionError(),
            module.invalid_argument("$.a", "is wrong"),
            module.BridgeError(module.Code.CANCELLED, "x", details=module.ErrorDetails(retry_after=1.5)),
        ]
        assert all(isinstance(error, module.BridgeError) for error in made)
        texts = [(str(error), repr(error), facts(error), error.retry_after, len(error.violations)) for error in made]
        if module is errors:
            ours = texts
    assert texts == ours
