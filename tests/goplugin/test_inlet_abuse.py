"""What an inlet does with those who do not do as they should."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from bridge.goplugin.transport import connections
from bridge.goplugin.transport.identity import Tls
from bridge.goplugin.transport.inlet import Inlet
from bridge.goplugin.transport.outlet import Outlet, to_socket, to_stream
from bridge.goplugin.transport.sockets import SocketPlace
from tests.goplugin.inlet_ends import ECHO, bare, channel_by, descriptors, echo_server, inlet_before, trusting
from tests.support.waiting import until
from tests.yamux.ends import Echo, Notes, connected

STAGES = ("at once", "a word", "half a hello", "hello", "in the handshake", "after it", "in a call", "closed well")


@asynccontextmanager
async def plain_echo() -> AsyncIterator[Path]:
    """A server without gRPC."""
    with SocketPlace() as place:
        path = place.new_private_socket()
        server = await asyncio.get_running_loop().create_unix_server(Echo, path)
        async with server:
            yield path


class Hello:
    """A client of TLS that talks by hand."""

    def __init__(self, tls: Tls) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = tls.client.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def step(self) -> bytes:
        """What it says next."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()


async def visit(path: Path, theirs: Tls, stage: str) -> None:
    """Connects, gets as far as that, and drops the connection."""
    loop = asyncio.get_running_loop()
    if STAGES.index(stage) >= STAGES.index("after it"):
        notes = Notes()
        transport = await to_socket("unix", str(path), theirs)(lambda: notes)
        if stage != "after it":
            transport.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        if stage == "closed well":
            transport.close()
        else:
            transport.abort()
        await notes.lost.wait()
        return
    with await bare(path) as connection:
        hello = Hello(theirs)
        first = hello.step()
        said = {"at once": b"", "a word": b"PRI", "half a hello": first[: len(first) // 2]}.get(stage, first)
        if said:
            await loop.sock_sendall(connection, said)
        if stage == "in the handshake":
            hello.incoming.write(await loop.sock_recv(connection, 65536))
            await loop.sock_sendall(connection, hello.step()[:20])


async def test_connections_dropped_at_any_stage_leave_nothing() -> None:
    ours, theirs = trusting()
    async with (
        asyncio.timeout(50),
        echo_server() as target,
        inlet_before(target, ours.server) as (inlet, path),
        channel_by(to_socket("unix", str(path), theirs)) as (channel, _),
    ):
        assert await channel.unary(ECHO, b"x", timeout=5) == b"x"
        before = descriptors()
        for _ in range(25):
            await asyncio.gather(*(visit(path, theirs, stage) for stage in STAGES))
        await until(lambda: len(inlet) == 1 and descriptors() <= before)
        assert await channel.unary(ECHO, b"y", timeout=5) == b"y"


async def test_closing_in_the_middle_of_all_stages_leaves_nothing() -> None:
    ours, theirs = trusting()
    async with asyncio.timeout(20), plain_echo() as target:
        before = descriptors()
        for turns in range(12):
            async with inlet_before(target, ours.server) as (_, path):
                kept = [await bare(path) for _ in range(3)]
                visits = [asyncio.create_task(visit(path, theirs, stage)) for stage in STAGES]
                for _ in range(turns):
                    await asyncio.sleep(0)
            await asyncio.gather(*visits, return_exceptions=True)  # some are cut off
            for connection in kept:
                connection.close()
        await until(lambda: descriptors() <= before)


async def test_who_never_finishes_the_handshake_is_cut_off_and_others_are_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours, theirs = trusting()
    loop = asyncio.get_running_loop()
    async with (
        asyncio.timeout(20),
        plain_echo() as target,
        inlet_before(target, ours.server, handshake_timeout=0.2) as (inlet, path),
    ):
        silent, slow = await bare(path), await bare(path)
        await loop.sock_sendall(slow, Hello(theirs).step()[:50])
        notes = Notes()
        transport = await to_socket("unix", str(path), theirs)(lambda: notes)
        transport.write(b"served")
        assert await notes.until(6) == b"served"
        for connection in (silent, slow):
            assert await loop.sock_recv(connection, 100) == b""
            connection.close()
        await until(lambda: len(inlet) == 1)
        assert "has not finished the TLS handshake in 0.2 s" in caplog.text
        transport.close()
        await notes.lost.wait()


async def test_who_only_looks_whether_somebody_listens_does_not_stand_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours, _ = trusting()
    async with asyncio.timeout(5), plain_echo() as target, inlet_before(target, ours.server) as (inlet, path):
        (await bare(path)).close()
        await until(lambda: not inlet._connections._listening[0]._open)
        assert len(inlet) == 0
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


async def test_beyond_the_limit_connections_wait_for_others_to_end() -> None:
    async with asyncio.timeout(10), plain_echo() as target, inlet_before(target, None, limit=2) as (inlet, path):
        loop = asyncio.get_running_loop()
        first, second, third = [await bare(path) for _ in range(3)]
        for connection in (first, second, third):
            await loop.sock_sendall(connection, b"x")
        assert await loop.sock_recv(first, 1) == b"x"
        assert await loop.sock_recv(second, 1) == b"x"
        assert len(inlet) == 2
        first.close()
        assert await loop.sock_recv(third, 1) == b"x"
        second.close()
        third.close()


async def test_half_closed_clients_get_their_answer() -> None:
    async with asyncio.timeout(10), inlet_to_late_answers() as path:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"question")
        writer.write_eof()
        assert await reader.read() == b"answer to question"
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def inlet_to_late_answers() -> AsyncIterator[Path]:
    """A server that answers when it has all of the question."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"answer to " + await reader.read())
        writer.close()
        await writer.wait_closed()

    with SocketPlace() as place:
        target = place.new_private_socket()
        async with await asyncio.start_unix_server(answer, target), inlet_before(target, None) as (_, path):
            yield path


@contextmanager
def descriptors_used_up() -> Iterator[None]:
    """No more can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Path("/dev/null").open() as lowest_free:
        limit = lowest_free.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_without_descriptors_it_waits_and_goes_on_when_there_are_some(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "_PAUSE", 0.05)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10), plain_echo() as target, inlet_before(target, None) as (_, path):
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            with descriptors_used_up():
                await loop.sock_connect(client, str(path))
                await loop.sock_sendall(client, b"x")
                await until(lambda: "no connection can be accepted" in caplog.text)
                attempts = caplog.text.count("no connection can be accepted")
                assert attempts == 1
            assert await loop.sock_recv(client, 1) == b"x"


