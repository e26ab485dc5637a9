"""Sessions of a client over a real server: opened, attached to, listed, and what is repeated when the line breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bridge import BridgeError, Code
from bridge.host import CallScope
from bridge.variables import UpdateKind
from bridge_client import BridgeClient
from bridge_client.session import Session
from tests.clients.memory import LOST, ManualTime
from tests.support.probes import Inline
from tests.support.recording_host import RecordingHost

Start = Callable[..., Awaitable[Any]]
Connect = Callable[..., Awaitable[BridgeClient]]


# -- attached ----------------------------------------------------------------------------------------------------


async def test_an_attached_session_is_the_same_one_and_stays_open(connect: Connect) -> None:
    client = await connect(Inline)
    async with asyncio.timeout(10), client.session(metadata={"who": "owner"}, ttl=60) as session:
        await session.set("x", 1)
        attached = client.session(session_id=session.session_id)
        with pytest.raises(BridgeError) as caught:
            await attached.get("x")
        assert caught.value.reason == "SESSION_NOT_OPEN"
        async with attached:
            assert (attached.session_id, attached.info.ttl) == (session.session_id, 60.0)
            assert attached.info.metadata == {"who": "owner"}
            assert attached._heartbeat is None
            assert await attached.update("x", lambda value: value + 1) == 2
            assert await attached.call("read", name="x") == 2
        with pytest.raises(BridgeError) as caught:
            await attached.get("x")
        assert caught.value.reason == "SESSION_NOT_OPEN"
        assert await session.get("x") == 2, "the owner's goes on"


async def test_closing_an_attached_client_leaves_the_session(start: Start) -> None:
    server = await start(Inline)
    async with asyncio.timeout(10), BridgeClient(server.addresses[0]) as client, client.session() as session:
        async with BridgeClient(server.addresses[0]) as other:
            await other.session(session_id=session.session_id).__aenter__()
        await session.set("x", 1)


async def test_attaching_to_no_session_is_not_found(connect: Connect) -> None:
    client = await connect(Inline)
    for session_id in ("0" * 32, "nonsense", "../../etc"):
        with pytest.raises(BridgeError) as caught:
            async with asyncio.timeout(10), client.session(session_id=session_id):
                pass
        assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "SESSION_NOT_FOUND")


@pytest.mark.parametrize("options", [{"metadata": {}}, {"ttl": 60.0}, {"session_id": ""}, {"session_id": 5}])
def test_an_open_session_takes_neither_metadata_nor_ttl(options: dict[str, Any]) -> None:
    client = BridgeClient("127.0.0.1:1")
    with pytest.raises(BridgeError) as caught:
        client.session(**{"session_id": "0" * 32, **options})
    assert caught.value.code is Code.INVALID_ARGUMENT


# -- lists -------------------------------------------------------------------------------------------------------


async def test_sessions_are_listed_newest_first(connect: Connect) -> None:
    client = await connect(Inline)
    async with asyncio.timeout(10):
        assert await client.list_sessions() == []
        async with client.session(metadata={"n": "1"}) as one, client.session(metadata={"n": "2"}) as two:
            await one.set("x", 1)
            listed = await client.list_sessions()
            assert {info.session_id for info in listed} == {one.session_id, two.session_id}
            assert {info.metadata["n"]: info.variable_count for info in listed} == {"1": 1, "2": 0}
            assert [info.created_at for info in listed] == sorted((info.created_at for info in listed), reverse=True)
            assert len(await client.list_sessions(limit=1)) == 1
            with pytest.raises(BridgeError) as caught:
                await client.list_sessions(limit=-1)
            assert caught.value.code is Code.INVALID_ARGUMENT
        assert await client.list_sessions() == []


async def test_a_server_without_sessions_says_where_they_are(start: Start) -> None:
    host = await start(role="host")
    server = await start(Inline, host=host.addresses[0])
    async with asyncio.timeout(10), BridgeClient(server.addresses[0]) as client:
        for ask in (client.list_sessions, client.session(session_id="0" * 32).__aenter__):
            with pytest.raises(BridgeError) as caught:
                await ask()
            assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "NO_HOST")


# -- variables ---------------------------------------------------------------------------------------------------


async def test_metadata_time_to_live_and_guards_go_with_a_write(connect: Connect) -> None:
    client = await connect(Inline)
    async with asyncio.timeout(10), client.session() as session:
        assert await session.set("a", 1, expected_version=0, metadata={"unit": "K"}, ttl=60) == 1
        written = await session.get_variable("a")
        assert written.metadata == {"unit": "K"}
        assert written.expires_at is not None
        results = await session.set_many(
            {"a": 2, "b": 2},
            atomic=False,
            expected_versions={"a": 7, "b": 0},
            metadata={"unit": "m"},
            ttl=60,
        )
        refused = results["a"]
        assert isinstance(refused, BridgeError)
        assert (refused.reason, results["b"]) == ("VERSION_MISMATCH", 1)
        with pytest.raises(BridgeError) as caught:
            await session.set_many({"a": 2, "b": 2}, expected_versions={"b": 7})
        assert caught.value.reason == "VERSION_MISMATCH"
        assert await session.get_many(["a", "b"]) == {"a": 1, "b": 2}
        other = await session.get_variable("b")
        assert other.metadata == {"unit": "m"}
        assert other.expires_at is not None


async def test_what_a_variable_was_can_be_read_and_written_again(connect: Connect) -> None:
    client = await connect(Inline)
    async with asyncio.timeout(10), client.session() as session:
        for value in (1, 2, 3):
            await session.set("x", value)
        await session.delete("x")
        history = await session.history("x")
        kinds = [(update.kind, update.variable.value) for update in history if update.variable]
        assert kinds == [
            (UpdateKind.DELETED, None),
            (UpdateKind.CHANGED, 3),
            (UpdateKind.CHANGED, 2),
            (UpdateKind.CHANGED, 1),
        ]
        assert [update.kind for update in await session.history("x", limit=1)] == [UpdateKind.DELETED]
        back = await session.rollback("x", 2)
        assert (back.value, back.version) == (2, 5)
        with pytest.raises(BridgeError) as caught:
            await session.rollback("x", 1, expected_version=4)
        assert caught.value.reason == "VERSION_MISMATCH"
        with pytest.raises(BridgeError) as caught:
            await session.rollback("x", 77)
        assert (caught.value.code, caught.value.reason) == (Code.OUT_OF_RANGE, "VERSION_GONE")
        with pytest.raises(BridgeError) as caught:
            await session.history("nothing")
        assert caught.value.reason == "VARIABLE_NOT_FOUND"


async def test_reads_of_a_client_are_never_from_memory_but_go_together(connect: Connect) -> None:
    client, host = await recorded(connect)
    async with asyncio.timeout(10), client.session(session_id=await opened(host)) as session:
        await session.set("x", 1)
        assert [*await asyncio.gather(session.get("x"), session.get("y", 0), session.get("x"))] == [1, 0, 1]
        await host.host.delete_variable(CallScope(session.session_id), "x")
        assert await session.get("x", "gone") == "gone"
        assert host.of("get") == [("x", "y"), ("x",)]


async def test_writes_of_a_client_keep_their_order(connect: Connect) -> None:
    client, host = await recorded(connect)
    async with asyncio.timeout(10), client.session(session_id=await opened(host)) as session:
        held = host.hold("set")
        writing = asyncio.gather(*(session.set("x", number) for number in range(5)), session.get("x"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(host.asked) == 1
        held.set()
        assert await writing == [1, 2, 3, 4, 5, 4]


# -- repeated ----------------------------------------------------------------------------------------------------


async def recorded(connect: Connect) -> tuple[BridgeClient, RecordingHost]:
    """A client whose sessions are kept by a recording host."""
    client = await connect(Inline, client={"timing": ManualTime().timing()})
    client._open_host()
    host = RecordingHost()
    replaced: Any = client
    replaced._host = host
    return client, host


async def opened(host: RecordingHost) -> str:
    """The id of an open session. One of the client's own would send heartbeats without end in manual time."""
    return (await host.host.open_session(CallScope())).session_id


