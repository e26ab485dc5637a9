"""Certificates of all kinds that the other side may show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bridge.goplugin.transport.identity import Identity

KEYS = ("P-256", "P-384", "P-521", "RSA")
BOTH = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)
SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)
MAIL = (ExtendedKeyUsageOID.EMAIL_PROTECTION,)
_CURVES: dict[str, type[ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
}
_HOUR = timedelta(hours=1)


def make(
    key: str = "P-256",
    *,
    begins: timedelta = -_HOUR,
    ends: timedelta = _HOUR,
    extended: tuple[x509.ObjectIdentifier, ...] | None = BOTH,
    usage: Literal["tls", "signing", "none"] = "tls",
    authority: bool = True,
    name: str = "localhost",
) -> Identity:
    """A self-signed certificate, by default with the extensions of go-plugin's; none but the key identifier that Go
    adds is missing."""
    private = rsa.generate_private_key(65537, 2048) if key == "RSA" else ec.generate_private_key(_CURVES[key]())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "HashiCorp"),
            x509.NameAttribute(NameOID.COMMON_NAME, "localhost"),
        ]
    )
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(subject, subject, private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    if authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if extended is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    if usage != "none":
        builder = builder.add_extension(_usage(tls=usage == "tls"), critical=True)
    digest = hashes.SHA512() if key == "P-521" else hashes.SHA256()
    return Identity(
        builder.sign(private, digest).public_bytes(serialization.Encoding.PEM),
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        ),
    )


def _usage(*, tls: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=tls,
        key_encipherment=tls,
        key_agreement=tls,
        key_cert_sign=True,
        crl_sign=False,
        content_commitment=False,
        data_encipherment=False,
        encipher_only=False,
        decipher_only=False,
    )


def static_tls_flags(folder: Path) -> list[str]:
    """Flags, the same for host and plugin, with which they show each other certificates of one authority. The files
    ca.pem, cert.pem and key.pem are made in the folder."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "key.pem").chmod(0o600)
    return [part for name in ("ca", "cert", "key") for part in (f"-tls-{name}", str(folder / f"{name}.pem"))]
