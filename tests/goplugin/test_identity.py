"""Certificates, and whom the contexts made of them trust."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bridge.errors import BridgeError, Code
from bridge.goplugin.transport.identity import Identity, Tls, make_identity, mutual_tls, static_tls
from tests.goplugin import certificates
from tests.goplugin.inlet_ends import descriptors
from tests.goplugin.tls_talk import Talk

_HOUR = timedelta(hours=1)


def talk(client: Tls, server: Tls) -> Talk:
    """A handshake in memory."""
    return Talk(client.client, server.server, client.server_name)


def test_a_certificate_has_the_fields_of_go_plugins() -> None:
    identity = make_identity()
    certificate = x509.load_der_x509_certificate(identity.der)
    assert certificate.subject == certificate.issuer
    names = {attribute.oid: attribute.value for attribute in certificate.subject}
    assert names == {NameOID.COMMON_NAME: "localhost", NameOID.ORGANIZATION_NAME: "HashiCorp"}
    extensions = certificate.extensions
    assert list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == [x509.DNSName("localhost")]
    extended = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert extended == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.key_encipherment
    assert usage.key_agreement
    assert usage.key_cert_sign
    assert not usage.crl_sign
    assert certificate.serial_number < 2**128
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lifetime == timedelta(hours=262_980, seconds=30)
    assert certificate.not_valid_before_utc < datetime.now(UTC)


def test_no_two_identities_are_the_same_and_none_shows_its_key() -> None:
    one, other = make_identity(), make_identity()
    assert one.certificate != other.certificate
    assert one.private_key != other.private_key
    assert "PRIVATE" not in repr(one)
    assert "PRIVATE" not in str(one)


@pytest.mark.parametrize("form", ["der", "pem"])
@pytest.mark.parametrize("authority", [True, False], ids=["authority", "leaf"])
@pytest.mark.parametrize("key", certificates.KEYS)
def test_a_peer_with_any_kind_of_key_is_verified_in_both_roles(key: str, authority: bool, form: str) -> None:
    ours, theirs = make_identity(), certificates.make(key, authority=authority)
    our_tls = mutual_tls(ours, theirs.der if form == "der" else theirs.certificate)
    their_tls = mutual_tls(theirs, ours.der)
    for client, server, names in ((our_tls, their_tls, (theirs, ours)), (their_tls, our_tls, (ours, theirs))):
        met = talk(client, server)
        assert met.shake_hands() == (None, None)
        assert (met.client.getpeercert(True), met.server.getpeercert(True)) == tuple(name.der for name in names)
        assert met.client.selected_alpn_protocol() == "h2"


def test_a_peer_is_trusted_without_who_vouches_for_it_and_not_by_that() -> None:
    authority, ours = trustme.CA(), make_identity()
    leaf, sister = (
        Identity(issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes())
        for issued in (authority.issue_cert("localhost"), authority.issue_cert("localhost"))
    )
    for theirs, error_type in ((leaf, type(None)), (sister, ssl.SSLCertVerificationError)):
        our_tls, their_tls = mutual_tls(ours, leaf.der), mutual_tls(theirs, ours.der)
        assert isinstance(talk(our_tls, their_tls).shake_hands()[0], error_type)
        assert isinstance(talk(their_tls, our_tls).shake_hands()[1], error_type)


def test_strict_contexts_take_our_certificate() -> None:
    ours, theirs = make_identity(), make_identity()
    strict = mutual_tls(theirs, ours.der)
    strict.client.verify_flags |= ssl.VERIFY_X509_STRICT
    assert talk(strict, mutual_tls(ours, theirs.der)).shake_hands() == (None, None)


def test_versions_before_tls_1_2_are_refused() -> None:
    tls = mutual_tls(make_identity(), make_identity().der)
    assert tls.server.minimum_version == tls.client.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_tls_verify_both_sides(version: ssl.TLSVersion) -> None:
    ours, theirs, foreign = make_identity(), certificates.make("P-521"), certificates.make("P-521")
    for trusted, fails in ((theirs, False), (foreign, True)):
        server = mutual_tls(ours, trusted.der)
        client = mutual_tls(theirs, ours.der)
        client.client.maximum_version = version
        _, error = talk(client, server).shake_hands()
        assert isinstance(error, ssl.SSLCertVerificationError) is fails


def test_a_client_without_certificate_is_refused() -> None:
    ours = make_identity()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cadata=ours.der)
    _, error = Talk(client, mutual_tls(ours, make_identity().der).server, "localhost").shake_hands()
    assert isinstance(error, ssl.SSLError)
    assert error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"


def test_only_the_given_certificate_is_trusted() -> None:
    ours, theirs, foreign = make_identity(), make_identity(), make_identity()
    _, error_of_server = talk(mutual_tls(foreign, ours.der), mutual_tls(ours, theirs.der)).shake_hands()
    assert isinstance(error_of_server, ssl.SSLCertVerificationError)
    error_of_client, _ = talk(mutual_tls(ours, theirs.der), mutual_tls(foreign, ours.der)).shake_hands()
    assert isinstance(error_of_client, ssl.SSLCertVerificationError)


def test_a_server_for_another_name_is_refused() -> None:
    ours, theirs = make_identity(), certificates.make(name="elsewhere")
    error, _ = talk(mutual_tls(ours, theirs.der), mutual_tls(theirs, ours.der)).shake_hands()
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert error.verify_code == 62


@pytest.mark.parametrize(
    ("peer", "words"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"rubbish", "neither DER nor PEM"),
        (make_identity().der + b"x", "neither DER nor PEM"),
        (make_identity().der[:-1], "neither DER nor PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "neither DER nor PEM"),
        (make_identity().private_key, "neither DER nor PEM"),
        (make_identity().certificate * 2, "there are 2"),
        (certificates.make(begins=-2 * _HOUR, ends=-_HOUR).der, "has expired"),
        (certificates.make(begins=_HOUR, ends=2 * _HOUR).der, "not valid yet"),
        (certificates.make(extended=certificates.MAIL).der, "not made for TLS"),
        (certificates.make(usage="signing").der, "not made for TLS"),
    ],
)
def test_a_certificate_that_cannot_be_one_is_refused_at_once(peer: bytes, words: str) -> None:
    with pytest.raises(BridgeError, match=words) as caught:
        mutual_tls(make_identity(), peer)
    assert (caught.value.code, caught.value.reason) == (Code.UNAUTHENTICATED, "BAD_CERTIFICATE")


def test_a_certificate_that_says_nothing_of_its_use_is_taken() -> None:
    ours, theirs = make_identity(), certificates.make(extended=None, usage="none", authority=False)
    assert talk(mutual_tls(ours, theirs.der, peer_is="plugin"), mutual_tls(theirs, ours.der)).shake_hands() == (
        None,
        None,
    )


def test_what_the_peer_is_decides_what_its_certificate_has_to_be_made_for() -> None:
    ours = make_identity()
    for_clients, for_servers = (
        certificates.make(extended=certificates.CLIENT),
        certificates.make(extended=certificates.SERVER),
    )
    mutual_tls(ours, for_clients.der, peer_is="host")
    mutual_tls(ours, for_servers.der, peer_is="plugin")
    with pytest.raises(BridgeError, match="not made for clients"):
        mutual_tls(ours, for_servers.der, peer_is="host")
    with pytest.raises(BridgeError, match="not made for servers"):
        mutual_tls(ours, for_clients.der, peer_is="plugin")


def test_a_key_that_is_not_the_certificates_is_refused_and_nothing_stays_open() -> None:
    one, other = make_identity(), make_identity()
    before = descriptors()
    with pytest.raises(BridgeError, match="private_key: is not that of the certificate") as caught:
        mutual_tls(Identity(one.certificate, other.private_key), other.der)
    assert caught.value.reason == "BAD_CERTIFICATE"
    assert descriptors() == before


def test_without_memory_files_the_key_is_on_disk_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    modes: list[int] = []
    load = ssl.SSLContext.load_cert_chain

    def noting(self: ssl.SSLContext, path: str, **rest: object) -> None:
        modes.append(Path(path).stat().st_mode & 0o777)
        load(self, path, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", noting)
    one, other = make_identity(), make_identity()
    mutual_tls(one, other.der)
    with pytest.raises(BridgeError):
        mutual_tls(Identity(one.certificate, other.private_key), other.der)
    assert modes == [0o600] * 3
    assert list(tmp_path.iterdir()) == []


def test_a_static_server_asks_of_its_clients_what_it_is_told_to() -> None:
    server, client, foreign = make_identity(), make_identity(), make_identity()
    known = static_tls(client.certificate, client.private_key, authorities=server.certificate)
    unknown = static_tls(foreign.certificate, foreign.private_key, authorities=server.certificate)
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.load_verify_locations(cadata=server.der)
    expected = {"none": (True, True, True), "if_given": (True, False, True), "require": (True, False, False)}
    for verify, outcomes in expected.items():
        tls = static_tls(
            server.certificate,
            server.private_key,
            authorities=client.certificate,
            verify=verify,  # type: ignore[arg-type]
        )
        for context, works in zip((known.client, unknown.client, bare), outcomes, strict=True):
            assert (Talk(context, tls.server, "localhost").shake_hands()[1] is None) is works, verify


def test_static_certificates_are_read_from_files_that_nobody_else_reads(tmp_path: Path) -> None:
    identity = make_identity()
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.write_bytes(identity.certificate)
    key.write_bytes(identity.private_key)
    key.chmod(0o600)
    tls = static_tls(certificate, key, authorities=certificate, server_name="localhost")
    assert talk(tls, tls).shake_hands() == (None, None)
    key.chmod(0o644)
    with pytest.raises(BridgeError, match="open to other users"):
        static_tls(certificate, key)
    with pytest.raises(BridgeError, match="cannot read"):
        static_tls(tmp_path / "missing", key)


def test_static_material_that_cannot_be_used_is_named() -> None:
    identity = make_identity()
    with pytest.raises(BridgeError, match="authorities: are needed"):
        static_tls(identity.certificate, identity.private_key, verify="require")
    with pytest.raises(BridgeError, match="authorities: hold no certificate"):
        static_tls(identity.certificate, identity.private_key, authorities=b"rubbish")
    with pytest.raises(BridgeError, match="private_key: "):
        static_tls(b"rubbish", identity.private_key)
    with pytest.raises(BridgeError, match="verify: "):
        static_tls(identity.certificate, identity.private_key, verify="always")  # type: ignore[arg-type]
