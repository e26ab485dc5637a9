"""MCP messages as lines, and the notes of a call, without a process around them."""

from __future__ import annotations

import asyncio
import socket

import pytest

from bridge.call import Chunk, Progress
from bridge.errors import BridgeError
from bridge.mcp import notes as notes_module
from bridge.mcp.notes import Notes
from bridge.mcp.streams import Incoming, Outgoing

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'


async def test_F12_a_client_that_does_not_read_its_answers_is_not_read() -> None:
    ours, theirs = socket.socketpair()
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(sock=ours)
        client, other = await asyncio.open_connection(sock=theirs, limit=2**20)
        incoming = Incoming(reader, Outgoing(writer), 1000, 0.0)
        writer.write(bytes(2**22))
        other.write(PING)
        message = asyncio.create_task(anext(incoming))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not message.done()
        await client.readexactly(2**22)
        await message
        for end in (writer, other):
            end.close()
            await end.wait_closed()


async def test_F01_messages_may_come_byte_by_byte() -> None:
    ours, theirs = socket.socketpair()
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(sock=ours)
        incoming = Incoming(reader, Outgoing(writer), 1000, 0.0)
        for byte in PING:
            theirs.send(bytes([byte]))
            await asyncio.sleep(0)
        theirs.shutdown(socket.SHUT_WR)
        assert [item.message.id async for item in incoming] == [1]  # type: ignore[union-attr]
        writer.close()
        await writer.wait_closed()
        theirs.close()


async def test_a_cancel_that_names_no_request_is_passed_over() -> None:
    ours, theirs = socket.socketpair()
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(sock=ours)
        incoming = Incoming(reader, Outgoing(writer), 1000, 0.0)
        theirs.send(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":[1]}}\n' + PING)
        theirs.shutdown(socket.SHUT_WR)
        methods = [item.message.method async for item in incoming]  # type: ignore[union-attr]
        assert methods == ["notifications/cancelled", "ping"]
        writer.close()
        await writer.wait_closed()
        theirs.close()


async def told(*chunks: Chunk) -> list[tuple[float, float | None, str | None]]:
    found: list[tuple[float, float | None, str | None]] = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        found.append((progress, total, message))

    notes = Notes("tool", report)
    for chunk in chunks:
        await notes.emit(chunk)
    return found


async def test_C08_progress_never_stands_still_or_goes_back() -> None:
    fractions = [0.5, 0.5, 0.2, None, float("nan"), 0.9]
    found = await told(*(Chunk(progress=Progress(fraction)) for fraction in fractions), Chunk("value"))
    progress = [note[0] for note in found]
    assert progress == sorted(set(progress))
    assert (progress[0], progress[5]) == (0.5, 0.9)
    assert {note[1] for note in found} == {1.0}
    assert found[-1][2] == "value"


async def test_values_that_are_no_text_are_not_shown() -> None:
    found = await told(Chunk(b"bytes"), Chunk("x" * 10_000), Chunk(float("nan")), Chunk("\ud800"), Chunk([1]))
    assert [note[2] for note in found] == [None, None, None, None, "[1]"]


async def test_more_values_than_fit_a_list_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes_module, "MAX_COLLECTED", 2)
    with pytest.raises(BridgeError) as caught:
        await told(Chunk(1), Chunk(2), Chunk(3))
    assert caught.value.reason == "TOO_MANY_VALUES"
