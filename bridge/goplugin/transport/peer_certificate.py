"""Whether the certificate of the other side can be one, before a handshake fails for it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from bridge.errors import BridgeError, Code

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["Role", "bad_certificate", "check_peer", "cryptography_missing"]

Role = Literal["host", "plugin"]
"""What the other side is: a host shows its certificate as a client, a plugin as a server (and each as the other, where
the broker connects them)."""


def bad_certificate(problem: str) -> BridgeError:
    """The other side's certificate cannot be trusted, or used."""
    message = f"the certificate of the other side {problem}"
    return BridgeError(Code.UNAUTHENTICATED, message, reason="BAD_CERTIFICATE")


def cryptography_missing() -> BridgeError:
    """There is no AutoMTLS without it."""
    message = "AutoMTLS needs the library `cryptography`: pip install 'tool-bridge[tls]'"
    return BridgeError(Code.FAILED_PRECONDITION, message, reason="MISSING_EXTRA")


def check_peer(peer: bytes, role: Role | None = None) -> bytes:
    """The certificate as DER. Refuses what OpenSSL would refuse in every handshake, or, with a role, in the first.

    Raises ``BridgeError`` UNAUTHENTICATED, reason ``BAD_CERTIFICATE``; FAILED_PRECONDITION, reason ``MISSING_EXTRA``.
    """
    if not peer.strip():
        raise bad_certificate("is empty; use AutoMTLS on both sides, or on none")
    certificate = _parse(peer)
    now = datetime.now(UTC)
    if now < certificate.not_valid_before_utc:
        raise bad_certificate("is not valid yet; set the clocks of both sides")
    if now > certificate.not_valid_after_utc:
        raise bad_certificate("has expired; start the other side again, and check its clock")
    try:
        _check_use(certificate.extensions, role)
    except ValueError as error:
        raise bad_certificate("has extensions that cannot be read; look at how it was made") from error
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def _parse(peer: bytes) -> x509.Certificate:
    try:
        from cryptography import x509
    except ImportError as error:
        raise cryptography_missing() from error
    try:
        if ssl.PEM_HEADER.encode() not in peer:
            return x509.load_der_x509_certificate(peer)
        certificates = x509.load_pem_x509_certificates(peer)
    except ValueError as error:
        raise bad_certificate("is neither DER nor PEM; check what passes it on") from error
    if len(certificates) != 1:
        raise bad_certificate(f"has to be one; there are {len(certificates)}")
    return certificates[0]


def _check_use(extensions: x509.Extensions, role: Role | None) -> None:
    """As OpenSSL does (openssl-verification-options(1)): what is not said is allowed."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    needed = {"host": {ExtendedKeyUsageOID.CLIENT_AUTH}, "plugin": {ExtendedKeyUsageOID.SERVER_AUTH}}
    either = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    try:
        extended = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        extended = either
    if not extended & (needed[role] if role is not None else either):
        side = {"host": "clients", "plugin": "servers", None: "TLS"}[role]
        raise bad_certificate(f"is not made for {side} (extended key usage); make one with serverAuth and clientAuth")
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not (usage.digital_signature or usage.key_agreement or (usage.key_encipherment and role != "host")):
        raise bad_certificate("is not made for TLS (key usage); make one with digitalSignature")