async def test_closing_while_it_waits_for_descriptors_leaves_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10), plain_echo() as target:
        before = descriptors()
        async with inlet_before(target, None) as (_, path):
            with socket.socket(socket.AF_UNIX) as client:
                client.setblocking(False)
                with descriptors_used_up():
                    await loop.sock_connect(client, str(path))
                    await until(lambda: "no connection can be accepted" in caplog.text)
        assert descriptors() <= before


async def test_a_connection_that_its_client_has_taken_back_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accept = socket.socket.accept
    failures = [OSError(errno.ECONNABORTED, "aborted")]

    def failing(self: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            raise failures.pop()
        return accept(self)

    async with asyncio.timeout(5), plain_echo() as target, inlet_before(target, None) as (_, path):
        monkeypatch.setattr(socket.socket, "accept", failing)
        connection = await bare(path)
        await asyncio.get_running_loop().sock_sendall(connection, b"x")
        assert await asyncio.get_running_loop().sock_recv(connection, 1) == b"x"
        connection.close()
    assert (failures, caplog.text) == ([], "")


async def test_what_was_accepted_a_moment_before_the_end_is_closed() -> None:
    async def never(factory: Callable[[], asyncio.BaseProtocol]) -> asyncio.Transport:
        raise AssertionError

    accepters: list[Inlet | Outlet] = [Inlet(Path(), None), Outlet(never)]
    for accepter in accepters:
        near, far = socket.socketpair()
        task = accepter._accepted(far)
        async with asyncio.timeout(5):
            await accepter.aclose()
        assert (task.cancelled(), far.fileno()) == (True, -1)
        near.close()


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
async def test_a_stream_that_is_reset_at_any_moment_leaves_nothing(secured: bool) -> None:
    tls = trusting()[0].server if secured else None
    async with asyncio.timeout(10), plain_echo() as target, connected() as (client, server):
        inlet = Inlet(target, tls)
        for turns in range(6):
            stream, _ = await client.open_stream(Notes)
            await inlet.accept_from(server)
            for _ in range(turns):
                await asyncio.sleep(0)
            stream.abort()
        await until(lambda: len(inlet) == 0)
        await inlet.aclose()
        await until(lambda: client.stream_count + server.stream_count == 0)


async def test_a_session_that_ends_takes_its_connections_along() -> None:
    ours, theirs = trusting()
    async with asyncio.timeout(10), plain_echo() as target, connected() as (client, server):
        inlet = Inlet(target, ours.server)
        notes = Notes()
        transport, _ = await asyncio.gather(to_stream(client, theirs, None)(lambda: notes), inlet.accept_from(server))
        transport.write(b"x")
        assert await notes.until(1) == b"x"
        server.close()
        await notes.lost.wait()
        await until(lambda: len(inlet) == 0)
        await inlet.aclose()
