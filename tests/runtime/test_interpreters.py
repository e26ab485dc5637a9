"""Values, calls and errors are the same in every Python that a plugin may have."""

from __future__ import annotations

import base64
import json
import math
import subprocess
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from google.protobuf.any_pb2 import Any as AnyMessage

import bridge.runtime
from bridge.codec import decode
from bridge.errors import BridgeError, Code, ErrorDetails, FieldViolation
from bridge.status import read_status, to_status
from bridge.tool_messages import pack_call, read_call, read_result
from tests.conformance.descriptions import describe
from tests.conformance.test_vectors import CASES, Case, message, unordered
from tests.support.interpreters import interpreter

__all__ = ["interpreter"]

TWIN = Path(__file__).with_name("twin.py")
RUNTIME = Path(bridge.runtime.__file__).parent

ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"text": "hello", "times": 3},
    {"a": None, "b": True, "c": -1.5, "d": 2**70, "e": b"xx", "f": [1, {"g": math.inf}], "h": {1: "x"}},
    {"when": datetime(2020, 1, 1, tzinfo=UTC), "long": timedelta(1), "price": Decimal("1.10"), "é": "é" * 200},
]
ERRORS = [
    BridgeError(Code.NOT_FOUND, "nothing"),
    BridgeError(
        Code.RESOURCE_EXHAUSTED,
        "später",
        reason="SERVER_BUSY",
        details=ErrorDetails((FieldViolation("$.a", "is wrong"),), 0.25, {"k": "v"}, "Traceback"),
    ),
]


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def outcome(case: Case) -> Any:
    try:
        return decode(message(case))
    except BridgeError as error:
        return (error.code, error.reason, error.violations[0].field)


def test_every_interpreter_reads_and_writes_what_this_one_does(interpreter: str) -> None:
    calls = [pack_call("tool", arguments, "0" * 32, {"k": "v"}) for arguments in ARGUMENTS]
    asked = {
        "values": [[case["any"]["type_url"], case["any"]["value_base64"]] for case in CASES.values()],
        "calls": [text(call) for call in [*calls, b"\xff", pack_call("tool", {"a": 1})[:-1]]],
        "statuses": [text(to_status(error)) for error in ERRORS],
    }
    command = [interpreter, "-B", "-I", "-W", "error", str(TWIN), str(RUNTIME)]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    for case, found in zip(CASES.values(), answer["values"], strict=True):
        _check_value(case, found)
    for call, found in zip(calls, answer["calls"], strict=False):
        request, arguments = read_call(call)
        expected = [request.tool_name, request.session_id, arguments, dict(request.metadata)]
        assert unordered(describe(read_result(base64.b64decode(found)))) == unordered(describe(expected))
    for found in answer["calls"][len(calls) :]:
        assert read_status(base64.b64decode(found["status"])).reason == "MALFORMED_REQUEST"
    assert answer["statuses"] == asked["statuses"]
    assert answer["foreign"] == []


def _check_value(case: Case, found: Any) -> None:
    expected = outcome(case)
    if isinstance(found, dict):
        error = read_status(base64.b64decode(found["status"]))
        if isinstance(expected, pa.Table):  # there is no pyarrow there
            assert error.reason == "MISSING_EXTRA"
        elif error.reason != "MISSING_EXTRA":
            assert (error.code, error.reason, error.violations[0].field) == expected
    else:
        value = decode(AnyMessage(type_url=found[0], value=base64.b64decode(found[1])))
        assert unordered(describe(value)) == unordered(describe(expected))
