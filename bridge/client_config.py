"""How a client reaches its server, as a file: the ``client.json`` that ``bridge serve --write-client`` writes."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bridge.engines.base import ClientTls
from bridge.errors import BridgeError, Code

__all__ = ["ClientConfig"]

_MAX_BYTES = 1024 * 1024


class _File(msgspec.Struct, forbid_unknown_fields=True):
    # Unknown fields are refused: a misspelt "ca" must not become a connection without TLS.
    target: str
    ca: str | None = None
    token_file: str | None = None
    certificate: str | None = None
    private_key: str | None = None
    server_name: str | None = None


def _bad(path: Path, problem: str) -> BridgeError:
    return BridgeError(Code.INVALID_ARGUMENT, f"{path}: {problem}", reason="CLIENT_CONFIG")


class ClientConfig(msgspec.Struct, frozen=True):
    """Address, trust and credentials of a client. Files are absolute paths here."""

    target: str
    """Address of the server: ``host:port`` or ``unix:/path``."""
    ca: Path | None = None
    """PEM of the authority that signed the server's certificate; with it (or any field but ``token_file``) TLS is
    used."""
    token_file: Path | None = None
    """File with the bearer token; read again when it changes."""
    certificate: Path | None = None
    """PEM of the client's own certificate, for mTLS."""
    private_key: Path | None = None
    """PEM of its key."""
    server_name: str | None = None
    """Name to expect in the server's certificate, if not that of the address."""

    @classmethod
    def load(cls, path: str | Path) -> ClientConfig:
        """Reads a file. Relative paths in it are relative to the file.

        Raises:
            BridgeError: INVALID_ARGUMENT, reason ``CLIENT_CONFIG``, naming the file and the field.
        """
        path = Path(path).absolute()
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise _bad(path, f"cannot be read: {error.strerror}") from None
        if len(content) > _MAX_BYTES:
            raise _bad(path, "is too large to be a client configuration")
        try:
            found = msgspec.json.decode(content, type=_File)
        except (msgspec.DecodeError, RecursionError) as error:
            raise _bad(path, f"is no client configuration: {error}") from None
        if not found.target:
            raise _bad(path, "target: must not be empty")

        def beside(name: str | None) -> Path | None:
            return None if name is None else path.parent / name

        return cls(
            target=found.target,
            ca=beside(found.ca),
            token_file=beside(found.token_file),
            certificate=beside(found.certificate),
            private_key=beside(found.private_key),
            server_name=found.server_name,
        )

    def tls(self) -> ClientTls | None:
        """The certificates as an engine wants them, read from their files; ``None`` for a connection without TLS.

        Raises:
            BridgeError: INVALID_ARGUMENT, reason ``CLIENT_CONFIG``, for a file that cannot be read, or a certificate
                without its key.
        """
        if (self.certificate is None) != (self.private_key is None):
            raise _bad(self.certificate or self.private_key or Path(), "certificate and private_key go together")
        if self.ca is None and self.certificate is None and self.server_name is None:
            return None
        return ClientTls(
            ca=_pem(self.ca),
            certificate=_pem(self.certificate),
            private_key=_pem(self.private_key),
            server_name=self.server_name,
        )


def _pem(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES)
    except OSError as error:
        raise _bad(path, f"cannot be read: {error.strerror}") from None
    if b"-----BEGIN " not in content:
        raise _bad(path, "is not PEM")
    return content
