"""Everything TLS needs, made in one go: an authority, certificates for a server and a client, a token, ``client.json``.

For development, and for machines that have no authority of their own. The authority signs these two certificates and
its key is thrown away: what nobody has, nobody can steal. When they expire, make others in another directory.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bridge.errors import BridgeError, Code, invalid_argument
from bridge.listeners import TcpAddress, parse_address
from bridge.security import write_atomically, write_client_config

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = ["Certificates", "create"]

MAX_DAYS = 825
"""Clients of some platforms refuse server certificates that are valid for longer."""
_CLOCK_SKEW = timedelta(minutes=5)
_ALWAYS = ("localhost", "127.0.0.1", "::1")


class Certificates(msgspec.Struct, frozen=True):
    """The files that were made. All have mode 0600, the directory 0700."""

    directory: Path

    @property
    def ca(self) -> Path:
        """Certificate of the authority: for clients, and for the server as ``tls_client_ca``."""
        return self.directory / "ca.pem"

    @property
    def server_certificate(self) -> Path:
        """``tls_cert`` of the server."""
        return self.directory / "server.pem"

    @property
    def server_key(self) -> Path:
        """``tls_key`` of the server."""
        return self.directory / "server.key"

    @property
    def client_certificate(self) -> Path:
        """What a client shows for mutual TLS; its common name is ``client``."""
        return self.directory / "client.pem"

    @property
    def client_key(self) -> Path:
        """The key to it."""
        return self.directory / "client.key"

    @property
    def tokens(self) -> Path:
        """``tokens`` of the server; one token, named ``client``."""
        return self.directory / "tokens"

    @property
    def client_token(self) -> Path:
        """The same token alone, for the client."""
        return self.directory / "client.token"

    @property
    def client_config(self) -> Path:
        """``client.json``: what a client needs to connect."""
        return self.directory / "client.json"

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        pairs = (self.server_certificate, self.server_key, self.client_certificate, self.client_key)
        return (self.ca, *pairs, self.tokens, self.client_token, self.client_config)


def create(directory: Path, hosts: Sequence[str] = (), days: int = 365, *, port: int = 50051) -> Certificates:
    """Makes the certificates, the token and ``client.json``.

    Args:
        directory: where to; made with mode 0700 if it is missing.
        hosts: names and IP addresses by which clients reach the server; ``localhost`` and its addresses always count.
            The first one without ``*.`` is the target in ``client.json``.
        days: how long they are valid, 1 to 825.
        port: of the target in ``client.json``.

    Raises:
        BridgeError: ALREADY_EXISTS, reason ``FILE_EXISTS``, if one of the files is there; INVALID_ARGUMENT for a host
            or a number of days that cannot be; FAILED_PRECONDITION, reason ``MISSING_EXTRA``, without ``cryptography``;
            FAILED_PRECONDITION, reason ``FILE_NOT_WRITTEN``.
    """
    if not 1 <= days <= MAX_DAYS:
        raise invalid_argument("days", f"a whole number from 1 to {MAX_DAYS}")
    names = tuple(dict.fromkeys((*(_host(host) for host in hosts), *_ALWAYS)))
    target = str(TcpAddress(next(name for name in names if not name.startswith("*.")), port))
    contents = _sign(names, days)
    made = Certificates(directory.absolute())
    _prepare(made)
    token = secrets.token_hex(32)
    try:
        for path, text in zip(made.files, (*contents, f"client {token}\n", f"{token}\n"), strict=False):
            write_atomically(path, text)
        write_client_config(
            made.client_config,
            target=target,
            ca=made.ca,
            token_file=made.client_token,
            certificate=made.client_certificate,
            private_key=made.client_key,
        )
    except BaseException:
        # None of them was there before: half a set helps nobody, and would be in the way of the next try.
        for path in made.files:
            path.unlink(missing_ok=True)
        raise
    return made


def _host(text: str) -> str:
    """A host as a certificate has it: without brackets, checked as in an address; ``*.`` may stand before a name."""
    bare = text.removeprefix("*.")
    try:
        address = parse_address(f"[{bare}]:0" if ":" in bare and not bare.startswith("[") else f"{bare}:0")
    except BridgeError:
        address = None
    if not isinstance(address, TcpAddress) or "%" in address.host or address.host in ("0.0.0.0", "::"):  # noqa: S104 - refused
        raise invalid_argument("hosts", f"{text[:100]!r} is neither a host name nor an IP address others can use")
    return text.removesuffix(bare) + address.host


def _prepare(made: Certificates) -> None:
    directory = made.directory
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError as error:
        message = f"cannot make {directory}: {error.strerror}; choose another"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="FILE_NOT_WRITTEN") from error
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        message = f"{directory} is open to other users; `chmod 700` it, or name one that does not exist"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="FILE_NOT_WRITTEN")
    for path in made.files:
        if os.path.lexists(path):
            message = f"{path} is there, and keys are not overwritten; choose another directory"
            raise BridgeError(Code.ALREADY_EXISTS, message, reason="FILE_EXISTS")


def _sign(names: Sequence[str], days: int) -> tuple[str, str, str, str, str]:
    """PEM of the authority's certificate, the server's and its key, the client's and its key."""
    try:
        from cryptography import x509  # heavy, and only this command needs it
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID
    except ImportError as error:
        message = "certificates need the library `cryptography`: pip install 'tool-bridge[tls]'"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="MISSING_EXTRA") from error
    authority_key, server_key, client_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    now = datetime.now(UTC)
    lifetime = (now - _CLOCK_SKEW, now + timedelta(days=days))
    # A serial in the name: clients that trust two of our authorities must be able to tell them apart.
    issuer = _name(f"tool-bridge authority {secrets.token_hex(4)}")
    authority = _certificate(issuer, issuer, authority_key, authority_key, lifetime, _authority_extensions())
    alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
    for_server: _Extensions = [(alternatives, False), *_leaf_extensions(ExtendedKeyUsageOID.SERVER_AUTH)]
    server = _certificate(_name("tool-bridge server"), issuer, server_key, authority_key, lifetime, for_server)
    for_client = _leaf_extensions(ExtendedKeyUsageOID.CLIENT_AUTH)
    client = _certificate(_name("client"), issuer, client_key, authority_key, lifetime, for_client)
    return authority, server, _key_pem(server_key), client, _key_pem(client_key)


_Extensions = list[tuple["x509.ExtensionType", bool]]


def _name(common_name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_extensions() -> _Extensions:
    from cryptography import x509

    return [(x509.BasicConstraints(ca=True, path_length=0), True), (_key_usage(authority=True), True)]


def _leaf_extensions(purpose: x509.ObjectIdentifier) -> _Extensions:
    from cryptography import x509

    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(authority=False), True),
        (x509.ExtendedKeyUsage([purpose]), False),
    ]


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePrivateKey,
    issuer_key: EllipticCurvePrivateKey,
    lifetime: tuple[datetime, datetime],
    extensions: _Extensions,
) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(lifetime[0])
        .not_valid_after(lifetime[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