REPEATED: dict[str, Callable[[Session], Awaitable[Any]]] = {
    "get": lambda session: session.get("x"),
    "list": lambda session: session.list(),
    "history": lambda session: session.history("x"),
    "watch": lambda session: session.watch("x").__aenter__(),
}
MADE_ONCE: dict[str, Callable[[Session], Awaitable[Any]]] = {
    "set": lambda session: session.set("x", 2),
    "register": lambda session: session.register("x", "integer", 2),
    "delete": lambda session: session.delete("x"),
    "rollback": lambda session: session.rollback("x", 1),
}


@pytest.mark.parametrize("method", [*REPEATED, *MADE_ONCE])
async def test_what_only_looks_is_repeated_when_the_line_breaks_and_what_writes_is_not(
    connect: Connect, method: str
) -> None:
    client, host = await recorded(connect)

    async def lose(asked: str) -> None:
        if asked == method and len(host.of(method)) == 1:
            raise LOST

    async with asyncio.timeout(10), client.session(session_id=await opened(host)) as session:
        await session.set("x", 1)
        host.asked.clear()
        host.before = lose
        if method in REPEATED:
            result = await REPEATED[method](session)
            if method == "watch":
                await result.aclose()
        else:
            with pytest.raises(BridgeError) as caught:
                await MADE_ONCE[method](session)
            assert caught.value is LOST
    assert len(host.of(method)) == (2 if method in REPEATED else 1)
