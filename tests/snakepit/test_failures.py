"""Elixir gets errors as the exceptions it knows, with what is needed to find them, and always as valid JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BridgeError, Code, ErrorDetails, FieldViolation, NoHostError, ToolError, invalid_argument
from bridge.invocation import ErrorPolicy, tool_failure
from bridge.runtime.death import Exit
from bridge.snakepit.failures import error_payload, goes_as_status, status_payload
from bridge.status import wire_message
from bridge.worker.obituary import died

CONTEXT = {"tool_name": "echo", "session_id": "session_1", "correlation_id": "sp-1"}
STRUCTS = [
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    ImportError,
    RuntimeError,
    NotImplementedError,
    FileNotFoundError,
    PermissionError,
    ZeroDivisionError,
]
"""Those that Elixir has a struct for."""


def payload(error: BridgeError) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(error_payload(error, CONTEXT))
    assert list(made) == ["type", "message", "stacktrace", "traceback", "context"]
    return made


def raised(error: BaseException, **policy: bool) -> BridgeError:
    """What the bridge makes of an exception of a tool."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - a tool may raise anything
        return tool_failure("echo", caught, ErrorPolicy(**policy))


class CustomError(Exception):
    pass


@pytest.mark.parametrize("cls", STRUCTS)
def test_an_exception_of_a_tool_is_the_exception_that_elixir_knows(cls: type[Exception]) -> None:
    made = payload(raised(cls("went wrong")))
    assert made["type"] == cls.__name__
    assert made["message"] == str(cls("went wrong"))


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (CustomError("odd"), "CustomError", "odd"),
        (ModuleNotFoundError("no x"), "ModuleNotFoundError", "no x"),
        (TimeoutError(), "TimeoutError", ""),
        (KeyError("a"), "KeyError", "'a'"),
        (ValueError("ValueError: twice"), "ValueError", "ValueError: twice"),
        (SystemExit(3), "SystemExit", "tool 'echo' called sys.exit(3): a tool must return or raise"),
        (ExceptionGroup("many", [ValueError("x")]), "ExceptionGroup", "many (1 sub-exception)"),
    ],
)
def test_any_other_exception_keeps_its_name(error: BaseException, kind: str, message: str) -> None:
    made = payload(raised(error))
    assert (made["type"], made["message"]) == (kind, message)


def test_a_hidden_message_stays_hidden() -> None:
    made = payload(raised(ValueError("secret"), redact=True))
    assert made["type"] == "ValueError"
    assert "secret" not in json.dumps(made)
    assert made["context"]["error_id"] in made["message"]


def test_a_traceback_is_sent_line_by_line_if_there_is_one() -> None:
    made = payload(raised(ValueError("x"), debug=True))
    assert made["stacktrace"][0] == "Traceback (most recent call last):\n"
    assert made["stacktrace"][-1] == "ValueError: x\n"
    assert "".join(made["stacktrace"]) == made["traceback"]
    without = payload(raised(ValueError("x")))
    assert (without["stacktrace"], without["traceback"]) == ([], "")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (invalid_argument("$.n", "is required"), "ValueError"),
        (BridgeError(Code.NOT_FOUND, "no tool 'x'", reason="TOOL_NOT_FOUND"), "NotImplementedError"),
        (BridgeError(Code.NOT_FOUND, "no variable 'x'", reason="VARIABLE_NOT_FOUND"), "KeyError"),
        (BridgeError(Code.UNIMPLEMENTED, "no method", reason="NO_METHOD"), "NotImplementedError"),
        (BridgeError(Code.PERMISSION_DENIED, "not yours"), "PermissionError"),
        (BridgeError(Code.UNAUTHENTICATED, "who?", reason="TOKEN_MISSING"), "PermissionError"),
        (BridgeError(Code.OUT_OF_RANGE, "gone", reason="VERSION_GONE"), "IndexError"),
        (BridgeError(Code.FAILED_PRECONDITION, "install x", reason="MISSING_EXTRA"), "ImportError"),
        (BridgeError(Code.UNKNOWN, "returned a socket", reason="UNSUPPORTED_RESULT"), "TypeError"),
        (BridgeError(Code.UNKNOWN, "odd"), "RuntimeError"),
        (NoHostError(), "RuntimeError"),
        (BridgeError(Code.INTERNAL, "a bug", reason="INTERNAL"), "RuntimeError"),
        (BridgeError(Code.RESOURCE_EXHAUSTED, "too large", reason="MESSAGE_TOO_LARGE"), "RuntimeError"),
        (BridgeError(Code.ABORTED, "somebody was faster", reason="VERSION_MISMATCH"), "RuntimeError"),
        (BridgeError(Code.DEADLINE_EXCEEDED, "the worker", reason="WORKER_START_TIMEOUT"), "TimeoutError"),
        (ToolError("NOT_FOUND", "no row"), "KeyError"),
        (ToolError("UNKNOWN", "odd"), "RuntimeError"),
    ],
)
def test_an_error_of_the_bridge_is_the_exception_nearest_to_its_code(error: BridgeError, kind: str) -> None:
    made = payload(error)
    assert made["type"] == kind
    assert made["message"] == error.message
    assert made["context"] == {**CONTEXT, "code": error.code.name, "reason": error.reason} | (
        {"violations": [{"field": "$.n", "description": "is required"}]} if error.violations else {}
    )


