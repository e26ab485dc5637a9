"""TLS as a transport on other transports."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bridge.errors import BridgeError, Code
from bridge.goplugin.transport.identity import Identity, Tls, make_identity, mutual_tls
from bridge.tls import TlsTransport
from tests.goplugin import certificates
from tests.support.waiting import until
from tests.yamux.ends import Echo, Notes, connected, is_pattern, pattern

MIB = 1024 * 1024


class Buffered(asyncio.BufferedProtocol):
    """Reads nothing until it is told to, and notes what comes."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.data = bytearray()
        self.events: list[str] = []
        self._buffer = bytearray(1000)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.pause_reading()
        self.events.append("made")

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self._buffer[:nbytes]

    def eof_received(self) -> None:
        self.events.append("end")

    def connection_lost(self, error: Exception | None) -> None:
        self.events.append("lost")


def pair() -> tuple[Tls, Tls]:
    """Of two that trust each other."""
    ours, theirs = make_identity(), certificates.make("P-521")
    return mutual_tls(ours, theirs.der), mutual_tls(theirs, ours.der)


def client_of(tls: Tls, protocol: asyncio.BaseProtocol) -> TlsTransport:
    return TlsTransport(protocol, tls.client, server_side=False, server_hostname="localhost")


def server_of(tls: Tls, protocol: asyncio.BaseProtocol) -> TlsTransport:
    return TlsTransport(protocol, tls.server, server_side=True)


@asynccontextmanager
async def joined(client: TlsTransport, server: TlsTransport) -> AsyncIterator[None]:
    """Both on a pair of sockets, that are closed when both are."""
    near, far = socket.socketpair()
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: client, sock=near)
    await loop.create_connection(lambda: server, sock=far)
    try:
        yield
    finally:
        client.abort()
        server.abort()
        await until(lambda: (near.fileno(), far.fileno()) == (-1, -1))


async def test_what_is_written_arrives_both_ways() -> None:
    ours, theirs = pair()
    notes = Notes()
    client, server = client_of(ours, notes), server_of(theirs, Echo())
    async with asyncio.timeout(10), joined(client, server):
        await asyncio.gather(client.handshake(5), server.handshake(5))
        assert client.get_extra_info("peercert")["subject"]
        assert server.get_extra_info("ssl_object").version() == "TLSv1.3"
        client.write(b"")
        client.write(pattern(8 * MIB))
        assert is_pattern(await notes.until(8 * MIB), 8 * MIB)
        client.close()
        client.write(b"nobody gets this")
        await notes.lost.wait()
        assert notes.error is None


async def test_a_protocol_that_pauses_when_it_is_connected_gets_nothing_before_it_resumes() -> None:
    ours, theirs = pair()
    slow = Buffered()
    client, server = client_of(ours, Notes()), server_of(theirs, slow)
    async with asyncio.timeout(10), joined(client, server):
        await asyncio.gather(client.handshake(5), server.handshake(5))
        client.write(pattern(2 * MIB))
        await until(lambda: client.get_write_buffer_size() < 2 * MIB)
        assert (bytes(slow.data), slow.events) == (b"", ["made"])
        client.close()
        for _ in range(10):
            slow.transport.resume_reading()
            await asyncio.sleep(0)
            slow.transport.pause_reading()
        slow.transport.resume_reading()
        await until(lambda: "lost" in slow.events)
        assert is_pattern(slow.data, 2 * MIB)
        assert slow.events == ["made", "end", "lost"]


class Sip(Buffered):
    """Pauses after each buffer full."""

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        self.transport.pause_reading()


async def test_what_was_left_when_a_protocol_has_paused_comes_without_more_being_sent() -> None:
    ours, theirs = pair()
    sip = Sip()
    client, server = client_of(ours, Notes()), server_of(theirs, sip)
    async with asyncio.timeout(10), joined(client, server):
        await asyncio.gather(client.handshake(5), server.handshake(5))
        client.write(pattern(3500))
        for _ in range(4):
            size = len(sip.data)
            assert not server.is_reading()
            server.resume_reading()
            await until(lambda: server.is_reading() is False)
            assert len(sip.data) > size
        assert is_pattern(sip.data, 3500)


