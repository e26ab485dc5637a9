"""A connection: answers, errors, cancelling, and its end. Scenarios C01-C05, C10, C11, J04, J14-J16 of its layer."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest
from msgspec import Raw

from bridge.errors import BridgeError, Code
from bridge.jsonrpc.connection import Connection
from tests.jsonrpc.ends import FRAMINGS, Answers, connected, raw_client
from tests.support.waiting import until

pytestmark = pytest.mark.parametrize("framing", FRAMINGS)


@pytest.fixture
async def answers() -> Answers:
    return Answers()


async def test_a_request_is_answered_and_a_value_becomes_a_text(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), connected(framing, answers) as (client, _):
        assert await client.request("echo", {"a": [1, 2.5, None]}) == Raw(b'{"a":[1,2.5,null]}')
        assert await client.request("echo", b"[1]") == Raw(b"[1]")
        assert await client.request("echo") == Raw(b"null")


async def test_C01_what_is_fast_is_answered_before_what_is_slow(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), raw_client(framing, answers) as (client, _):
        client.say({"id": "s", "method": "slow"}, *({"id": n, "method": "echo"} for n in range(100)))
        heard = [await client.hear() for _ in range(100)]
        assert [answer["id"] for answer in heard] == list(range(100))
        answers.release.set()
        assert (await client.hear())["id"] == "s"


async def test_J14_an_error_is_raised_on_the_other_side_and_the_connection_lives(
    framing: str, answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "bridge.jsonrpc")
    async with asyncio.timeout(5), connected(framing, answers) as (client, _):
        with pytest.raises(BridgeError, match="nothing here") as caught:
            await client.request("fail")
        assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "NOTHING")
        with pytest.raises(BridgeError) as caught:
            await client.request("crash")
        assert caught.value.code is Code.INTERNAL
        assert "a bug" not in caught.value.message
        assert await client.request("echo", [1]) == Raw(b"[1]")


async def test_J15_a_result_without_a_text_is_an_error_of_the_call_only(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), connected(framing, answers) as (client, _):
        with pytest.raises(BridgeError) as caught:
            await client.request("odd")
        assert caught.value.reason == "UNSUPPORTED_VALUE"
        assert await client.request("echo", [1]) == Raw(b"[1]")


async def test_J04_a_notification_that_fails_is_not_answered(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), raw_client(framing, answers) as (client, _):
        client.say({"method": "crash"}, {"method": "other"}, {"id": 1, "method": "echo"})
        assert (await client.hear())["id"] == 1
        assert answers.noted == ["crash", "other"]


async def test_C02_a_cancelled_request_ends_and_is_answered_so(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), raw_client(framing, answers) as (client, _):
        client.say({"id": 1, "method": "slow"}, {"id": 2, "method": "echo"})
        assert (await client.hear())["id"] == 2
        client.say({"method": "$/cancelRequest", "params": {"id": 1}})
        assert (await client.hear())["error"]["code"] == -32800
        assert answers.cancelled == ["slow"]


async def test_C02_a_request_cancelled_before_it_has_begun_is_answered(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), raw_client(framing, answers) as (client, connection):
        client.say({"id": 1, "method": "slow"}, {"method": "$/cancelRequest", "params": {"id": 1}})
        assert (await client.hear())["error"]["code"] == -32800
        assert connection.running == 0


async def test_C02_mcp_hears_nothing_of_what_it_has_cancelled(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), raw_client(framing, answers, drops_cancelled=True) as (client, connection):
        client.say({"id": 1, "method": "slow"}, {"id": 2, "method": "stubborn"}, {"id": 3, "method": "echo"})
        assert (await client.hear())["id"] == 3
        client.say(*({"method": "notifications/cancelled", "params": {"requestId": id}} for id in (1, 2)))
        await until(lambda: len(answers.cancelled) == 2)
        answers.release.set()  # the stubborn one answers after all
        await until(lambda: connection.running == 0)
        client.say({"id": 4, "method": "echo"})
        assert (await client.hear())["id"] == 4


async def test_C04_cancels_of_what_does_not_run_are_ignored(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), raw_client(framing, answers) as (client, _):
        client.say({"id": 1, "method": "echo"})
        assert (await client.hear())["id"] == 1
        client.say(*({"method": "$/cancelRequest", "params": {"id": id}} for id in (1, 7, "x")))
        client.say({"id": 1, "method": "echo"})
        assert "result" in await client.hear()
        assert answers.cancelled == []


async def test_C05_what_runs_is_cancelled_when_the_client_is_gone(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), connected(framing, answers) as (client, server):
        asked = asyncio.create_task(client.request("slow"))
        await until(lambda: answers.begun)
        client.abort()
        with pytest.raises(BridgeError) as caught:
            await asked
        assert caught.value.reason == "CONNECTION_LOST"
        await server.ended
        assert answers.cancelled == ["slow"]
        assert answers.closed_connections == [server]
        assert not server.is_open


async def test_C05_a_request_that_has_not_begun_when_the_client_is_gone_ends(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), connected(framing, answers) as (_, server):
        server.data_received(b"".join(FRAMINGS[framing]().encode(b'{"jsonrpc":"2.0","id":1,"method":"slow"}')))
        server.abort()
        await server.ended
        assert server.running == 0


async def test_C06_who_does_not_wait_any_more_tells_it_and_a_late_answer_is_nobodys(
    framing: str, answers: Answers
) -> None:
    async with asyncio.timeout(5), connected(framing, answers) as (client, server):
        with pytest.raises(BridgeError) as caught:
            await client.request("stubborn", timeout=0.05)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        await until(lambda: answers.cancelled)
        answers.release.set()
        await until(lambda: server.running == 0)
        assert await client.request("echo", [2]) == Raw(b"[2]")


async def test_C02_cancelling_the_asking_task_cancels_the_request(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), connected(framing, answers) as (client, server):
        asked = asyncio.create_task(client.request("slow"))
        await until(lambda: answers.begun)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await until(lambda: server.running == 0)
        assert answers.cancelled == ["slow"]


async def test_C10_a_running_request_may_ask_back(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), connected(framing, answers, Answers()) as (client, _):
        results = await asyncio.gather(*(client.request("ask", [n]) for n in range(20)))
        assert results == [Raw(b"[%d]" % n) for n in range(20)]


async def test_C10_who_asks_back_and_is_cut_off_hears_so(framing: str, answers: Answers) -> None:
    asker = Answers()
    async with asyncio.timeout(5), connected(framing, answers, asker) as (client, server):
        asked = asyncio.create_task(server.request("slow"))
        await until(lambda: asker.begun)
        client.close()
        with pytest.raises(BridgeError) as caught:
            await asked
        assert caught.value.reason == "CONNECTION_LOST"
        with pytest.raises(BridgeError, match="connection is gone"):
            await server.request("echo")
        server.notify("nobody")  # is no error
        with pytest.raises(BridgeError) as caught:
            await server.drained()
        assert caught.value.reason == "CLIENT_GONE"


async def test_C11_draining_waits_for_what_runs(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), connected(framing, answers) as (client, server):
        asked = asyncio.create_task(client.request("slow"))
        await until(lambda: answers.begun)
        draining = asyncio.create_task(server.drain(5))
        answers.release.set()
        assert await asked == Raw(b"null")
        assert await draining
        await client.lost


async def test_C11_draining_cancels_what_does_not_end(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), connected(framing, answers) as (client, server):
        asked = asyncio.create_task(client.request("slow"))
        await until(lambda: answers.begun)
        assert not await server.drain(0.05)
        await server.ended
        assert answers.cancelled == ["slow"]
        with pytest.raises(BridgeError) as caught:
            await asked
        assert caught.value.reason == "CONNECTION_LOST"


async def test_a_connection_that_is_refused_before_it_is_made_says_why(framing: str, answers: Answers) -> None:
    here, there = socket.socketpair()
    connection = Connection(FRAMINGS[framing](), answers)
    connection.refuse(BridgeError(Code.RESOURCE_EXHAUSTED, "full", reason="FULL"))
    reader, writer = await asyncio.open_connection(sock=here)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, there)
    async with asyncio.timeout(5):
        assert b'"FULL"' in await reader.read()
        await connection.ended
    writer.close()


async def test_a_request_that_ends_its_connection_before_it_waits_is_cancelled(framing: str, answers: Answers) -> None:
    class Leaving(Answers):
        async def leave(self, connection: Connection, params: object) -> None:
            connection.close()
            await self.release.wait()

    leaving = Leaving()
    async with asyncio.timeout(5), connected(framing, leaving) as (asking, serving):
        with pytest.raises(BridgeError, match="gone"):
            await asking.request("leave")
        await serving.ended
    assert leaving.cancelled == ["leave"]


async def test_answers_to_what_came_at_once_come_in_the_order_of_their_requests(framing: str, answers: Answers) -> None:
    async with asyncio.timeout(5), raw_client(framing, answers) as (wire, _):
        wire.say(*({"id": id, "method": "echo", "params": [id]} for id in range(200)))
        assert [(await wire.hear())["result"] for _ in range(200)] == [[id] for id in range(200)]
