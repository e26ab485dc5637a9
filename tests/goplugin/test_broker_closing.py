"""Brokers that are closed, and services that are given up, while something is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from bridge.engines.base import ServerCall
from bridge.errors import BridgeError
from bridge.goplugin.brokering.broker import Broker
from bridge.goplugin.brokering.conversation import Conversation
from bridge.goplugin.brokering.wire import ConnInfo
from tests.goplugin.broker_pair import KINDS, Kind, echo, joined, short_folder
from tests.goplugin.test_broker_lies import lying


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as path:
        yield path


@pytest.mark.parametrize("turns", [1, 3, 9, 20, 30])
@pytest.mark.parametrize("kind", KINDS, ids=str)
async def test_a_dial_ends_with_its_broker_wherever_it_is(kind: Kind, turns: int, folder: Path) -> None:
    async with joined(kind, folder) as pair, asyncio.timeout(20), pair.plugin.accept_and_serve(1, echo()):
        dialing = asyncio.create_task(_dial(pair.host))
        for _ in range(turns):
            await asyncio.sleep(0)
        await pair.host.aclose()
        (outcome,) = await asyncio.gather(dialing, return_exceptions=True)
    assert outcome is None or (isinstance(outcome, BridgeError) and outcome.reason == "BROKER_CLOSED")


@asynccontextmanager
async def deaf(folder: Path) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A socket that says nothing; gives its path, and tells when somebody has come."""
    found = asyncio.Event()
    path = folder / "deaf"

    def come(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        found.set()

    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_unix_server(come, path)
    try:
        yield str(path), found
    finally:
        server.close()
        for writer in writers:
            writer.close()
        path.unlink()


def _dial_in_thread(broker: Broker) -> None:
    with broker.blocking.dial(1, timeout=100):
        pass


async def _dial(broker: Broker) -> None:
    async with broker.dial(1, timeout=100):
        pass


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("blocking", [False, True], ids=["async", "blocking"])
async def test_a_dial_that_is_connecting_ends_with_its_broker(blocking: bool, tls: bool, folder: Path) -> None:
    async with deaf(folder) as (path, found), lying(folder, tls=tls) as liar:
        liar.say(ConnInfo(1, "unix", path))
        dial = asyncio.to_thread(_dial_in_thread, liar.broker) if blocking else _dial(liar.broker)
        dialing = asyncio.ensure_future(dial)
        await found.wait()
        await liar.broker.aclose()
        with pytest.raises(BridgeError) as caught:
            async with asyncio.timeout(10):
                await dialing
    assert caught.value.reason == "BROKER_CLOSED"


@pytest.mark.parametrize("turns", range(4))
async def test_a_service_that_is_cancelled_while_it_starts_is_cancelled_and_nothing_else(
    turns: int, folder: Path
) -> None:
    async with lying(folder) as liar:
        accepting = asyncio.create_task(AsyncExitStack().enter_async_context(liar.broker.accept_and_serve(1, echo())))
        for _ in range(turns):
            await asyncio.sleep(0)
        accepting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await accepting


class _Slow:
    """A stream in which a message takes its time."""

    def __init__(self) -> None:
        self.is_writing, self.has_written = asyncio.Event(), False

    async def requests(self) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def write(self, message: bytes) -> None:
        self.is_writing.set()
        for _ in range(100):
            await asyncio.sleep(0)
        self.has_written = True


async def test_a_message_that_is_being_sent_at_the_end_is_sent() -> None:
    conversation, slow = Conversation(lambda _: None, lambda: None), _Slow()
    method = conversation.methods()[0]
    assert method.duplex is not None
    answering = asyncio.ensure_future(method.duplex(cast("ServerCall", slow), slow.requests()))
    async with asyncio.timeout(5):
        await conversation.send(ConnInfo(1))
        await slow.is_writing.wait()
        conversation.close()
        await answering
    assert slow.has_written
