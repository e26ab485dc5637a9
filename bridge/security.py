"""Who the server is and who its clients are: certificates, tokens, and the files that hold them.

Secrets are read from files only, never from flags or the environment, where other programs can see them. A file with a
secret that others may read is refused. No message of ours holds a secret or a part of one.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bridge.call import Headers
from bridge.engines.base import Authenticate, ServerTls
from bridge.errors import BridgeError, Code
from bridge.trusted_files import exposed, read_text

__all__ = [
    "TokenFile",
    "authenticator",
    "certificate_principal",
    "load_tls",
    "parse_tokens",
    "write_atomically",
    "write_client_config",
]

log = logging.getLogger("bridge.security")

MIN_TOKEN_LENGTH = 16
"""Characters of a token; `openssl rand -hex 32` makes 64."""
CHECK_INTERVAL = 0.5
"""Seconds between two looks at whether the token file changed."""

# A name, white space or a colon, and a token in the alphabet of RFC 6750 section 2.1.
_TOKEN_LINE = re.compile(r"([A-Za-z0-9_.@-]{1,64})(?:\s*:\s*|\s+)([A-Za-z0-9._~+/-]+=*)")
_PRINCIPAL_NAME = re.compile(r"[A-Za-z0-9_.@:/ -]{1,256}")
_HOW_TO_SEND = "send metadata `authorization: Bearer TOKEN` with a token of the server's token file"


def _bad_file(path: Path, problem: str) -> BridgeError:
    return BridgeError(Code.INVALID_ARGUMENT, f"{path}: {problem}", reason="SECURITY_FILE")


def _read(path: Path, what: str, *, secret: bool) -> tuple[str, os.stat_result]:
    return read_text(path, what, reason="SECURITY_FILE", problem=exposed if secret else None)


def load_tls(cert: Path, key: Path, client_ca: Path | None = None) -> ServerTls:
    """Reads and checks the certificates of a server.

    Args:
        cert: the server's certificate and those between it and its authority, PEM.
        key: its private key, PEM, without a passphrase.
        client_ca: authorities whose certificates clients must show (mTLS), PEM.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``SECURITY_FILE``: a file is missing, unreadable, not PEM, or the key is
            not private or not the certificate's.
    """
    certificate, _ = _read(cert, "the server's certificate", secret=False)
    private_key, _ = _read(key, "the server's private key", secret=True)
    _check_pem(cert, certificate, "CERTIFICATE")
    _check_pem(key, private_key, "PRIVATE KEY")
    if "ENCRYPTED" in private_key:
        raise _bad_file(key, "the key has a passphrase; remove it with `openssl pkey` and keep the file at mode 600")
    authorities = None
    if client_ca is not None:
        authorities, _ = _read(client_ca, "the authority of client certificates", secret=False)
        _check_pem(client_ca, authorities, "CERTIFICATE")
    _check_by_openssl(cert, key, client_ca, authorities)
    return ServerTls(
        certificate=certificate.encode(),
        private_key=private_key.encode(),
        client_ca=None if authorities is None else authorities.encode(),
    )


def _check_pem(path: Path, text: str, label: str) -> None:
    if not re.search(rf"-----BEGIN [A-Z0-9 ]*{label}-----", text):
        raise _bad_file(path, f"is not PEM: it has no line `-----BEGIN {label}-----`")


def _check_by_openssl(cert: Path, key: Path, client_ca: Path | None, authorities: str | None) -> None:
    """gRPC would only fail handshakes, one by one and without a reason; OpenSSL says what is wrong at once."""
    import ssl  # only servers with TLS pay for it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, password=lambda: b"")
    except (ssl.SSLError, OSError) as error:
        problem = "is not the key of" if "KEY_VALUES_MISMATCH" in str(error) else "cannot be used with"
        raise _bad_file(key, f"{problem} the certificate {cert} ({error.strerror or error})") from error
    if client_ca is not None and authorities is not None:
        try:
            context.load_verify_locations(cadata=authorities)
        except (ssl.SSLError, OSError) as error:
            raise _bad_file(client_ca, f"holds no certificate that can be used ({error.strerror or error})") from error


def certificate_principal(common_name: str, alternative_names: Sequence[str] = ()) -> str:
    """``mtls:<name>`` for a client certificate that the TLS layer has verified.

    Args:
        common_name: of its subject; may be empty.
        alternative_names: of its subject; the first one counts if there is no common name.

    Raises:
        BridgeError: UNAUTHENTICATED, reason ``CERTIFICATE_NAME``, if there is no name or one not fit for a log line.
    """
    name = common_name or next(iter(alternative_names), "")
    if not _PRINCIPAL_NAME.fullmatch(name):
        raise BridgeError(
            Code.UNAUTHENTICATED,
            "the client certificate has no usable name: give it a common name or a subject alternative name of "
            "letters, digits and _ . @ : / -",
            reason="CERTIFICATE_NAME",
        )
    return f"mtls:{name}"


def authenticator(tokens: TokenFile | None, tls: ServerTls | None) -> Authenticate | None:
    """How a server knows its clients: by token if it has tokens, else by certificate if it asks for them, else not.

    A client on a Unix socket shows no certificate; that it could open the socket, which only the server's own user may,
    is proof enough where no tokens are asked for: its principal is ``unix:<uid>``.
    """
    if tokens is not None:
        return lambda headers, certificate: tokens.authenticate(headers)
    if tls is None or tls.client_ca is None:
        return None
    local = f"unix:{os.geteuid()}"
    return lambda headers, certificate: local if certificate is None else certificate_principal(certificate)


_Tokens = tuple[tuple[str, bytes], ...]
"""Principal and SHA-256 of each token; the tokens themselves are not kept."""


def parse_tokens(text: str, path: Path) -> _Tokens:
    """The tokens of a token file: ``name token`` or ``name:token`` on a line, ``#`` begins a comment line.

    A name may have several tokens, so that clients can move from one to the next; a token has one name.

    Args:
        text: the content.
        path: the file, for messages.

    Returns:
        ``token:<name>`` and the SHA-256 of the token, in the order of the file.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``SECURITY_FILE``, with the line.
    """
    found: dict[bytes, str] = {}
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _TOKEN_LINE.fullmatch(line)
        if match is None:
            raise _bad_file(path, f"line {number}: write `name token`, the token in letters, digits and - . _ ~ + / =")
        name, token = match.groups()
        if len(token) < MIN_TOKEN_LENGTH:
            problem = f"the token has fewer than {MIN_TOKEN_LENGTH} characters; `openssl rand -hex 32` makes a good one"
            raise _bad_file(path, f"line {number}: {problem}")
        digest = hashlib.sha256(token.encode()).digest()
        if digest in found:
            raise _bad_file(path, f"line {number}: the token is there twice; give every client its own")
        found[digest] = f"token:{name}"
    if not found:
        raise _bad_file(path, "holds no token; write lines of the form `name token`")
    return tuple((name, digest) for digest, name in found.items())


_Signature = tuple[int, int, int, int, int]


def _signature(status: os.stat_result) -> _Signature:
    # The time of the inode's change as well: a chmod may make the file readable again, or no longer private.
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class TokenFile:
    """Bearer tokens in a file, which may change while the server runs.

    The file is looked at again at most every ``CHECK_INTERVAL`` seconds. If what is there then is broken or gone, the
    tokens read last stay valid and the log says so once.

    Args:
        path: the file; read at once.
        clock: seconds that never go back.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``SECURITY_FILE``, if the file is broken or open to other users.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._clock = clock
        text, status = _read(path, "the token file", secret=True)
        self._tokens = parse_tokens(text, path)
        self._seen: _Signature | None = _signature(status)
        self._next_check = clock() + CHECK_INTERVAL

    def authenticate(self, headers: Headers) -> str:
        """``token:<name>`` for the token in the ``authorization`` header.

        Every token of the file is compared in constant time, so the time taken says nothing about any of them.

        Raises:
            BridgeError: UNAUTHENTICATED, reason ``TOKEN_MISSING`` or ``TOKEN_INVALID``.
        """
        if (now := self._clock()) >= self._next_check:
            self._next_check = now + CHECK_INTERVAL
            self._reread()
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise BridgeError(Code.UNAUTHENTICATED, f"no token: {_HOW_TO_SEND}", reason="TOKEN_MISSING")
        digest = hashlib.sha256(token.strip().encode("utf-8", "replace")).digest()
        principal = ""
        for name, known in self._tokens:
            if hmac.compare_digest(digest, known):
                principal = name
        if not principal:
            raise BridgeError(Code.UNAUTHENTICATED, f"unknown token: {_HOW_TO_SEND}", reason="TOKEN_INVALID")
        return principal

    def _reread(self) -> None:
        try:
            current = _signature(self.path.stat())
        except OSError:
            current = None
        if current == self._seen:
            return
        # Remembered before reading, so that one broken version is one line in the log.
        self._seen = current
        try:
            text, status = _read(self.path, "the token file", secret=True)
            self._tokens = parse_tokens(text, self.path)
        except BridgeError as error:
            log.error("the tokens read last stay valid: %s", error.message)
            return
        self._seen = _signature(status)
        log.info("read %d tokens from %s", len(self._tokens), self.path)


def write_client_config(
    path: Path,
    *,
    target: str,
    ca: Path | None = None,
    token_file: Path | None = None,
    certificate: Path | None = None,
    private_key: Path | None = None,
    server_name: str | None = None,
) -> None:
    """Writes what a client needs to connect as JSON, mode 0600: ``target`` and those of the others that are given.

    Paths are written in full; the secrets stay in the files they name.

    Raises:
        BridgeError: FAILED_PRECONDITION, reason ``FILE_NOT_WRITTEN``.
    """
    paths = {"ca": ca, "token_file": token_file, "certificate": certificate, "private_key": private_key}
    content = {"target": target} | {key: str(value.absolute()) for key, value in paths.items() if value is not None}
    if server_name is not None:
        content["server_name"] = server_name
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Writes a file so that a reader sees all of it or nothing; one that is there is replaced.

    Args:
        path: the file; its directory must exist.
        text: the content.
        mode: permissions from the first instant, whatever the umask is.

    Raises:
        BridgeError: FAILED_PRECONDITION, reason ``FILE_NOT_WRITTEN``.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        message = f"cannot write {path}: {error.strerror}; choose another path"
        raise BridgeError(Code.FAILED_PRECONDITION, message, reason="FILE_NOT_WRITTEN") from error
