"""Addresses a server listens on, and taking them without stealing them.

Addresses are written as in gRPC: ``host:port``, ``[::1]:port``, ``unix:/path``; ``unix:`` alone is a socket of the
user's own. A Unix socket is protected three times: its directory belongs to us and nobody else can write to it, an
exclusive ``flock`` on ``<path>.lock`` says that its server lives (the kernel drops it when the process dies, however
it dies), and its mode is 0600 from the first instant.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import os
import re
import socket
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from bridge.errors import BridgeError, Code

__all__ = [
    "BRIDGE_SOCKET",
    "JSONRPC_SOCKET",
    "Address",
    "TcpAddress",
    "UnixAddress",
    "UnixListener",
    "default_socket",
    "is_loopback",
    "parse_address",
    "prepare_unix",
    "private_umask",
    "probe_tcp",
    "require_secure",
]

BRIDGE_SOCKET = "bridge.sock"
"""The name of the socket that ``unix:`` means where gRPC is spoken."""
JSONRPC_SOCKET = "jsonrpc.sock"
"""The same where JSON-RPC is."""
MAX_SOCKET_PATH = 107
"""Bytes of a socket's path: ``sun_path`` has 108 with the closing zero (unix(7))."""

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
# What inet_aton would take for a number: "127.1", "0x7f.1" and "0" are addresses in disguise.
_NUMERIC_END = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)")
_SHAPE = "write host:port, [ipv6]:port or unix:/path"


