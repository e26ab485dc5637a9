"""TLS between a Go host and a plugin of ours: who is let in, who is not, and what is said about it."""

from __future__ import annotations

import asyncio
import base64
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bridge.goplugin.transport.identity import Identity, make_identity, mutual_tls
from tests.goplugin.conftest import RunGoHost
from tests.goplugin.go_host import GoHost, HostError
from tests.goplugin.raw_plugin import RawPlugin, ended_badly, raw_plugin
from tests.goplugin.ways import CHECKOUT, OUR_PLUGIN, SECONDS, Run, Way


@pytest.fixture(params=[Way("AutoMTLS", multiplexed) for multiplexed in (False, True)], ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    """With certificates for one run."""
    assert isinstance(request.param, Way)
    return request.param


def _certificate(*, usage: x509.ObjectIdentifier, days: int) -> bytes:
    """PEM, valid from yesterday until so many days from today."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


async def _first_bytes(plugin: RawPlugin, context: ssl.SSLContext) -> bytes:
    """What a plugin's server says first (its settings, in HTTP/2) to who connects. Raises ``ssl.SSLError``."""
    line, name = plugin.handshake, "localhost"
    if line.network == "tcp":
        host, _, port = line.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
    else:
        reader, writer = await asyncio.open_unix_connection(line.address, ssl=context, server_hostname=name)
    try:
        return await reader.readexactly(9)
    finally:
        writer.transport.abort()


def _stranger(plugin: RawPlugin, identity: Identity | None) -> ssl.SSLContext:
    """Trusts the plugin, and shows a certificate that the plugin does not know, or none."""
    if identity is not None:
        return mutual_tls(identity, plugin.handshake.server_certificate).client
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


@pytest.mark.parametrize("network", ["unix", "tcp"])
async def test_gp03_only_the_hosts_own_certificate_is_let_in(network: str) -> None:
    host = make_identity()
    env = {"PLUGIN_CLIENT_CERT": host.certificate.decode(), "PLUGIN_NETWORK": network}
    async with asyncio.timeout(SECONDS), raw_plugin(env=env) as plugin:
        for stranger in (make_identity(), None):
            with pytest.raises(ssl.SSLError, match="ALERT"):
                await _first_bytes(plugin, _stranger(plugin, stranger))
        known = mutual_tls(host, plugin.handshake.server_certificate).client
        assert (await _first_bytes(plugin, known))[3] == 4  # a SETTINGS frame


async def _warnings(host: GoHost) -> list[str]:
    return [entry["@message"] for entry in await host.logs() if entry["@level"] == "warn"]


async def test_gp03_a_host_with_another_certificate_gets_no_answer_and_the_log_says_why(
    run_go_host: RunGoHost, way: Way
) -> None:
    another = f"PLUGIN_CLIENT_CERT={make_identity().certificate.decode()}"
    flags, _ = way.flags(())
    async with asyncio.timeout(SECONDS), run_go_host(["env", another, *OUR_PLUGIN], *flags, cwd=CHECKOUT) as host:
        with pytest.raises(HostError) as raised:
            await host.ping()
        assert raised.value.code == "Unavailable"
        while not any("certificate" in warning for warning in await _warnings(host)):
            pass  # the plugin's log comes by another way than the answer


async def test_gp03_a_host_of_another_authority_gets_no_answer(
    run_go_host: RunGoHost, static_tls: list[str], tmp_path: Path
) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    other = ["-tls-cert", str(tmp_path / "cert.pem"), "-tls-key", str(tmp_path / "key.pem")]
    async with (
        asyncio.timeout(SECONDS),
        run_go_host([*OUR_PLUGIN, *static_tls], *static_tls, *other, cwd=CHECKOUT) as host,
    ):
        with pytest.raises(HostError) as raised:
            await host.ping()
        assert raised.value.code == "Unavailable"


async def test_gp04_automtls_works_over_tcp(run_ours: Run) -> None:
    async with run_ours("-set", "network=tcp") as host:
        started = await host.start()
        assert started.network == "tcp"
        await host.ping()
        assert (await host.count("k", 3, times=3)).value == 9
        assert await host.helper(4) == 8
        assert (await host.kill()).exit_code == 0


@pytest.mark.parametrize("verify", ["none", "given", "require"])
@pytest.mark.parametrize("shown", [True, False], ids=["with a certificate", "without one"])
async def test_gp30_static_certificates_ask_of_clients_what_was_wished(
    run_go_host: RunGoHost, static_tls: list[str], verify: str, shown: bool
) -> None:
    of_host = static_tls if shown else static_tls[:2]
    assert of_host[0] == "-tls-ca"
    async with (
        asyncio.timeout(SECONDS),
        run_go_host([*OUR_PLUGIN, *static_tls, "-tls-client", verify], *of_host, cwd=CHECKOUT) as host,
    ):
        if verify == "require" and not shown:
            with pytest.raises(HostError) as raised:
                await host.ping()
            assert raised.value.code == "Unavailable"
        else:
            await host.put("k", b"v")
            assert await host.get("k") == b"v"


async def test_gp30_a_certificate_of_ones_own_takes_the_place_of_automtls(static_tls: list[str]) -> None:
    env = {"PLUGIN_CLIENT_CERT": make_identity().certificate.decode()}
    async with asyncio.timeout(SECONDS), raw_plugin(*static_tls, env=env) as plugin:
        assert plugin.handshake.server_certificate == b""


async def test_gp02_the_certificate_stands_in_the_line_without_padding_and_only_if_the_host_has_one() -> None:
    env = {"PLUGIN_CLIENT_CERT": make_identity().certificate.decode()}
    async with asyncio.timeout(SECONDS), raw_plugin(env=env) as plugin, raw_plugin() as plain:
        segment = plugin.line.rstrip("\n").split("|")[5]
        assert "=" not in segment
        assert plugin.handshake.server_certificate == base64.b64decode(segment + "=" * (-len(segment) % 4))
        assert plain.line.rstrip("\n").split("|")[5:] == [""]


@pytest.mark.parametrize(
    ("certificate", "told"),
    [
        (b"garbage", "neither"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate"),
        (_certificate(usage=ExtendedKeyUsageOID.CLIENT_AUTH, days=-1), "expired"),
        (_certificate(usage=ExtendedKeyUsageOID.CODE_SIGNING, days=1), "not made for clients"),
        (make_identity().certificate * 2, "there are 2"),
    ],
    ids=["garbage", "broken", "expired", "for another use", "two"],
)
async def test_a_certificate_of_the_host_that_is_none_is_told_with_the_variables_name(
    certificate: bytes, told: str
) -> None:
    async with asyncio.timeout(SECONDS):
        said = await ended_badly(env={"PLUGIN_CLIENT_CERT": certificate.decode()})
    assert "PLUGIN_CLIENT_CERT" in said
    assert told in said
    assert len(said.splitlines()) == 1


async def test_bytes_that_are_no_tls_are_dropped_and_the_plugin_goes_on() -> None:
    host = make_identity()
    env = {"PLUGIN_CLIENT_CERT": host.certificate.decode()}
    async with asyncio.timeout(SECONDS), raw_plugin(env=env) as plugin:
        reader, writer = await asyncio.open_unix_connection(plugin.handshake.address)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert b"HTTP" not in await reader.read()
        writer.close()
        known = mutual_tls(host, plugin.handshake.server_certificate).client
        assert len(await _first_bytes(plugin, known)) == 9
