"""Addresses, and sockets that are taken without stealing them."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BridgeError, Code
from bridge.listeners import (
    Address,
    TcpAddress,
    UnixAddress,
    UnixListener,
    is_loopback,
    parse_address,
    prepare_unix,
    private_umask,
    probe_tcp,
    require_secure,
)

ROOT = Path(__file__).parents[2]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private directory with a short name: a socket's path has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="bridge-", dir="/tmp") as name:
        yield Path(name)


def refusal(path: Path) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        prepare_unix(path).close()
    return caught.value


def bind(listener: UnixListener) -> socket.socket:
    """What an engine does."""
    server = socket.socket(socket.AF_UNIX)
    with listener.binding():
        server.bind(str(listener.path))
    server.listen()
    return server


# Addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:50051", TcpAddress("127.0.0.1", 50051)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("Host.Example.COM:65535", TcpAddress("host.example.com", 65535)),
        ("my_service:1", TcpAddress("my_service", 1)),
        ("[::1]:80", TcpAddress("::1", 80)),
        ("[0:0:0:0:0:0:0:1]:80", TcpAddress("::1", 80)),
        ("unix:/run/x.sock", UnixAddress(Path("/run/x.sock"))),
        ("unix:///run/x.sock", UnixAddress(Path("/run/x.sock"))),
        ("unix:////run/x.sock", UnixAddress(Path("/run/x.sock"))),
        ("unix:/run/./a b/../x.sock", UnixAddress(Path("/run/x.sock"))),
    ],
)
def test_an_address_is_understood(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "has no port"),
        ("50051", "has no port"),
        (":50051", "has no host"),
        ("*:50051", "0.0.0.0:PORT"),
        ("::1:50051", "in brackets"),
        ("[::1]", "0 to 65535"),
        ("[nonsense]:1", "no IPv6 address"),
        ("localhost:", "0 to 65535"),
        ("localhost:65536", "0 to 65535"),
        ("localhost:-1", "0 to 65535"),
        ("localhost:٣", "0 to 65535"),
        ("localhost:" + "1" * 5000, "0 to 65535"),
        ("127.1:80", "neither"),
        ("0:80", "neither"),
        ("0x7f.0.0.1:80", "neither"),
        ("256.0.0.1:80", "neither"),
        ("http://localhost:80", "no scheme"),
        ("-a:80", "neither"),
        (" localhost:80", "white space"),
        ("local\nhost:80", "control characters"),
        ("unix:/tmp/a\0b", "control characters"),
        ("unix://run/x.sock", "absolute path"),
        ("unix:/run/", "names a directory"),
        ("unix:/run/..", "names a directory"),
        ("unix:.", "names a directory"),
        ("unix:/" + "x" * 107, "108 bytes"),
        ("unix:/" + "ü" * 60, "121 bytes"),
        ("unix-abstract:x", "abstract"),
    ],
)
def test_a_wrong_address_is_refused_with_advice(text: str, hint: str) -> None:
    with pytest.raises(BridgeError, match="address") as caught:
        parse_address(text)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.reason == "ADDRESS"
    assert hint in caught.value.message


def test_the_longest_path_is_allowed() -> None:
    assert str(parse_address("unix:/" + "x" * 106)) == "unix:/" + "x" * 106


def test_unix_alone_is_a_socket_of_the_users_own() -> None:
    assert str(parse_address("unix:", {"XDG_RUNTIME_DIR": "/run/user/7"})) == (
        "unix:/run/user/7/tool-bridge/bridge.sock"
    )
    assert str(parse_address("unix:", {"XDG_RUNTIME_DIR": "relative"})) == (
        f"unix:/tmp/tool-bridge-{os.geteuid()}/bridge.sock"
    )
    assert str(parse_address("unix:", {"TMPDIR": "/scratch"})) == (
        f"unix:/scratch/tool-bridge-{os.geteuid()}/bridge.sock"
    )


@given(st.one_of(st.text(max_size=150), st.from_regex(r"(unix:/*|\[?)[0-9a-z:./ %-]{0,20}\]?:?[0-9]{0,6}")))
def test_any_text_is_an_address_that_reads_back_or_a_refusal(text: str) -> None:
    try:
        address = parse_address(text)
    except BridgeError:
        return
    assert parse_address(str(address)) == address


@given(st.ip_addresses(v=6), st.integers(0, 65535))
def test_every_ipv6_address_reads_back(ip: object, port: int) -> None:
    assert str(parse_address(f"[{ip}]:{port}")) == f"[{ip}]:{port}"


@given(st.ip_addresses(v=4), st.integers(0, 65535))
def test_every_ipv4_address_reads_back(ip: object, port: int) -> None:
    assert str(parse_address(f"{ip}:{port}")) == f"{ip}:{port}"


@pytest.mark.parametrize("text", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "LOCALHOST:1", "unix:/x"])
def test_loopback_needs_no_protection(text: str) -> None:
    assert is_loopback(parse_address(text))
    require_secure([parse_address(text)], tls=False, auth=False, insecure=False)


@pytest.mark.parametrize("text", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "localhost.evil.example:1", "myhost:1"])
def test_other_addresses_need_tls_and_authentication_or_a_word(text: str) -> None:
    addresses = [parse_address("127.0.0.1:1"), parse_address(text)]
    for tls, auth, missing in [
        (False, False, "TLS and authentication"),
        (True, False, "no authentication"),
        (False, True, "no TLS"),
    ]:
        with pytest.raises(BridgeError, match=missing) as caught:
            require_secure(addresses, tls=tls, auth=auth, insecure=False)
        assert caught.value.code is Code.FAILED_PRECONDITION
        assert caught.value.reason == "INSECURE_ADDRESS"
        for way in ("--tls-cert", "--tokens", "--insecure", text):
            assert way in caught.value.message
        require_secure(addresses, tls=tls, auth=auth, insecure=True)
    require_secure(addresses, tls=True, auth=True, insecure=False)


# TCP


def test_a_port_in_use_is_named_before_the_engine_tries() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(BridgeError, match=f"127.0.0.1:{port} is in use") as caught:
            probe_tcp("127.0.0.1", port)
        assert caught.value.code is Code.ALREADY_EXISTS
        assert caught.value.reason == "ADDRESS_IN_USE"
        assert "choose another address" in caught.value.message


def test_a_port_that_would_be_shared_counts_as_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as server, pytest.raises(BridgeError, match="in use"):
        probe_tcp("127.0.0.1", server.getsockname()[1])


def test_a_free_port_passes_and_stays_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    probe_tcp("127.0.0.1", port)
    probe_tcp("127.0.0.1", port)
    probe_tcp("127.0.0.1", 0)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(BridgeError, match="cannot listen there") as caught:
        probe_tcp("192.0.2.1", 50051)  # TEST-NET-1, RFC 5737
    assert caught.value.code is Code.INVALID_ARGUMENT


# Unix sockets


def test_a_socket_has_mode_0600_in_a_directory_with_mode_0700(folder: Path) -> None:
    path = folder / "a" / "b" / "bridge.sock"
    before = os.umask(0o022)
    try:
        with prepare_unix(path) as listener, bind(listener):
            assert stat.S_IMODE(path.lstat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700
            assert listener.address == f"unix:{path}"
    finally:
        assert os.umask(before) == 0o022
    assert not path.exists()


def test_the_umask_comes_back_after_a_failed_bind() -> None:
    before = os.umask(0o022)
    try:
        with pytest.raises(RuntimeError), private_umask():
            raise RuntimeError
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_a_second_listener_of_one_process_is_refused(folder: Path) -> None:
    path = folder / "bridge.sock"
    with prepare_unix(path):
        error = refusal(path)
    assert error.code is Code.ALREADY_EXISTS
    assert error.reason == "ADDRESS_IN_USE"
    assert f"process {os.getpid()}" in error.message
    prepare_unix(path).close()


SERVER = """
import socket, sys
from pathlib import Path
from bridge.listeners import prepare_unix
with prepare_unix(Path(sys.argv[1])) as listener, socket.socket(socket.AF_UNIX) as server:
    with listener.binding():
        server.bind(str(listener.path))
    server.listen()
    print("ready", flush=True)
    sys.stdin.read()