class TcpAddress(msgspec.Struct, frozen=True):
    """A TCP address."""

    host: str
    """Name, IPv4 or IPv6 address, without brackets."""
    port: int
    """0: any free one."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixAddress(msgspec.Struct, frozen=True):
    """A Unix domain socket."""

    path: Path
    """Absolute."""

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = TcpAddress | UnixAddress


def _bad_address(text: str, problem: str) -> BridgeError:
    return BridgeError(Code.INVALID_ARGUMENT, f"address {text[:200]!r}: {problem}", reason="ADDRESS")


def default_socket(environ: Mapping[str, str], name: str = BRIDGE_SOCKET) -> Path:
    """The socket that ``unix:`` means: ``$XDG_RUNTIME_DIR/tool-bridge/bridge.sock``, or one in a directory of the
    user's own under the folder for temporary files (XDG Base Directory Specification: a relative value is ignored).

    Args:
        environ: the environment.
        name: of the socket, for other protocols.
    """
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):
        return Path(runtime, "tool-bridge", name)
    temporary = environ.get("TMPDIR", "")
    return Path(temporary if temporary.startswith("/") else "/tmp", f"tool-bridge-{os.geteuid()}", name)  # noqa: S108 - prepare_unix refuses a directory that is not ours


def parse_address(text: str, environ: Mapping[str, str] | None = None) -> Address:
    """The address a text means; ``str()`` of it is the text in full, and parses to the same.

    Args:
        text: ``host:port``, ``[::1]:port``, ``unix:/path``, ``unix:///path`` or ``unix:``.
        environ: where ``unix:`` looks for the user's runtime directory.

    Raises:
        BridgeError: INVALID_ARGUMENT, reason ``ADDRESS``.
    """
    if not text.isprintable() or text != text.strip():
        raise _bad_address(text, f"has white space or control characters; {_SHAPE}")
    scheme, _, rest = text.partition(":")
    if scheme == "unix":
        return _parse_unix(text, rest, environ or {})
    if scheme == "unix-abstract":
        raise _bad_address(text, "abstract sockets have no permissions, any user may connect; use unix:/path")
    if "://" in text:
        raise _bad_address(text, f"an address has no scheme; {_SHAPE}")
    host, colon, port = text.rpartition(":")
    if not colon:
        raise _bad_address(text, f"has no port; {_SHAPE}")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise _bad_address(text, "the port is a number from 0 to 65535")
    return TcpAddress(_parse_host(text, host), int(port))


def _parse_unix(text: str, rest: str, environ: Mapping[str, str]) -> UnixAddress:
    if not rest:
        return UnixAddress(default_socket(environ))
    if rest.startswith("//"):
        if not rest.startswith("///"):
            raise _bad_address(text, "after unix:// comes an absolute path")
        # Two slashes at the start of a path may mean something else (POSIX 4.13); one never does.
        rest = "/" + rest.lstrip("/")
    if rest.startswith(" "):
        raise _bad_address(text, "has white space before the path")
    if rest.rpartition("/")[2] in ("", "..", "."):
        raise _bad_address(text, "names a directory; add the name of the socket")
    # One path, one text: the lock and the messages must not differ between ways of writing it.
    path = Path(os.path.normpath(Path(rest).absolute()))
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_PATH:
        raise _bad_address(text, f"the path has {length} bytes and a socket's may have {MAX_SOCKET_PATH}; shorten it")
    return UnixAddress(path)


def _parse_host(text: str, host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise _bad_address(text, "between the brackets is no IPv6 address") from None
    if not host or host == "*":
        raise _bad_address(text, "has no host; write 127.0.0.1:PORT, or 0.0.0.0:PORT for every interface")
    if ":" in host:
        raise _bad_address(text, "put an IPv6 address in brackets: [::1]:50051")
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        if not _HOST_NAME.fullmatch(host) or _NUMERIC_END.fullmatch(host):
            raise _bad_address(text, f"{host[:100]!r} is neither a host name nor an IP address") from None
    return host.lower()


def is_loopback(address: Address) -> bool:
    """Whether only programs of this machine can reach an address: Unix sockets, ``localhost`` (RFC 6761), loopback IPs.

    Any other name counts as reachable: what it resolves to may change.
    """
    if isinstance(address, UnixAddress) or address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False


def require_secure(addresses: Iterable[Address], *, tls: bool, auth: bool, insecure: bool) -> None:
    """Refuses to serve other machines without TLS and authentication.

    Args:
        addresses: where the server is to listen.
        tls: whether it has a certificate.
        auth: whether it knows its clients, by tokens or by their certificates.
        insecure: whether the user said that it is all right without.

    Raises:
        BridgeError: FAILED_PRECONDITION, reason ``INSECURE_ADDRESS``.
    """
    if insecure or (tls and auth):
        return
    for address in addresses:
        if is_loopback(address):
            continue
        missing = " and ".join(name for name, there in (("TLS", tls), ("authentication", auth)) if not there)
        raise BridgeError(
            Code.FAILED_PRECONDITION,
            f"{address} can be reached from other machines and the server has no {missing}. Either give it --tls-cert "
            "and --tls-key, and --tokens or --tls-client-ca (`bridge certs DIR` makes them all), or say --insecure if "
            "the network itself is trusted",
            reason="INSECURE_ADDRESS",
        )


def _in_use(address: Address, detail: str) -> BridgeError:
    message = f"{address} is in use: {detail}; stop that process, or choose another address"
    return BridgeError(Code.ALREADY_EXISTS, message, reason="ADDRESS_IN_USE")


def probe_tcp(host: str, port: int) -> None:
    """Says in plain words why an address cannot be listened on, before an engine says it in its own.

    It binds and lets go at once, so it proves nothing about the next moment. Port 0 is always fine.

    Raises:
        BridgeError: ALREADY_EXISTS, reason ``ADDRESS_IN_USE``; INVALID_ARGUMENT, reason ``ADDRESS``, for an address
            that is not of this machine; PERMISSION_DENIED, reason ``ADDRESS``, for a port below 1024.
    """
    address = TcpAddress(host, port)
    try:
        # As bytes: the rules by which other text becomes a name take a while to import.
        name = host.encode() if host.isascii() else host
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise _bad_address(str(address), f"the name does not resolve ({error})") from error
    for family, kind, protocol, _, where in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                # As servers do: connections that linger in TIME_WAIT are no reason to wait.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(where)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise _in_use(address, f"`ss -ltnp 'sport = :{port}'` shows by whom") from error
            if error.errno in (errno.EACCES, errno.EPERM):
                message = f"{address}: this user may not open port {port}; choose one above 1023 with --listen"
                raise BridgeError(Code.PERMISSION_DENIED, message, reason="ADDRESS") from error
            if error.errno == errno.EAFNOSUPPORT and len(found) > 1:
                continue  # a name with an IPv6 address, on a machine without IPv6
            problem = f"this machine cannot listen there ({error.strerror}); 127.0.0.1 always works"
            raise _bad_address(str(address), problem) from error


@contextlib.contextmanager
def private_umask() -> Iterator[None]:
    """Files made inside get no rights for group and others: a socket has mode 0600 from the first instant.

    The umask belongs to the whole process: keep the block to one synchronous ``bind``, while no tool is running.
    """
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


class UnixListener:
    """The right to serve one socket path, held until ``close``. Made by ``prepare_unix``."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock: int | None = lock
        self._bound: tuple[int, int] | None = None

    @property
    def address(self) -> str:
        """``unix:/path``."""
        return f"unix:{self.path}"

    @contextlib.contextmanager
    def binding(self) -> Iterator[None]:
        """Goes around the synchronous bind: keeps the mode private and remembers which socket is ours.

        Raises:
            BridgeError: FAILED_PRECONDITION, reason ``SOCKET_PERMISSIONS``, if what is there afterwards is no socket
                with mode 0600 (a default ACL on the directory overrides the umask).
        """
        with private_umask():
            yield
        try:
            status = self.path.lstat()
        except FileNotFoundError as error:
            raise _not_private(self.path, "nothing was bound there") from error
        if not stat.S_ISSOCK(status.st_mode):
            raise _not_private(self.path, "what was made there is no socket")
        self._bound = (status.st_dev, status.st_ino)
        if status.st_mode & 0o177:
            raise _not_private(self.path, "the socket did not get mode 0600; look for a default ACL on its directory")

    def is_there(self) -> bool:
        """Whether the path still leads to the socket that was bound."""
        try:
            status = self.path.lstat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._bound

    def close(self) -> None:
        """Removes the socket, if it is the one that was bound, and lets go of the path. May be called again."""
        if self._lock is None:
            return
        try:
            if self.is_there():  # the engine may have removed it
                self.path.unlink()
        finally:
            # The lock file stays: removing it would let two servers hold locks on two files of one name.
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def prepare_unix(path: Path) -> UnixListener:
    """Makes a path ready to bind: its directory private, its lock ours, a socket of a dead server gone.

    Missing directories are made with mode 0700. Use it as ``with prepare_unix(path) as listener, listener.binding():``.

    Raises:
        BridgeError: ALREADY_EXISTS, reason ``ADDRESS_IN_USE``, if a live server has it; FAILED_PRECONDITION, reason
            ``SOCKET_PERMISSIONS``, if the directory is open to others or something that is no socket is in the way;
            INVALID_ARGUMENT, reason ``ADDRESS``, for a path that cannot be one of a socket.
    """
    address = parse_address(f"unix:{path}")
    assert isinstance(address, UnixAddress)  # noqa: S101 - by its scheme
    path = address.path
    try:
        _make_private(path.parent)
        _check_directory(path)
        lock = _take_lock(path)
    except OSError as error:
        raise _not_private(path, f"{error.filename or path.parent}: {error.strerror}") from error
    try:
        _remove_stale(path)
    except BaseException:
        os.close(lock)
        raise
    return UnixListener(path, lock)