async def test_who_writes_more_than_is_taken_is_asked_to_wait() -> None:
    ours, theirs = pair()
    notes, slow = Notes(), Buffered()
    client, server = client_of(ours, notes), server_of(theirs, slow)
    async with asyncio.timeout(10), joined(client, server):
        await asyncio.gather(client.handshake(5), server.handshake(5))
        client.write(pattern(4 * MIB))
        assert not notes.writable.is_set()
        slow.transport.resume_reading()
        await notes.writable.wait()
        await until(lambda: len(slow.data) == 4 * MIB)


async def test_tls_runs_in_streams() -> None:
    ours, theirs = pair()
    async with asyncio.timeout(10), connected() as (near, far):
        notes = Notes()
        client, server = client_of(ours, notes), server_of(theirs, Echo())
        await near.open_stream(lambda: client)
        await far.accept_stream(lambda: server)
        await asyncio.gather(client.handshake(5), server.handshake(5))
        client.write(pattern(2 * MIB))
        assert is_pattern(await notes.until(2 * MIB), 2 * MIB)
        client.close()
        await until(lambda: near.stream_count + far.stream_count == 0)


async def test_both_sides_hear_why_a_client_is_refused() -> None:
    ours, _ = pair()
    stranger, _ = pair()
    stranger.client.check_hostname, stranger.client.verify_mode = False, ssl.CERT_NONE
    notes, silent = Notes(), Buffered()
    client, server = client_of(stranger, notes), server_of(ours, silent)
    async with asyncio.timeout(10), joined(client, server):
        refused, accepted = await asyncio.gather(client.handshake(5), server.handshake(5), return_exceptions=True)
        assert refused is None  # a client of TLS 1.3 is ready before it has been looked at
        assert isinstance(accepted, BridgeError)
        assert (accepted.code, accepted.reason) == (Code.UNAUTHENTICATED, "BAD_CERTIFICATE")
        assert "not the one that is trusted" in accepted.message
        assert silent.events == []
        await notes.lost.wait()
        assert isinstance(notes.error, ssl.SSLError)
        assert notes.error.reason == "TLSV1_ALERT_UNKNOWN_CA"


async def test_both_sides_hear_why_a_server_is_refused() -> None:
    ours, _ = pair()
    stranger, _ = pair()
    client, server = client_of(ours, Buffered()), server_of(stranger, Buffered())
    async with asyncio.timeout(10), joined(client, server):
        errors = await asyncio.gather(client.handshake(5), server.handshake(5), return_exceptions=True)
    assert [(error.code, error.reason) for error in errors if isinstance(error, BridgeError)] == [
        (Code.UNAUTHENTICATED, "BAD_CERTIFICATE")
    ] * 2
    assert "of the other side is not the one that is trusted" in str(errors[0])
    assert "the other side refuses our certificate" in str(errors[1])


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (certificates.make(extended=certificates.CLIENT), "not made for this use"),
        (certificates.make(name="elsewhere"), "for another name"),
    ],
    ids=["use", "name"],
)
async def test_what_only_a_handshake_can_tell_is_told(theirs: Identity, words: str) -> None:
    ours = make_identity()
    client = client_of(mutual_tls(ours, theirs.der), Buffered())
    server = server_of(mutual_tls(theirs, ours.der), Buffered())
    async with asyncio.timeout(10), joined(client, server):
        error, _ = await asyncio.gather(client.handshake(5), server.handshake(5), return_exceptions=True)
        assert isinstance(error, BridgeError)
        assert error.reason == "BAD_CERTIFICATE"
        assert words in error.message