"""


@contextmanager
def server_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that serves the path until its stdin ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_a_live_server_is_never_robbed(folder: Path) -> None:
    path = folder / "bridge.sock"
    with server_process(path) as process:
        inode = path.stat().st_ino
        error = refusal(path)
        assert error.code is Code.ALREADY_EXISTS
        assert f"process {process.pid}" in error.message
        assert path.stat().st_ino == inode
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_the_socket_of_a_killed_server_is_taken_over(folder: Path) -> None:
    path = folder / "bridge.sock"
    with server_process(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
    assert path.is_socket()
    with prepare_unix(path) as listener, bind(listener), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_server_that_ends_properly_leaves_no_socket(folder: Path) -> None:
    path = folder / "bridge.sock"
    with server_process(path) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=10) == 0
    assert not path.exists()
    prepare_unix(path).close()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_live_server_without_a_lock_is_not_robbed(folder: Path, kind: socket.SocketKind) -> None:
    path = folder / "bridge.sock"
    with socket.socket(socket.AF_UNIX, kind) as server:
        server.bind(str(path))
        if kind == socket.SOCK_STREAM:
            server.listen()
        assert refusal(path).reason == "ADDRESS_IN_USE"
        assert path.is_socket()


def test_a_live_server_too_busy_to_accept_is_not_robbed(folder: Path) -> None:
    path = folder / "bridge.sock"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as waiting:
        server.bind(str(path))
        server.listen(0)
        waiting.connect(str(path))  # fills the backlog
        assert refusal(path).reason == "ADDRESS_IN_USE"
        assert path.is_socket()


def test_a_refused_path_keeps_no_lock(folder: Path) -> None:
    path = folder / "bridge.sock"
    path.write_text("precious")
    assert refusal(path).reason == "SOCKET_PERMISSIONS"
    assert path.read_text() == "precious"
    path.unlink()
    prepare_unix(path).close()


def test_a_symbolic_link_at_the_path_is_refused(folder: Path) -> None:
    path = folder / "bridge.sock"
    path.symlink_to(folder / "nowhere")
    error = refusal(path)
    assert error.code is Code.FAILED_PRECONDITION
    assert "symbolic link" in error.message
    assert path.is_symlink()


@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
def test_a_symbolic_link_as_the_directory_is_refused(folder: Path, target: str) -> None:
    (folder / "elsewhere").mkdir(mode=0o700)
    (folder / "link").symlink_to(folder / target)
    assert refusal(folder / "link" / "bridge.sock").reason == "SOCKET_PERMISSIONS"
    assert list((folder / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777])
def test_a_directory_others_can_write_to_is_refused(folder: Path, mode: int) -> None:
    (folder / "open").mkdir()
    (folder / "open").chmod(mode)
    error = refusal(folder / "open" / "bridge.sock")
    assert error.reason == "SOCKET_PERMISSIONS"
    assert "chmod 700" in error.message
    assert list((folder / "open").iterdir()) == []


def test_a_directory_that_can_be_renamed_by_anybody_is_refused(folder: Path) -> None:
    (folder / "open").mkdir()
    (folder / "open").chmod(0o777)
    assert "rename" in refusal(folder / "open" / "own" / "bridge.sock").message
    (folder / "open").chmod(0o1777)
    prepare_unix(folder / "open" / "own" / "bridge.sock").close()


@needs_root
def test_a_directory_of_another_user_is_refused(folder: Path) -> None:
    (folder / "other").mkdir(mode=0o700)
    os.chown(folder / "other", 65534, 65534)
    error = refusal(folder / "other" / "bridge.sock")
    assert error.reason == "SOCKET_PERMISSIONS"
    assert "belongs to user 65534" in error.message


def test_a_file_as_the_directory_is_refused(folder: Path) -> None:
    (folder / "file").write_text("")
    assert refusal(folder / "file" / "bridge.sock").reason == "SOCKET_PERMISSIONS"


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_a_lock_that_is_no_plain_file_is_refused_without_waiting(folder: Path, kind: str) -> None:
    path, lock = folder / "bridge.sock", folder / "bridge.sock.lock"
    if kind == "link":
        lock.symlink_to(folder / "target")
    elif kind == "fifo":
        os.mkfifo(lock)
    else:
        lock.mkdir()
    assert refusal(path).reason == "SOCKET_PERMISSIONS"
    assert not (folder / "target").exists()


def test_a_path_that_is_too_long_is_refused_before_anything_is_made(folder: Path) -> None:
    error = refusal(folder / ("x" * 100) / "bridge.sock")
    assert error.reason == "ADDRESS"
    assert list(folder.iterdir()) == []


def test_closing_leaves_the_socket_of_somebody_else(folder: Path) -> None:
    path = folder / "bridge.sock"
    listener = prepare_unix(path)
    with bind(listener), socket.socket(socket.AF_UNIX) as other:
        path.rename(folder / "moved")  # keeps the inode in use, so that the other socket has another one
        other.bind(str(path))
        listener.close()
        listener.close()
        assert path.is_socket()


def test_closing_after_the_engine_removed_the_socket_is_quiet(folder: Path) -> None:
    path = folder / "bridge.sock"
    with prepare_unix(path) as listener, bind(listener):
        path.unlink()
    prepare_unix(path).close()


def test_a_socket_with_a_wider_mode_is_refused_and_removed(folder: Path) -> None:
    path = folder / "bridge.sock"
    with socket.socket(socket.AF_UNIX) as server, prepare_unix(path) as listener:

        def bind_as_under_a_default_acl() -> None:
            with listener.binding():
                server.bind(str(path))
                path.chmod(0o660)

        with pytest.raises(BridgeError, match="mode 0600"):
            bind_as_under_a_default_acl()
        assert path.exists()
    assert not path.exists()


def test_binding_nothing_is_noticed(folder: Path) -> None:
    with prepare_unix(folder / "bridge.sock") as listener:
        with pytest.raises(BridgeError, match="nothing was bound"), listener.binding():
            pass
        (folder / "bridge.sock").write_text("")
        with pytest.raises(BridgeError, match="no socket"), listener.binding():
            pass
    assert (folder / "bridge.sock").exists()
