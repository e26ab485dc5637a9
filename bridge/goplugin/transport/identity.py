"""Who host and plugin are to each other: certificates, and the TLS contexts that check them.

In AutoMTLS (https://github.com/hashicorp/go-plugin, mtls.go) each of the two makes a certificate for one run, sends it
to the other, and trusts no other one: the host's goes through the environment, the plugin's in the handshake line.
"""

from __future__ import annotations

import os
import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from bridge.errors import BridgeError, Code
from bridge.goplugin.transport.peer_certificate import Role, bad_certificate, check_peer, cryptography_missing

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = ["SERVER_NAME", "Identity", "Tls", "make_identity", "mutual_tls", "static_tls"]

SERVER_NAME: Final = "localhost"
"""What both sides call themselves, on Unix sockets too."""

_CLOCK_SKEW: Final = timedelta(seconds=30)
_LIFETIME: Final = timedelta(hours=262_980)
"""Thirty years, as in Go: a certificate must not end before a process does."""
_PROTOCOL: Final = "h2"

Material = bytes | Path
"""PEM, or the file that holds it."""
Verify = Literal["none", "if_given", "require"]
"""Whether clients show a certificate: never asked; checked if they show one; nobody connects without."""


class Identity(msgspec.Struct, frozen=True):
    """A certificate and its private key."""

    certificate: bytes
    """PEM."""
    private_key: bytes
    """PEM, without a passphrase."""

    @property
    def der(self) -> bytes:
        """The certificate as handshake lines carry it."""
        return ssl.PEM_cert_to_DER_cert(self.certificate.decode("ascii"))

    def __repr__(self) -> str:
        return "<Identity>"  # holds a private key


class Tls(msgspec.Struct, frozen=True):
    """How one side serves and connects. The same pair serves the main connection and brokered ones, both ways."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    server_name: str = SERVER_NAME
    """What the certificate of a server has to be for."""


def make_identity() -> Identity:
    """A certificate for one run, and its key. Its fields are those of go-plugin's, but for the curve: of P-256 keys are
    made and used several times as fast as of P-521, and Go takes both.

    Raises ``BridgeError`` FAILED_PRECONDITION, reason ``MISSING_EXTRA``, without the library ``cryptography``.
    """
    try:
        from cryptography.hazmat.primitives import serialization  # heavy, and only AutoMTLS needs it
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise cryptography_missing() from error
    key = ec.generate_private_key(ec.SECP256R1())
    private_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificate = _self_signed(key)
    while len(certificate.public_bytes(serialization.Encoding.DER)) % 3:
        # Its base64 would need padding, which Go's hosts refuse in a handshake line and others cannot do without.
        # Length is a matter of chance: about one of three fits.
        certificate = _self_signed(key)
    return Identity(certificate.public_bytes(serialization.Encoding.PEM), private_key)


def _self_signed(key: EllipticCurvePrivateKey) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, SERVER_NAME),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "HashiCorp"),
        ]
    )
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1 + secrets.randbelow(2**128 - 1))
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
    )
    for extension, critical in (
        (_key_usage(), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.BasicConstraints(ca=True, path_length=None), True),
        # As Go adds it to every authority.
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]), False),
    ):
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256())


def _key_usage() -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        key_agreement=True,
        key_cert_sign=True,
        crl_sign=False,
        content_commitment=False,
        data_encipherment=False,
        encipher_only=False,
        decipher_only=False,
    )


def mutual_tls(identity: Identity, peer: bytes, *, peer_is: Role | None = None) -> Tls:
    """Both sides show a certificate, and each trusts the other's only. (As in Go, one that is an authority can vouch
    for others; who could make such a one has its key anyway.)

    Args:
        identity: ours.
        peer: the other side's certificate, DER or PEM; any kind of key that OpenSSL knows, P-521 too. It may be an
            authority (as Go's) or not.
        peer_is: what the other side is, where that is known: its certificate is then checked for that use as well.

    Raises:
        BridgeError: UNAUTHENTICATED, reason ``BAD_CERTIFICATE``: there is no certificate, or more than one; it is
            neither DER nor PEM, has expired, or is not made for TLS. INVALID_ARGUMENT, the same reason, for ours.
            FAILED_PRECONDITION, reason ``MISSING_EXTRA``, without the library ``cryptography``.
    """
    trusted = check_peer(peer, peer_is)
    tls = Tls(_context(ssl.PROTOCOL_TLS_SERVER), _context(ssl.PROTOCOL_TLS_CLIENT))
    tls.server.verify_mode = ssl.CERT_REQUIRED
    for context in (tls.server, tls.client):
        _load_identity(context, identity)
        try:
            context.load_verify_locations(cadata=trusted)
        except ssl.SSLError as error:
            raise bad_certificate(
                f"cannot be used (OpenSSL says {error.reason}); start the other side again"
            ) from error
    return tls


def static_tls(
    certificate: Material,
    private_key: Material,
    *,
    authorities: Material | None = None,
    verify: Verify | None = None,
    server_name: str = SERVER_NAME,
) -> Tls:
    """Certificates of one's own instead of AutoMTLS (go-plugin's ``TLSProvider`` and ``TLSConfig``).

    Args:
        certificate: ours, and those between it and its authority.
        private_key: its key, without a passphrase; a file must not be open to other users.
        authorities: who is trusted: authorities, or the other side's certificate itself. Without them clients trust
            the system's, and a server asks for no certificate.
        verify: what a server asks of its clients; by default ``require`` with authorities, and ``none`` without.
        server_name: what the certificate of the other side has to be for.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``BAD_CERTIFICATE``, for what cannot be read or does not go together.
    """
    if verify not in (None, "none", "if_given", "require"):
        raise _bad_material("verify", "is one of none, if_given and require")
    if verify in ("if_given", "require") and authorities is None:
        raise _bad_material("authorities", "are needed to verify clients; give the certificates that are trusted")
    identity = Identity(_read(certificate, secret=False), _read(private_key, secret=True))
    tls = Tls(_context(ssl.PROTOCOL_TLS_SERVER), _context(ssl.PROTOCOL_TLS_CLIENT), server_name)
    for context in (tls.server, tls.client):
        _load_identity(context, identity)
    if authorities is None:
        tls.client.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return tls
    trusted = _read(authorities, secret=False)
    for context in (tls.server, tls.client):
        _load_authorities(context, trusted)
    modes = {"none": ssl.CERT_NONE, "if_given": ssl.CERT_OPTIONAL}
    tls.server.verify_mode = modes.get(verify or "require", ssl.CERT_REQUIRED)
    return tls


def _context(protocol: int) -> ssl.SSLContext:
    """Not ``ssl.create_default_context``: how strict that is about certificates differs between versions of Python."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # what is trusted need not be an authority
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([_PROTOCOL])
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # nobody resumes a session, as each is made for one process
    return context


