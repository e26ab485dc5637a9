"""Where sockets lie, their modes, and that they go."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.errors import BridgeError, Code
from bridge.goplugin.transport.sockets import SocketPlace, choose_port, listen_tcp, listen_unix

GROUP = os.getgid()
OTHER_GROUP = 1 if os.geteuid() == 0 else GROUP


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.fixture(autouse=True)
def temporary(short: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(short))
    return short


@pytest.fixture
def short(tmp_path: Path) -> Iterator[Path]:
    """Another way to a directory whose own path may be too long for sockets."""
    link = Path(f"/tmp/b-{os.getpid()}-{id(tmp_path):x}")
    link.symlink_to(tmp_path)
    yield link
    link.unlink()


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o277, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("group", ["", str(OTHER_GROUP)], ids=["no group", "group"])
def test_modes_do_not_depend_on_the_umask(group: str) -> None:
    with SocketPlace(group=group) as place:
        public, other, private = place.new_socket(), place.new_socket(), place.new_private_socket()
        with socket.socket(socket.AF_UNIX) as engine, place.binding(other):
            engine.bind(str(other))
            assert mode(other) & 0o077 == 0
        place.listen(public).close()
        place.listen(private).close()
        assert (mode(private), mode(private.parent)) == (0o600, 0o700)
        expected = (0o660, 0o660, 0o750) if group else (0o600, 0o600, 0o700)
        assert (mode(public), mode(other), mode(public.parent)) == expected
        gid = OTHER_GROUP if group else GROUP
        assert {path.stat().st_gid for path in (public, other, public.parent)} == {gid}
        assert private.stat().st_gid == GROUP


def test_everything_is_removed(short: Path) -> None:
    place = SocketPlace()
    place.listen(place.new_socket()).close()
    place.listen(place.new_socket("broker")).close()
    place.new_socket()
    listen_unix(place.private / "unknown").close()
    place.close()
    place.close()
    assert list(short.iterdir()) == []


def test_a_place_can_be_used_again_after_it_was_closed(short: Path) -> None:
    place = SocketPlace()
    place.listen(place.new_socket()).close()
    place.close()
    with place:
        place.listen(place.new_socket()).close()
        place.listen(place.new_private_socket()).close()
    assert list(short.iterdir()) == []


def test_nothing_is_made_before_it_is_asked_for(short: Path) -> None:
    with SocketPlace():
        assert list(short.iterdir()) == []


def test_in_a_named_directory_sockets_lie_right_there_and_all_else_stays(short: Path) -> None:
    named = short / "named"
    named.mkdir(mode=0o770)
    (named / "theirs").touch()
    before = mode(named)
    place = SocketPlace.from_environment({"PLUGIN_UNIX_SOCKET_DIR": str(named), "PLUGIN_UNIX_SOCKET_GROUP": str(GROUP)})
    path = place.new_socket()
    place.listen(path).close()
    assert path.parent == named
    assert path.name.startswith("plugin")
    assert mode(path) == 0o660
    assert place.private.parent == named
    assert mode(place.private) == 0o700
    place.close()
    assert [left.name for left in named.iterdir()] == ["theirs"]
    assert mode(named) == before


def test_paths_are_unique() -> None:
    with SocketPlace() as place:
        assert len({place.new_socket() for _ in range(100)}) == 100


def test_a_path_too_long_is_refused_with_what_to_do(short: Path) -> None:
    long = short / ("d" * 90)
    long.mkdir()
    for ask in (SocketPlace.new_socket, SocketPlace.new_private_socket):
        with SocketPlace(long) as place, pytest.raises(BridgeError, match="PLUGIN_UNIX_SOCKET_DIR") as caught:
            ask(place)
        assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, "SOCKET_DIRECTORY")
        assert "107 bytes" in caught.value.message
    assert list(long.iterdir()) == []


def test_the_longest_path_that_is_allowed_can_be_bound(short: Path) -> None:
    room = 107 - len(os.fsencode(short)) - 2 - len("plugin") - 8
    fits = short / ("d" * room)
    fits.mkdir()
    with SocketPlace(fits) as place:
        place.listen(place.new_socket()).close()


def test_a_directory_that_is_missing_is_named(short: Path) -> None:
    with SocketPlace(short / "missing") as place:
        with pytest.raises(BridgeError, match="missing takes no socket"):
            place.listen(place.new_socket())
        with pytest.raises(BridgeError, match="missing takes no directory"):
            _ = place.private


def test_a_group_can_be_given_by_its_name() -> None:
    import grp

    with SocketPlace(group=grp.getgrgid(GROUP).gr_name) as place:
        path = place.new_socket()
        place.listen(path).close()
        assert path.stat().st_gid == GROUP


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(BridgeError, match="no group") as caught:
        SocketPlace(group="no-such-group")
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "SOCKET_GROUP")


def test_a_group_that_cannot_be_given_is_refused_and_nothing_stays(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)  # root, whom tests may run as, is never refused
    with SocketPlace(group="0") as place, pytest.raises(BridgeError, match="belongs to") as caught:
        place.new_socket()
    assert (caught.value.code, caught.value.reason) == (Code.PERMISSION_DENIED, "SOCKET_GROUP")
    assert list(short.iterdir()) == []


_PROGRAM = """
import os, signal, sys
from bridge.goplugin.transport.sockets import SocketPlace
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
place = SocketPlace()
place.listen(place.new_socket()).close()
place.listen(place.new_private_socket())
if os.fork() == 0:
    sys.exit()  # of what belongs to its parent, a fork removes nothing
assert os.wait()[1] == 0
assert place.private.exists()
print("up", flush=True)
signal.pause()
"""


def test_a_process_that_ends_by_sigterm_leaves_nothing_but_its_fork_does(short: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, cwd=Path.cwd()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert len(list(short.rglob("*"))) == 4  # two directories, one in the other, with a socket each
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 7
    assert list(short.iterdir()) == []


def test_a_forgotten_place_is_removed(short: Path) -> None:
    place = SocketPlace()
    place.listen(place.new_socket()).close()
    del place
    gc.collect()
    assert list(short.iterdir()) == []


def test_the_lowest_free_port_of_a_range_is_chosen() -> None:
    with listen_tcp("127.0.0.1", 0) as busy:
        low = busy.getsockname()[1]
        with choose_port(low, min(low + 50, 65535)) as chosen:
            assert chosen.getsockname()[0] == "127.0.0.1"
            assert chosen.getsockname()[1] > low
            socket.create_connection(chosen.getsockname(), 5).close()


def test_a_range_without_free_port_is_refused() -> None:
    with listen_tcp("127.0.0.1", 0) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(BridgeError, match=f"no port from {port} to {port}") as caught:
            choose_port(port, port)
        assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "PORT_RANGE")


def test_port_0_is_any() -> None:
    with choose_port(0, 0) as chosen:
        assert chosen.getsockname()[1] > 0


@pytest.mark.parametrize(("low", "high"), [(2, 1), (-1, 5), (1, 65536)])
def test_a_range_that_is_none_is_refused(low: int, high: int) -> None:
    with pytest.raises(BridgeError, match="PLUGIN_MIN_PORT") as caught:
        choose_port(low, high)
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "PORT_RANGE")
