"""What is printed in a worker, by whatever means, is in the server's log, and known whose it is."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from typing import Any

import pytest

from bridge import engines
from bridge.telemetry.logs import JsonFormatter
from bridge.v1.bridge_pb2 import ExecuteToolRequest
from bridge_client import BridgeClient
from tests.conftest import Connect
from tests.support.hazards import Chatty

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(autouse=True)
def buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams keep what is written to them, as they do by themselves."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.fixture
def printed(caplog: pytest.LogCaptureFixture) -> Any:
    """The records of what was printed."""
    caplog.set_level("INFO", logger="bridge")

    def printed() -> list[Any]:
        return [
            record for record in caplog.records if record.name == "bridge.worker" and record.levelno == logging.INFO
        ]

    return printed


def said(what: str) -> list[str]:
    """All that ``says`` says."""
    return [f"{how} {what}" for how in ("print", "error", "write", "puts", "child", "begun")]


async def test_what_a_call_prints_is_its_own_however_it_does_so(connect: Connect, printed: Any) -> None:
    client = await connect(Chatty, workers=1)
    calls = [f"in call {number}" for number in range(5)]
    async with asyncio.timeout(20):
        for what in calls:
            await client.call("says", what=what)
            await client.call("says_awaiting", what=what)
    by_call: dict[tuple[str, int], list[str]] = {}
    for record in printed():
        by_call.setdefault((record.tool, record.call), []).append(record.getMessage())
    assert len({record.pid for record in printed()}) == 1
    assert Counter(map(tuple, map(sorted, by_call.values()))) == Counter(
        tuple(sorted(lines)) for what in calls for lines in (said(what), [f"print {what}", f"write {what}"])
    )
    assert [tool for tool, _ in by_call] == ["says", "says_awaiting"] * 5
    assert [lines[0] for lines in by_call.values()] == [f"print {what}" for what in calls for _ in range(2)]


async def test_calls_at_once_do_not_mix_what_they_print(connect: Connect, printed: Any) -> None:
    client = await connect(Chatty, workers=4)
    async with asyncio.timeout(20):
        await asyncio.gather(*(client.call("says", what=f"in call {number}") for number in range(12)))
    by_call: dict[tuple[int, int], list[str]] = {}
    for record in printed():
        by_call.setdefault((record.pid, record.call), []).append(record.getMessage())
    assert Counter(map(tuple, map(sorted, by_call.values()))) == Counter(
        tuple(sorted(said(f"in call {number}"))) for number in range(12)
    )


async def test_lines_tell_session_and_trace_of_their_call_also_as_json(
    start: Any, printed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start(Chatty, workers=1, log_level="info")
    async with asyncio.timeout(20), BridgeClient(server.addresses[0]) as client, client.session() as session:
        channel = engines.connect(server.addresses[0])
        request = ExecuteToolRequest(tool_name="logs", session_id=session.session_id)
        await channel.unary(
            "/bridge.v1.BridgeService/ExecuteTool",
            request.SerializeToString(),
            headers=[("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01")],
        )
        await channel.aclose()
        await client.call("says_awaiting", what="without a session")
        session_id = session.session_id
    record = next(record for record in printed() if record.getMessage() == "printed")
    line = json.loads(JsonFormatter().format(record))
    assert {key: line[key] for key in ("level", "logger", "message", "tool", "pid", "session_id", "trace_id")} == {
        "level": "info",
        "logger": "bridge.worker",
        "message": "printed",
        "tool": "logs",
        "pid": record.pid,
        "session_id": session_id,
        "trace_id": TRACE,
    }
    logged = next(record for record in caplog.records if record.getMessage() == "from the tool")
    assert (logged.call, logged.session_id, logged.trace_id) == (record.call, session_id, TRACE)  # type: ignore[attr-defined]
    later = [record for record in printed() if record.tool == "says_awaiting"]
    assert later
    assert not any(hasattr(record, "session_id") or hasattr(record, "trace_id") for record in later)


async def test_lines_that_are_too_many_are_counted_for_their_call(
    connect: Connect, printed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client = await connect(Chatty, workers=1)
    async with asyncio.timeout(30):
        assert await client.call("prints", lines=20_000) == "done"
    lines = [record for record in printed() if record.tool == "prints"]
    notes: list[Any] = [record for record in caplog.records if "too many to log" in record.getMessage()]
    assert {record.tool for record in notes} == {"prints"}
    assert len(lines) + sum(record.args[0] for record in notes) == 40_000


async def test_no_child_of_a_tool_gets_the_pipe_to_the_server(connect: Connect) -> None:
    client = await connect(Chatty, workers=1)
    async with asyncio.timeout(10):
        descriptors = await client.call("open_to_children")
    assert "0:/dev/null" in descriptors
    assert "socket" not in descriptors


async def test_what_a_tool_prints_is_not_on_the_servers_own_output(
    connect: Connect, capfd: pytest.CaptureFixture[str]
) -> None:
    client = await connect(Chatty, workers=1)
    async with asyncio.timeout(10):
        await client.call("says", what="something")
    out, err = capfd.readouterr()
    assert "something" not in out + err