def _load_identity(context: ssl.SSLContext, identity: Identity) -> None:
    with _as_file(identity.certificate + b"\n" + identity.private_key) as path:
        try:
            # Without a callback OpenSSL would ask for a passphrase on the terminal.
            context.load_cert_chain(path, password=lambda: b"")
        except (ssl.SSLError, OSError) as error:
            mismatch = isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH"
            problem = "is not that of the certificate" if mismatch else "or its certificate cannot be used"
            raise _bad_material("private_key", f"{problem}; give both as PEM, the key without passphrase") from error


def _load_authorities(context: ssl.SSLContext, trusted: bytes) -> None:
    try:
        context.load_verify_locations(cadata=trusted.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise _bad_material("authorities", "hold no certificate that can be used; give PEM") from error


@contextmanager
def _as_file(secret: bytes) -> Iterator[str]:
    """A file with a secret, as OpenSSL reads keys from files only: in memory where that is possible, else on disk for a
    moment, for nobody else to read."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        with os.fdopen(os.memfd_create("key"), "wb", buffering=0) as file:
            file.write(secret)
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        import tempfile  # slow, and hardly ever needed

        with tempfile.NamedTemporaryFile(buffering=0) as file:
            file.write(secret)
            yield file.name


def _read(material: Material, *, secret: bool) -> bytes:
    if isinstance(material, bytes):
        return material
    from bridge.trusted_files import exposed, read_text

    what = "a private key as PEM" if secret else "certificates as PEM"
    text, _ = read_text(material, what, reason="BAD_CERTIFICATE", problem=exposed if secret else None)
    return text.encode()


def _bad_material(field: str, description: str) -> BridgeError:
    return BridgeError(Code.INVALID_ARGUMENT, f"{field}: {description}", reason="BAD_CERTIFICATE")