def _not_private(path: Path, problem: str) -> BridgeError:
    message = f"unix:{path}: {problem}. `unix:` alone means a safe place"
    return BridgeError(Code.FAILED_PRECONDITION, message, reason="SOCKET_PERMISSIONS")


def _make_private(directory: Path) -> None:
    missing = [directory]
    while not os.path.lexists(missing[-1].parent):
        missing.append(missing[-1].parent)
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)


def _check_directory(path: Path) -> None:
    """The socket's directory is ours alone to write; and nothing above it that is ours can be renamed by just anybody.

    A group may write further up: with one group per user, as many distributions have it, that is nobody else.
    """
    directory = path.parent
    status = directory.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise _not_private(path, f"{directory} is a symbolic link; name the directory it points to")
    if not stat.S_ISDIR(status.st_mode):
        raise _not_private(path, f"{directory} is not a directory")
    if status.st_uid != os.geteuid():
        raise _not_private(path, f"{directory} belongs to user {status.st_uid}; use a directory of your own")
    if status.st_mode & 0o022:
        raise _not_private(path, f"other users can write to {directory}; `chmod 700` it or use another")
    for above in directory.resolve().parents:
        status = above.stat()
        if status.st_uid == os.geteuid() and status.st_mode & 0o002 and not status.st_mode & stat.S_ISVTX:
            raise _not_private(path, f"any user can rename what is in {above}; `chmod o-w` it or use another")


def _take_lock(path: Path) -> int:
    lock_path = path.with_name(path.name + ".lock")
    # O_NONBLOCK: opening a FIFO that somebody left there must not wait.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    lock = os.open(lock_path, flags, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(lock).st_mode):
            raise _not_private(path, f"{lock_path} is not a plain file; remove it")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
            who = f"process {holder}" if holder.isdigit() else "a live process"
            raise _in_use(UnixAddress(path), f"{who} holds {lock_path}") from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _remove_stale(path: Path) -> None:
    """Removes the socket of a server that is gone. We hold the lock, so no server of ours makes one meanwhile."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "a file that is no socket"
        raise _not_private(path, f"{what} is in the way; remove it or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        # Only a refusal proves that nobody listens; EAGAIN is a live server with a full backlog.
        if probe.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise _in_use(UnixAddress(path), "a server that holds no lock answers there")
    path.unlink()