def test_a_crashed_worker_is_a_payload_with_its_signal() -> None:
    error = died(17, Exit(signal=11))
    made = payload(error)
    assert not goes_as_status(error)
    assert made["type"] == "RuntimeError"
    assert made["context"] == {
        **CONTEXT,
        "code": "UNAVAILABLE",
        "reason": "WORKER_DIED",
        "pid": "17",
        "signal": "SIGSEGV",
    }


def test_the_call_is_named_whatever_the_error_says() -> None:
    error = ToolError("NOT_FOUND", "x", reason="GONE", metadata={"tool_name": "other", "reason": "mine", "row": "7"})
    made = payload(error)
    assert made["context"] == {**CONTEXT, "row": "7", "code": "NOT_FOUND", "reason": "GONE"}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BridgeError(Code.DEADLINE_EXCEEDED, "late", reason="DEADLINE_EXCEEDED"), True),
        (BridgeError(Code.CANCELLED, "cancelled", reason="CANCELLED"), True),
        (BridgeError(Code.CANCELLED, "gone", reason="CLIENT_GONE"), True),
        (BridgeError(Code.UNAVAILABLE, "x", reason="DRAINING", details=ErrorDetails(retry_after=1.0)), True),
        (BridgeError(Code.RESOURCE_EXHAUSTED, "x", reason="SERVER_BUSY", details=ErrorDetails(retry_after=0.1)), True),
        (BridgeError(Code.RESOURCE_EXHAUSTED, "x", reason="SERVER_BUSY"), False),
        (BridgeError(Code.RESOURCE_EXHAUSTED, "x", reason="MESSAGE_TOO_LARGE"), False),
        (BridgeError(Code.UNAVAILABLE, "x", reason="WORKER_DIED"), False),
        (BridgeError(Code.UNAVAILABLE, "x", reason="HOST_UNAVAILABLE"), False),
        (ToolError(Code.DEADLINE_EXCEEDED, "the tool's own"), False),
        (ToolError(Code.ABORTED, "the tool's own", reason="CANCELLED"), False),
        (invalid_argument("$.n", "x"), False),
        (raised(TimeoutError()), False),
        (raised(asyncio.CancelledError()), False),
    ],
)
def test_only_errors_of_the_call_are_statuses(error: BridgeError, expected: bool) -> None:
    assert goes_as_status(error) is expected


def test_a_short_payload_is_the_same_as_a_status() -> None:
    error = raised(ValueError("x"))
    assert status_payload(error, CONTEXT) == error_payload(error, CONTEXT)


def fitting(error: BridgeError, context: dict[str, str] = CONTEXT) -> dict[str, Any]:
    text = status_payload(error, context)
    assert wire_message(BridgeError(Code.INTERNAL, text)) == text
    made: dict[str, Any] = json.loads(text)
    assert isinstance(made["type"], str)
    assert isinstance(made["message"], str)
    return made


def test_a_traceback_that_is_too_long_for_a_status_is_left_out() -> None:
    details = ErrorDetails(metadata={"error_id": "1"}, debug="line\n" * 1000)
    made = fitting(BridgeError(Code.UNKNOWN, "ValueError: x", reason="ValueError", details=details))
    assert (made["message"], made["stacktrace"], made["traceback"]) == ("x", [], "")
    assert made["context"] == {**CONTEXT, "error_id": "1", "code": "UNKNOWN", "reason": "ValueError"}


def test_a_context_that_is_too_long_for_a_status_keeps_the_names() -> None:
    violations = tuple(FieldViolation(f"$.field{n}", "is required") for n in range(100))
    error = BridgeError(Code.INVALID_ARGUMENT, "all wrong", details=ErrorDetails(violations=violations))
    made = fitting(error, {**CONTEXT, "tool_name": "t" * 3000})
    assert made["message"] == "all wrong"
    assert made["context"]["session_id"] == "session_1"
    assert made["context"]["tool_name"] == "t" * 127 + "…"
    assert "violations" not in made["context"]


def test_an_exception_whose_name_is_too_long_for_a_status_has_its_beginning() -> None:
    error = raised(type("Very" * 1000, (Exception,), {})("went wrong"))
    made = json.loads(status_payload(error, CONTEXT))
    assert made["type"].startswith("VeryVery")
    assert made["context"]["tool_name"] == "echo"


def test_a_message_that_is_too_long_for_a_status_is_cut_at_its_end() -> None:
    made = fitting(BridgeError(Code.UNKNOWN, "ValueError: start" + "%é" * 3000, reason="ValueError"))
    assert made["message"].startswith("start%é")
    assert made["message"].endswith("…")
    assert made["context"]["tool_name"] == "echo"


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text(max_size=3000)), st.none() | st.text())
def test_any_error_is_valid_json_and_fits_a_status(
    message: str, reason: str, context: dict[str, str], debug: str | None
) -> None:
    error = BridgeError(Code.UNKNOWN, message * 50, reason=reason * 50, details=ErrorDetails(debug=debug))
    json.loads(error_payload(error, context))
    fitting(error, context)


def test_text_that_utf8_cannot_carry_does_not_lose_the_error() -> None:
    assert payload(raised(ValueError("a\udc80b")))["message"] == "a?b"
    fitting(raised(ValueError("a\udc80b" * 2000)))
