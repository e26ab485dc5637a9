"""The server's end of the pipe that a worker prints to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.call import ToolCall
from bridge.host import NoHost
from bridge.worker.output import Output


@pytest.fixture
async def pipe(caplog: pytest.LogCaptureFixture) -> Any:
    """An output, and the end to write to."""
    caplog.set_level("INFO", logger="bridge.worker")
    ours, theirs = os.pipe()
    output = Output(ours, 4711)
    yield output, theirs
    output.close()
    os.close(theirs)


def begin(output: Output, number: int, tool: str = "tool", session_id: str = "") -> None:
    output.begin(number, ToolCall(tool, {}, NoHost(), session_id=session_id), {})


def lines(caplog: pytest.LogCaptureFixture) -> Iterator[tuple[str, Any]]:
    """What was logged, and the call it was logged for."""
    for record in caplog.records:
        yield record.getMessage(), record.__dict__.get("call")


async def test_what_is_in_the_pipe_at_the_end_of_a_call_is_the_calls(
    pipe: Any, caplog: pytest.LogCaptureFixture
) -> None:
    output, theirs = pipe
    for number in (1, 2):
        begin(output, number)
        os.write(theirs, b"whole\nbegun")
        output.end()
    os.write(theirs, b"nobody's\n")
    output.drain()
    assert [*lines(caplog)] == [("whole", 1), ("begun", 1), ("whole", 2), ("begun", 2), ("nobody's", None)]
    assert {record.__dict__["pid"] for record in caplog.records} == {4711}


async def test_lines_name_the_tool_and_the_session_of_their_call_only(
    pipe: Any, caplog: pytest.LogCaptureFixture
) -> None:
    output, _ = pipe
    assert output.fields == {"pid": 4711}
    begin(output, 1, "first", "its session")
    assert output.fields == {"pid": 4711, "tool": "first", "call": 1, "session_id": "its session"}
    begin(output, 2, "second")
    assert output.fields == {"pid": 4711, "tool": "second", "call": 2}
    output.end()
    assert output.fields == {"pid": 4711}


async def test_the_tail_is_that_of_the_last_call(pipe: Any) -> None:
    output, theirs = pipe
    begin(output, 1)
    os.write(theirs, b"one\n")
    output.end()
    begin(output, 2)
    os.write(theirs, b"two\n")
    output.drain()
    assert output.tail() == ["two"]


async def test_lines_beyond_the_allowance_are_counted_for_the_call_that_wrote_them(
    pipe: Any, caplog: pytest.LogCaptureFixture
) -> None:
    output, theirs = pipe
    begin(output, 1)
    os.write(theirs, b"x\n" * 5000)
    output.end()
    begin(output, 2)
    output.end()
    *shown, (note, call) = lines(caplog)
    assert (note, call) == (f"{5000 - len(shown)} lines of a worker were too many to log", 1)
