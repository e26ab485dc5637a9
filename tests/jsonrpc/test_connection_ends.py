"""How a connection ends, and what is heard of it."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

import msgspec
import pytest

from bridge.errors import BridgeError, Code
from bridge.jsonrpc.connection import Connection
from bridge.jsonrpc.pipe_transport import connect_pipes
from bridge.jsonrpc.streams import MORE, Windows
from bridge.protocols.messages import Notification, Request
from bridge.protocols.newline import Newline
from tests.jsonrpc.ends import Answers, connected, raw_client
from tests.support.waiting import until


async def test_who_waits_for_an_answer_hears_what_was_said_before_the_end() -> None:
    answers = Answers()
    async with asyncio.timeout(5), connected("newline", answers) as (asking, serving):
        waiting = asyncio.create_task(asking.request("slow"))
        await until(lambda: bool(answers.begun))
        serving.refuse(BridgeError(Code.RESOURCE_EXHAUSTED, "it is too much", reason="TOO_MUCH"))
        with pytest.raises(BridgeError, match="it is too much") as caught:
            await waiting
        assert caught.value.reason == "CONNECTION_LOST"
        with pytest.raises(BridgeError, match="it is too much"):
            await asking.request("echo")


async def test_what_was_said_before_the_last_answer_is_not_why_a_connection_ends() -> None:
    async with asyncio.timeout(5), connected("newline", Answers()) as (asking, serving):
        asking.transport.write(b"nonsense\n")
        await asking.request("echo")
        serving.abort()
        await asking.ended
        with pytest.raises(BridgeError) as caught:
            await asking.request("echo")
        assert caught.value.message == "the connection is gone"


async def test_F08_a_message_that_the_end_cuts_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "bridge.jsonrpc")
    answers = Answers()
    async with asyncio.timeout(5), raw_client("newline", answers) as (wire, serving):
        wire.writer.write(b'{"jsonrpc": "2.0", "id": 1, "method": "echo"}')
        wire.writer.write_eof()
        await serving.ended
    assert answers.begun == []
    assert "ends with a newline" in caplog.text


async def test_C02_the_rest_of_a_batch_is_answered_when_what_was_cancelled_is_dropped() -> None:
    answers = Answers()
    async with asyncio.timeout(5), raw_client("newline", answers, drops_cancelled=True) as (wire, _):
        requests = [{"jsonrpc": "2.0", "id": 1, "method": "slow"}, {"jsonrpc": "2.0", "id": 2, "method": "echo"}]
        wire.writer.write(msgspec.json.encode(requests) + b"\n")
        await until(lambda: len(answers.begun) == 2)
        wire.writer.write(b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}\n')
        assert [answer["id"] for answer in msgspec.json.decode(await wire.reader.readline())] == [2]


@pytest.mark.parametrize("order", [("abort", "abort"), ("close", "abort"), ("abort", "close")])
async def test_pipes_may_be_ended_again(order: tuple[str, str]) -> None:
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    (stdin, to_us), (from_us, stdout) = os.pipe(), os.pipe()
    connection = Connection(Newline(), Answers())
    await connect_pipes(connection, stdin, stdout)
    async with asyncio.timeout(5):
        for how in order:
            getattr(connection.transport, how)()
        await connection.ended
        connection.abort()
        connection.transport.close()
        await asyncio.sleep(0)
    for fd in (to_us, from_us):
        os.close(fd)
    assert problems == []


async def test_C07_a_stream_that_ends_late_leaves_the_window_of_one_with_the_same_id() -> None:
    windows = Windows()
    request = Request(1, "tools.stream", msgspec.Raw(b'{"_meta": {"window": 1}}'))
    async with asyncio.timeout(5), connected("newline", Answers()) as (_, serving):
        earlier = windows.telling(serving, request)
        earlier.__enter__()
        with windows.telling(serving, request) as tell:
            earlier.__exit__(None, None, None)
            await tell("tools.chunk", b"{}")
            next_one = asyncio.ensure_future(tell("tools.chunk", b"{}"))
            await asyncio.sleep(0)
            assert not next_one.done()
            windows.heard(Notification(MORE, msgspec.Raw(b'{"id": 1, "count": 1}')))
            await next_one