@asynccontextmanager
async def facing(server: TlsTransport) -> AsyncIterator[socket.socket]:
    """A bare socket whose other end the server has."""
    near, far = socket.socketpair()
    near.setblocking(False)
    with near:
        await asyncio.get_running_loop().create_connection(lambda: server, sock=far)
        yield near
    assert far.fileno() == -1


async def test_who_does_not_speak_tls_is_named_so() -> None:
    server = server_of(pair()[0], Buffered())
    async with asyncio.timeout(5), facing(server) as near:
        near.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        with pytest.raises(BridgeError, match="does not speak TLS") as caught:
            await server.handshake(5)
        assert caught.value.reason == "TLS_FAILED"


async def test_who_says_nothing_is_cut_off() -> None:
    server = server_of(pair()[0], Buffered())
    async with asyncio.timeout(5), facing(server):
        with pytest.raises(BridgeError) as caught:
            await server.handshake(0.05)
        assert (caught.value.code, caught.value.reason) == (Code.DEADLINE_EXCEEDED, "TLS_TIMEOUT")


async def test_who_breaks_off_in_the_handshake_is_told_from_one_that_only_looks() -> None:
    server = server_of(pair()[0], Buffered())
    async with asyncio.timeout(5), facing(server) as near:
        near.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionError):
            await server.handshake(5)
    server = server_of(pair()[0], Buffered())
    async with asyncio.timeout(5), facing(server) as near:
        near.send(b"\x16\x03")
        near.shutdown(socket.SHUT_WR)
        with pytest.raises(BridgeError, match="in the TLS handshake"):
            await server.handshake(5)


async def test_a_cancelled_handshake_leaves_nothing() -> None:
    server = server_of(pair()[0], Buffered())
    async with asyncio.timeout(5), facing(server):
        waiting = asyncio.create_task(server.handshake(5))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_a_connection_that_ends_without_goodbye_delivers_what_came_before() -> None:
    ours, theirs = pair()
    notes = Notes()
    client, server = client_of(ours, notes), server_of(theirs, Buffered())
    async with asyncio.timeout(10), joined(client, server):
        await asyncio.gather(client.handshake(5), server.handshake(5))
        server.write(b"last words")
        below = server.get_extra_info("socket")
        below.shutdown(socket.SHUT_WR)
        await notes.lost.wait()
        assert (bytes(notes.data), notes.ended.is_set(), notes.error) == (b"last words", True, None)


async def test_rubbish_after_the_handshake_ends_the_connection_with_an_error() -> None:
    ours, theirs = pair()
    notes = Notes()
    client, server = client_of(ours, notes), server_of(theirs, Buffered())
    async with asyncio.timeout(10), joined(client, server):
        await asyncio.gather(client.handshake(5), server.handshake(5))
        os.write(server.get_extra_info("socket").fileno(), b"\x17\x03\x03\x00\x20" + b"x" * 32)
        await notes.lost.wait()
        assert isinstance(notes.error, ssl.SSLError)


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_server_that_goes_without_a_word_may_not_have_trusted_us(how: str) -> None:
    ours, theirs = pair()
    notes, silent = Notes(), Buffered()
    client, server = client_of(ours, notes), server_of(theirs, silent)
    async with asyncio.timeout(10), joined(client, server):
        await asyncio.gather(client.handshake(5), server.handshake(5))
        getattr(server, how)()
        await notes.lost.wait()
        assert isinstance(notes.error, BridgeError)
        assert "may not trust our certificate" in notes.error.message


async def test_a_client_that_goes_without_a_word_does_nothing_wrong() -> None:
    ours, theirs = pair()
    notes = Notes()
    client, server = client_of(ours, Buffered()), server_of(theirs, notes)
    async with asyncio.timeout(10), joined(client, server):
        await asyncio.gather(client.handshake(5), server.handshake(5))
        client.close()
        await notes.lost.wait()
        assert (notes.ended.is_set(), notes.error) == (True, None)
