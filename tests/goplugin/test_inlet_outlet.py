"""Calls of a real engine through inlets and outlets."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.errors import BridgeError, Code
from bridge.goplugin.transport.identity import Tls, make_identity, static_tls
from bridge.goplugin.transport.inlet import Inlet
from bridge.goplugin.transport.outlet import Outlet, to_socket, to_stream
from bridge.goplugin.transport.sockets import SocketPlace, choose_port
from tests.goplugin import certificates
from tests.goplugin.inlet_ends import ECHO, bare, channel_by, descriptors, echo_server, inlet_before, trusting
from tests.support.waiting import until
from tests.yamux.ends import connected, pattern

BIG = pattern(64 * 1024 * 1024)


def mode(path: Path) -> int:
    """Permissions."""
    return path.stat().st_mode & 0o777


def names(folder: Path) -> list[str]:
    """What is in it."""
    return [path.name for path in folder.iterdir()]


def reason_of(outlet: Outlet) -> str:
    """Why its last connection has failed."""
    return "" if outlet.failure is None else outlet.failure.reason


def maybe_trusting(secured: bool) -> tuple[ssl.SSLContext | None, Tls | None]:
    """For an inlet and who connects to it."""
    if not secured:
        return None, None
    ours, theirs = trusting()
    return ours.server, theirs


@pytest.mark.parametrize("key", certificates.KEYS)
async def test_calls_go_through_tls_with_a_peer_of_any_kind_of_key(key: str) -> None:
    ours, theirs = trusting(key)
    async with (
        asyncio.timeout(20),
        echo_server() as target,
        inlet_before(target, ours.server) as (_, path),
        channel_by(to_socket("unix", str(path), theirs)) as (channel, _),
    ):
        assert await channel.unary(ECHO, b"hello", timeout=5) == b"hello"


async def test_the_side_with_the_other_kind_of_key_may_be_the_server() -> None:
    ours, theirs = trusting("P-521")
    async with (
        asyncio.timeout(20),
        echo_server() as target,
        inlet_before(target, theirs.server) as (_, path),
        channel_by(to_socket("unix", str(path), ours)) as (channel, _),
    ):
        assert await channel.unary(ECHO, b"hello", timeout=5) == b"hello"


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
async def test_64_megabytes_go_through_a_socket(secured: bool) -> None:
    ours, theirs = maybe_trusting(secured)
    async with (
        asyncio.timeout(50),
        echo_server() as target,
        inlet_before(target, ours) as (_, path),
        channel_by(to_socket("unix", str(path), theirs)) as (channel, _),
    ):
        assert await channel.unary(ECHO, BIG, timeout=40) == BIG


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
async def test_64_megabytes_go_through_a_stream_and_others_meanwhile(secured: bool) -> None:
    ours, theirs = maybe_trusting(secured)
    knocks: list[str] = []

    async def knock() -> None:
        knocks.append("knock")

    async with asyncio.timeout(50), echo_server() as target, connected() as (client, server):
        inlet = Inlet(target, ours)
        connect = to_stream(client, theirs, knock)
        async with channel_by(connect) as (channel, _), channel_by(connect) as (other, _):
            calls = asyncio.gather(channel.unary(ECHO, BIG, timeout=40), other.unary(ECHO, b"small", timeout=40))
            await inlet.accept_from(server)
            await inlet.accept_from(server)
            assert list(await calls) == [BIG, b"small"]
        assert knocks == ["knock"] * 2
        await until(lambda: len(inlet) == 0)
        await inlet.aclose()
        await until(lambda: client.stream_count + server.stream_count == 0)


async def test_calls_go_over_tcp() -> None:
    ours, theirs = trusting()
    async with asyncio.timeout(20), echo_server() as target:
        inlet = Inlet(target, ours.server)
        port = await inlet.listen_tcp("127.0.0.1", 0)
        with choose_port(0, 0) as listening:
            other = listening.getsockname()[1]
            inlet.listen(listening.dup())
        for each in (port, other):
            async with channel_by(to_socket("tcp", f"127.0.0.1:{each}", theirs)) as (channel, _):
                assert await channel.unary(ECHO, b"x", timeout=5) == b"x"
        with pytest.raises(BridgeError) as caught:
            await Inlet(target, None).listen_tcp("127.0.0.1", port)
        assert caught.value.reason == "ADDRESS_IN_USE"
        await inlet.aclose()


async def test_a_socket_gets_the_mode_of_its_place() -> None:
    async with asyncio.timeout(5):
        with SocketPlace(group=str(os.getgid())) as place:
            inlet, shared, own = Inlet(Path(), None), place.new_socket(), place.new_socket()
            await inlet.listen_unix(shared, place)
            await inlet.listen_unix(own)
            assert (mode(shared), mode(own)) == (0o660, 0o600)
            with pytest.raises(BridgeError) as caught:
                await inlet.listen_unix(shared)
            assert caught.value.reason == "SOCKET_DIRECTORY"
            await inlet.aclose()


async def test_a_host_that_is_not_trusted_does_not_reach_the_server(caplog: pytest.LogCaptureFixture) -> None:
    ours, _ = trusting()
    _, stranger = trusting()
    stranger.client.check_hostname, stranger.client.verify_mode = False, ssl.CERT_NONE
    async with (
        asyncio.timeout(20),
        echo_server() as target,
        inlet_before(target, ours.server) as (_, path),
        channel_by(to_socket("unix", str(path), stranger)) as (channel, outlet),
    ):
        with pytest.raises(BridgeError) as caught:
            await channel.unary(ECHO, b"x", timeout=5)
        assert caught.value.code is Code.UNAVAILABLE
        await until(lambda: outlet.failure)
        assert outlet.failure is not None
        # Which of the two depends on whether the alert is read before something is written.
        assert outlet.failure.reason in ("BAD_CERTIFICATE", "TLS_FAILED")
        assert "our certificate" in outlet.failure.message
    assert "is not the one that is trusted" in caplog.text


async def test_a_plugin_that_is_not_trusted_is_called_by_its_fault() -> None:
    stranger, _ = trusting()
    _, theirs = trusting()
    async with (
        asyncio.timeout(20),
        echo_server() as target,
        inlet_before(target, stranger.server) as (_, path),
        channel_by(to_socket("unix", str(path), theirs)) as (channel, outlet),
    ):
        with pytest.raises(BridgeError):
            await channel.unary(ECHO, b"x", timeout=5)
        assert outlet.failure is not None
        assert outlet.failure.reason == "BAD_CERTIFICATE"
        assert "is not the one that is trusted" in outlet.failure.message


async def test_a_plugin_that_does_not_answer_or_speaks_no_tls_is_called_so() -> None:
    _, theirs = trusting()
    async with asyncio.timeout(20), echo_server() as target, inlet_before(target, None) as (inlet, path):
        connect = to_socket("unix", str(path), theirs)
        with pytest.raises(BridgeError) as caught:
            await connect(asyncio.Protocol)
        assert caught.value.reason == "TLS_FAILED"
        await inlet.aclose()
        with pytest.raises(BridgeError) as caught:
            await connect(asyncio.Protocol)
        assert caught.value.reason == "NOT_CONNECTED"


@pytest.mark.parametrize(
    ("network", "address"), [("udp", "x"), ("unix", ""), ("tcp", "127.0.0.1"), ("tcp", "127.0.0.1:0")]
)
async def test_an_address_that_is_none_is_refused_before_anything_is_made(network: str, address: str) -> None:
    with pytest.raises(BridgeError) as caught:
        to_socket(network, address, None)
    assert caught.value.reason == "PLUGIN_ADDRESS"


async def test_an_abstract_socket_can_be_connected_to(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{tmp_path.name}-{id(tmp_path)}")
        listening.listen()
        async with asyncio.timeout(5):
            transport = await to_socket("unix", f"@{tmp_path.name}-{id(tmp_path)}", None)(asyncio.Protocol)
            transport.close()


async def test_a_client_may_come_by_static_certificates() -> None:
    server, client = make_identity(), certificates.make("RSA", authority=False)
    ours = static_tls(server.certificate, server.private_key, authorities=client.certificate)
    theirs = static_tls(client.certificate, client.private_key, authorities=server.certificate)
    async with (
        asyncio.timeout(20),
        echo_server() as target,
        inlet_before(target, ours.server) as (_, path),
        channel_by(to_socket("unix", str(path), theirs)) as (channel, _),
    ):
        assert await channel.unary(ECHO, b"x", timeout=5) == b"x"


async def test_a_channel_connects_when_the_plugin_is_there_and_again_when_it_is_back() -> None:
    ours, theirs = trusting()
    async with asyncio.timeout(20), echo_server() as target:
        with SocketPlace() as place:
            path = place.new_socket()
            async with channel_by(to_socket("unix", str(path), theirs)) as (channel, outlet):
                for _ in range(2):
                    with pytest.raises(BridgeError):
                        await channel.unary(ECHO, b"x", timeout=5)
                    await until(lambda: reason_of(outlet) == "NOT_CONNECTED")
                    inlet = Inlet(target, ours.server)
                    await inlet.listen_unix(path)
                    await channel.ready()
                    assert await channel.unary(ECHO, b"x", timeout=5) == b"x"
                    assert reason_of(outlet) == ""
                    await inlet.aclose()
                    await until(lambda: len(outlet) == 0)


async def test_when_the_server_is_gone_clients_are_closed_and_the_log_says_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with asyncio.timeout(5), inlet_before(tmp_path / "nobody", None) as (_, path):
        connection = await bare(path)
        assert await asyncio.get_running_loop().sock_recv(connection, 1) == b""
        connection.close()
        await until(lambda: "gRPC server of this process does not answer" in caplog.text)


@pytest.mark.parametrize("shared", [False, True])
async def test_an_outlet_leaves_nothing(shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    async def never(factory: Callable[[], asyncio.BaseProtocol]) -> asyncio.Transport:
        await asyncio.Event().wait()
        raise AssertionError

    before = descriptors()
    place = SocketPlace() if shared else None
    async with asyncio.timeout(5):
        outlet = Outlet(never, place)
        target = await outlet.open()
        path = Path(target.removeprefix("unix:"))
        assert (mode(path), mode(path.parent)) == (0o600, 0o700)
        connections = [await bare(path) for _ in range(3)]
        await until(lambda: len(outlet) == 3)
        await outlet.aclose()
        await outlet.aclose()
        assert path.name not in names(path.parent) if shared else path.parent.name not in names(tmp_path)
        for connection in connections:
            connection.close()
        if place is not None:
            place.close()
        assert names(tmp_path) == []
        assert descriptors() <= before
