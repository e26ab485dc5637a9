"""The client over real servers on real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bridge import Adapter, certificates, tool
from bridge.errors import BridgeError, Code
from bridge.host import CallScope
from bridge.server import Server
from bridge.testing import serving
from bridge_client import BridgeClient, ClientConfig, RetryPolicy
from bridge_client.retry import Timing
from tests.clients.proxy import Proxy
from tests.support.probes import Inline, Journal

Start = Callable[..., Awaitable[Server]]
Connect = Callable[..., Awaitable[BridgeClient]]

TCP = ("127.0.0.1:0",)
PATIENT = RetryPolicy(max_attempts=30, initial_backoff=0.05, max_backoff=0.2)


class Steady(Adapter):
    """Tools that hang the first time and answer the second."""

    runs: asyncio.Queue[str]
    first = True

    async def _run(self, name: str) -> str:
        cls = type(self)
        cls.runs.put_nowait(name)
        if cls.first:
            cls.first = False
            await asyncio.Event().wait()
        return name

    @tool(idempotent=True)
    async def idempotent(self) -> str:
        return await self._run("idempotent")

    @tool
    async def once(self) -> str:
        return await self._run("once")


@pytest.fixture
def steady() -> type[Steady]:
    class Fresh(Steady):
        runs = asyncio.Queue()

    return Fresh


async def test_client_object_survives_a_restart_of_its_server(start: Start) -> None:
    async with asyncio.timeout(20):
        async with serving(Inline, listen=TCP) as server:
            address = server.addresses[0]
            client = BridgeClient(address, retry=PATIENT, breaker=None)
            assert await client.call("add", a=1) == 2
        with pytest.raises(BridgeError) as caught:
            await client.call("add", a=1, timeout=0.3)
        assert caught.value.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
        async with serving(Inline, listen=(address,)):
            assert await client.call("add", a=1) == 2
        await client.aclose()


async def test_call_made_before_the_server_is_there_waits_for_it_by_retries() -> None:
    async with asyncio.timeout(20):
        async with serving(Inline, listen=TCP) as server:
            address = server.addresses[0]
        async with BridgeClient(address, retry=PATIENT, breaker=None) as client:
            call = asyncio.create_task(client.call("add", a=2))
            async with serving(Inline, listen=(address,)):
                assert await call == 3


async def test_nobody_at_the_address_is_said_so() -> None:
    async with serving(Inline, listen=TCP) as server:
        address = server.addresses[0]
    async with asyncio.timeout(10), BridgeClient(address, retry=None) as client:
        with pytest.raises(BridgeError) as caught:
            await client.call("add", a=1)
        assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "NOT_CONNECTED")
        assert address in caught.value.message
        with pytest.raises(BridgeError) as caught:
            await client.wait_ready(0.05)
        assert (caught.value.code, caught.value.reason) == (Code.DEADLINE_EXCEEDED, "NOT_READY")


async def test_idempotent_call_is_made_again_when_the_line_is_cut(start: Start, steady: type[Steady]) -> None:
    server = await start(steady, listen=TCP)
    async with asyncio.timeout(20), Proxy(server.addresses[0]) as proxy, BridgeClient(proxy.address) as client:
        call = asyncio.create_task(client.call("idempotent"))
        assert await steady.runs.get() == "idempotent"
        proxy.cut()
        assert await call == "idempotent"
        assert await steady.runs.get() == "idempotent"
        assert proxy.accepted == 2


async def test_call_that_may_have_run_is_not_made_again_when_the_line_is_cut(
    start: Start, steady: type[Steady]
) -> None:
    server = await start(steady, listen=TCP)
    async with asyncio.timeout(20), Proxy(server.addresses[0]) as proxy, BridgeClient(proxy.address) as client:
        call = asyncio.create_task(client.call("once"))
        await steady.runs.get()
        proxy.cut()
        with pytest.raises(BridgeError) as caught:
            await call
        assert caught.value.code is Code.UNAVAILABLE
        assert steady.runs.empty()
        assert await client.call("once") == "once", "the next call works"


async def test_busy_server_is_asked_again_until_there_is_room(connect: Connect, journal: Journal) -> None:
    client = await connect(Inline, max_concurrent_calls=1, client={"retry": PATIENT})
    async with asyncio.timeout(20):
        running = asyncio.create_task(client.call("stubborn"))
        await journal.wait("started")
        waiting = asyncio.create_task(client.call("add", a=1))
        with pytest.raises(BridgeError) as caught:
            async with BridgeClient(client.target, retry=None) as other:
                await other.call("add", a=1)
        assert caught.value.reason == "SERVER_BUSY"
        journal.release.set()
        assert await waiting == 2
        await running


async def test_cancelled_call_reaches_the_tool(connect: Connect, journal: Journal) -> None:
    client = await connect(Inline)
    async with asyncio.timeout(10):
        call = asyncio.create_task(client.call("hang"))
        await journal.wait("started")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await journal.wait("ended")


async def test_forgotten_stream_is_cancelled_on_the_server(connect: Connect, journal: Journal) -> None:
    client = await connect(Inline)
    async with asyncio.timeout(10):
        async for _ in client.stream("endless"):
            break
        await journal.wait("closed")


async def test_closing_the_client_ends_its_calls(start: Start, journal: Journal) -> None:
    server = await start(Inline)
    client = BridgeClient(server.addresses[0])
    async with asyncio.timeout(10):
        call = asyncio.create_task(client.call("hang"))
        await journal.wait("started")
        await client.aclose()
        with pytest.raises(BridgeError) as caught:
            await call
        assert caught.value.code is Code.CANCELLED


async def test_new_client_does_not_inherit_the_failures_of_another_to_the_same_address(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
    async with asyncio.timeout(10), BridgeClient(address, retry=None) as early:
        with pytest.raises(BridgeError) as caught:
            await early.call("echo", value=1)
        assert caught.value.code is Code.UNAVAILABLE
        # The early one now waits before it tries again; the server answers from here on.
        await start(Inline, listen=(address,))
        async with BridgeClient(address, retry=None) as late:
            assert await late.call("echo", value=2) == 2


async def test_several_connections_share_the_load(start: Start, journal: Journal) -> None:
    server = await start(Inline, listen=TCP)
    async with (
        asyncio.timeout(10),
        Proxy(server.addresses[0]) as proxy,
        BridgeClient(proxy.address, connections=3) as client,
    ):
        calls = [asyncio.create_task(client.call("hang")) for _ in range(6)]
        await journal.wait("started", 6)
        assert proxy.accepted == 3
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)


async def test_tools_and_server_info_are_values(connect: Connect) -> None:
    client = await connect(Inline)
    tools = {info.name: info for info in await client.tools()}
    add = tools["add"]
    assert add.description.startswith("Adds.")
    assert [(parameter.name, parameter.required) for parameter in add.parameters] == [("a", True), ("b", False)]
    assert add.parameters[1].default == 1
    assert add.input_schema["type"] == "object"
    assert (add.streaming, add.isolation, add.timeout) == (False, "inline", None)
    assert (tools["count"].streaming, tools["collect"].collects, tools["impatient"].timeout) == (True, True, 0.2)
    info = await client.server_info()
    assert info.name == "tool-bridge"
    assert "bridge.v1" in info.protocols
    assert info.limits.max_message_bytes > 0
    assert info.started_at > 1e9


# -- sessions ----------------------------------------------------------------------------------------------------


async def test_session_has_the_calls_about_variables(connect: Connect) -> None:
    client = await connect(Inline)
    async with asyncio.timeout(10), client.session(metadata={"who": "test"}, ttl=60) as session:
        assert (session.info.ttl, session.info.metadata) == (60.0, {"who": "test"})
        assert await session.set("a", 1) == 1
        assert await session.set("a", 2, expected_version=1) == 2
        assert await session.get("a") == 2
        assert await session.get("none", default=None) is None
        with pytest.raises(BridgeError) as caught:
            await session.get("none")
        assert caught.value.reason == "VARIABLE_NOT_FOUND"
        with pytest.raises(BridgeError) as caught:
            await session.set("a", 3, expected_version=1)
        assert (caught.value.code, caught.value.reason) == (Code.ABORTED, "VERSION_MISMATCH")
        assert await session.set_many({"a": 5, "b": "x"}) == {"a": 3, "b": 1}
        assert await session.get_many(["a", "b", "none"]) == {"a": 5, "b": "x"}
        registered = await session.register("mode", "string", "fast", metadata={"unit": "none"})
        assert (registered.type, registered.version) == ("string", 1)
        assert [variable.name for variable in await session.list()] == ["a", "b", "mode"]
        assert [variable.name for variable in await session.list("m*")] == ["mode"]
        await session.delete("b")
        assert (await session.get_variable("a")).changed_by == "client"
        with pytest.raises(BridgeError):
            await session.get_variable("b")


async def test_tool_called_in_a_session_sees_its_variables(connect: Connect) -> None:
    client = await connect(Inline)
    async with asyncio.timeout(10), client.session() as session:
        await session.set("x", 1.5)
        assert await session.call("read", name="x") == 1.5
        assert await client.call("write", session=session, name="x", value=2.5) == 2
        assert await client.call("read", session=session.session_id, name="x") == 2.5
        assert [value async for value in session.stream("count", n=2)] == [0, 1]
        assert session.session_id not in repr(session), "the id opens the session, so it stays out of logs"


async def test_session_is_gone_after_its_block(connect: Connect) -> None:
    client = await connect(Inline)
    session = client.session()
    with pytest.raises(BridgeError) as caught:
        await session.get("x")
    assert caught.value.reason == "SESSION_NOT_OPEN"
    async with asyncio.timeout(10):
        async with session:
            session_id = session.session_id
        with pytest.raises(BridgeError) as caught:
            await client.call("read", session=session, name="x")
        assert caught.value.reason == "SESSION_NOT_OPEN"
        with pytest.raises(BridgeError) as caught:
            await client.call("read", session=session_id, name="x")
        assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "SESSION_NOT_FOUND")
        await session.aclose()


async def test_closing_the_client_closes_its_sessions(start: Start) -> None:
    server = await start(Inline)
    async with asyncio.timeout(10):
        async with BridgeClient(server.addresses[0]) as client:
            session_id = (await client.session().__aenter__()).session_id
        async with BridgeClient(server.addresses[0]) as other:
            with pytest.raises(BridgeError) as caught:
                await other.call("read", session=session_id, name="x")
    assert caught.value.reason == "SESSION_NOT_FOUND"


async def test_heartbeats_keep_an_idle_session_until_it_is_lost(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    server = await start(Inline)
    waits: asyncio.Queue[float] = asyncio.Queue()
    go: asyncio.Queue[None] = asyncio.Queue()

    async def sleep(seconds: float) -> None:
        waits.put_nowait(seconds)
        await go.get()

    async with (
        asyncio.timeout(10),
        BridgeClient(server.addresses[0], timing=Timing(sleep=sleep)) as client,
        client.session(ttl=30) as session,
    ):
        assert await waits.get() == 10.0
        go.put_nowait(None)
        assert await waits.get() == 10.0, "it goes on after a heartbeat"
        host: Any = server.host
        await host.close_session(CallScope(session.session_id))
        heartbeat = session._heartbeat
        assert heartbeat is not None
        go.put_nowait(None)
        await heartbeat
    assert "the session is lost" in caplog.text


async def test_sessions_may_live_on_another_host(start: Start) -> None:
    host = await start(role="host")
    server = await start(Inline, host=host.addresses[0])
    async with (
        asyncio.timeout(10),
        BridgeClient(server.addresses[0], host=host.addresses[0]) as client,
        client.session() as session,
    ):
        await session.set("x", 3)
        assert await session.call("read", name="x") == 3


async def test_server_without_sessions_says_where_to_open_them(start: Start) -> None:
    host = await start(role="host")
    server = await start(Inline, host=host.addresses[0])
    async with asyncio.timeout(10), BridgeClient(server.addresses[0]) as client:
        with pytest.raises(BridgeError) as caught:
            async with client.session():
                pass
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "NO_HOST")


# -- security ----------------------------------------------------------------------------------------------------


async def test_secure_server_writes_the_config_that_a_client_needs(start: Start, tmp_path: Path) -> None:
    made = certificates.create(tmp_path / "secure")
    config = tmp_path / "client.json"
    await start(
        Inline,
        listen=("localhost:0",),
        tls_cert=made.server_certificate,
        tls_key=made.server_key,
        tls_client_ca=made.ca,
        tokens=made.tokens,
        write_client=config,
    )
    written = ClientConfig.load(config)
    complete = ClientConfig(
        written.target,
        ca=made.ca,
        token_file=made.client_token,
        certificate=made.client_certificate,
        private_key=made.client_key,
    )
    async with asyncio.timeout(20), BridgeClient.from_config(complete) as client:
        assert await client.call("add", a=1) == 2
        assert (await client.call("whoami"))["principal"] == "token:client"
        async with client.session() as session:
            await session.set("x", 1)
            assert await session.call("read", name="x") == 1


async def test_wrong_token_or_no_tls_does_not_get_in(start: Start, tmp_path: Path) -> None:
    made = certificates.create(tmp_path / "secure")
    config = tmp_path / "client.json"
    await start(
        Inline,
        listen=("localhost:0",),
        tls_cert=made.server_certificate,
        tls_key=made.server_key,
        tokens=made.tokens,
        write_client=config,
    )
    async with asyncio.timeout(20):
        async with BridgeClient.from_config(config) as client:
            assert await client.call("add", a=1) == 2, "the config alone is enough without mutual TLS"
        for options in ({"token": "wrong"}, {"token": None}):
            async with BridgeClient.from_config(config, **options) as client:
                with pytest.raises(BridgeError) as caught:
                    await client.call("add", a=1)
            assert caught.value.code is Code.UNAUTHENTICATED
        async with BridgeClient.from_config(config, tls=None, retry=None) as client:
            with pytest.raises(BridgeError) as caught:
                await client.call("add", a=1)
        assert caught.value.code is Code.UNAVAILABLE
