"""Who may call, and who a tool is told that it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bridge import BridgeError, Code, certificates
from bridge.certificates import Certificates
from bridge.engines.base import ClientTls
from bridge_client import BridgeClient
from tests.support import probes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.create(tmp_path_factory.mktemp("tls") / "certs", ["localhost"])


def trust(made: Certificates, *, show: bool = False) -> ClientTls:
    return ClientTls(
        ca=made.ca.read_bytes(),
        certificate=made.client_certificate.read_bytes() if show else None,
        private_key=made.client_key.read_bytes() if show else None,
    )


def local(address: str) -> str:
    return address.replace("127.0.0.1", "localhost")


@pytest.fixture
def secured(start: Any, made: Certificates) -> Callable[..., Any]:
    async def secured(**settings: Any) -> str:
        tls = {"tls_cert": made.server_certificate, "tls_key": made.server_key}
        server = await start(probes.Inline, listen=("127.0.0.1:0",), **tls, **settings)
        return local(server.addresses[0])

    return secured


async def test_a_token_over_tls_names_the_caller(secured: Any, made: Certificates) -> None:
    address = await secured(tokens=made.tokens)
    async with BridgeClient(address, tls=trust(made), token=made.client_token) as client:
        assert (await client.call("whoami", timeout=10))["principal"] == "token:client"


@pytest.mark.parametrize("token", [None, "0" * 64, "short"])
async def test_a_caller_without_a_good_token_gets_nowhere(secured: Any, made: Certificates, token: str | None) -> None:
    address = await secured(tokens=made.tokens)
    async with BridgeClient(address, tls=trust(made), token=token, retry=None) as client:
        for attempt in (client.call("add", a=1), client.tools(), client.server_info(), client.session().__aenter__()):
            with pytest.raises(BridgeError) as caught:
                await attempt
            assert caught.value.code is Code.UNAUTHENTICATED
            assert "Bearer" in caught.value.message


async def test_tokens_are_rotated_without_a_restart(start: Any, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("ann " + "a" * 32 + "\n")
    tokens.chmod(0o600)
    server = await start(probes.Inline, tokens=tokens)
    address = server.addresses[0]
    async with BridgeClient(address, token="a" * 32) as old, BridgeClient(address, token="b" * 32, retry=None) as new:
        assert (await old.call("whoami"))["principal"] == "token:ann"
        tokens.write_text("bob " + "b" * 32 + "\n")
        async with asyncio.timeout(10):
            while True:  # until the server looks at the file again
                with suppress(BridgeError):
                    facts = await new.call("whoami")
                    break
        assert facts["principal"] == "token:bob"
        with pytest.raises(BridgeError) as caught:
            await old.call("whoami")
        assert caught.value.code is Code.UNAUTHENTICATED


async def test_a_certificate_names_the_caller(secured: Any, made: Certificates) -> None:
    address = await secured(tls_client_ca=made.ca)
    async with BridgeClient(address, tls=trust(made, show=True)) as client:
        assert (await client.call("whoami", timeout=10))["principal"] == "mtls:client"
    async with BridgeClient(address, tls=trust(made), retry=None) as client:
        with pytest.raises(BridgeError) as caught:
            await client.call("whoami", timeout=5)
        assert caught.value.code is Code.UNAVAILABLE


async def test_a_caller_on_the_socket_of_a_server_with_certificates_is_the_user(start: Any, made: Certificates) -> None:
    server = await start(
        probes.Inline, tls_cert=made.server_certificate, tls_key=made.server_key, tls_client_ca=made.ca
    )
    async with BridgeClient(server.addresses[0]) as client:
        assert (await client.call("whoami"))["principal"].startswith("unix:")


async def test_plain_text_to_a_tls_port_fails_clearly(secured: Any, made: Certificates) -> None:
    address = await secured(tokens=made.tokens)
    async with BridgeClient(address, retry=None) as client:
        with pytest.raises(BridgeError) as caught:
            await client.call("add", a=1, timeout=5)
        assert caught.value.code is Code.UNAVAILABLE


async def test_the_client_file_is_all_a_client_needs(start: Any, made: Certificates, tmp_path: Path) -> None:
    file = tmp_path / "client.json"
    await start(
        probes.Inline,
        listen=("0.0.0.0:0",),
        tls_cert=made.server_certificate,
        tls_key=made.server_key,
        tokens=made.tokens,
        write_client=file,
    )
    assert "token_file" in json.loads(file.read_text())
    assert oct(file.stat().st_mode & 0o777) == "0o600"
    async with BridgeClient.from_config(file) as client:
        assert await client.call("add", a=1, timeout=10) == 2


async def test_a_session_belongs_to_whoever_opened_it(start: Any, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("ann " + "a" * 32 + "\nbob " + "b" * 32 + "\n")
    tokens.chmod(0o600)
    server = await start(probes.Inline, tokens=tokens)
    address = server.addresses[0]
    async with (
        BridgeClient(address, token="a" * 32) as ann,
        BridgeClient(address, token="b" * 32) as bob,
        ann.session() as session,
    ):
        await session.set("x", 1)
        assert await session.call("read", name="x") == 1
        with pytest.raises(BridgeError) as caught:
            await bob.call("read", name="x", session=session.session_id)
        assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, "SESSION_NOT_FOUND")


async def test_a_bridge_reaches_a_secured_host_for_its_clients(start: Any, made: Certificates, tmp_path: Path) -> None:
    tokens, client_file = tmp_path / "tokens", tmp_path / "client.json"
    tokens.write_text("ann " + "a" * 32 + "\nbridge " + "b" * 32 + "\n")
    tokens.chmod(0o600)
    (tmp_path / "client.token").write_text("b" * 32)
    host = await start(
        probes.HostTools,
        role="host",
        listen=("127.0.0.1:0",),
        tls_cert=made.server_certificate,
        tls_key=made.server_key,
        tokens=tokens,
        write_client=client_file,
        trusted_principals=("token:bridge",),
    )
    server = await start(probes.Inline, host=str(client_file), tokens=tokens)
    ann = BridgeClient(local(host.addresses[0]), tls=trust(made), token="a" * 32)
    bridge = BridgeClient(server.addresses[0], token="a" * 32)
    async with ann, bridge, ann.session() as session:
        await session.set("x", 1)
        assert await bridge.call("read", name="x", session=session.session_id, timeout=10) == 1
        assert await bridge.call("ask_host", tool="double", value=2, timeout=10) == 4


async def test_health_needs_no_token(start: Any, made: Certificates) -> None:
    server = await start(probes.Inline, tokens=made.tokens)
    async with grpc.aio.insecure_channel(server.addresses[0]) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
