"""What a killed plugin leaves is removed, and nothing else ever is."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bridge.goplugin.process.leftovers import remove_leftovers


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory as go-plugin makes them."""
    path = tmp_path / "plugin-dir123"
    path.mkdir()
    return path


def dead_socket(path: Path) -> Path:
    """A socket of which the process is gone."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
    return path


def test_dead_socket_goes_with_the_directory_made_for_it(place: Path) -> None:
    remove_leftovers(dead_socket(place / "plugin456"))
    assert not place.exists()
    assert place.parent.exists()


def test_directory_that_holds_something_else_stays(place: Path) -> None:
    other = place / "plugin789"
    other.write_text("notes")
    remove_leftovers(str(dead_socket(place / "plugin456")))
    assert list(place.iterdir()) == [other]


def test_brokered_and_private_sockets_go_with_the_directory(place: Path) -> None:
    private = place / "plugin789"
    private.mkdir()
    dead_socket(private / "plugin1")
    dead_socket(place / "plugin2")
    remove_leftovers(dead_socket(place / "plugin456"))
    assert not place.exists()


def test_socket_of_another_process_in_the_directory_stays(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "plugin789"))
        listener.listen()
        remove_leftovers(dead_socket(place / "plugin456"))
    assert [path.name for path in place.iterdir()] == ["plugin789"]


def test_directory_that_was_not_made_for_sockets_stays(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    remove_leftovers(dead_socket(folder / "plugin456"))
    assert list(folder.iterdir()) == []


def test_socket_that_is_listened_on_stays(place: Path) -> None:
    path = place / "plugin456"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        for _ in range(3):  # also when its queue is full
            remove_leftovers(path)
            assert path.is_socket()


def test_datagram_socket_stays(place: Path) -> None:
    path = place / "plugin456"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        remove_leftovers(path)
    assert path.is_socket()


def test_what_is_no_socket_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = dead_socket(place / "plugin1")
    (place / "plugin2").write_text("a file")
    (place / "plugin3").symlink_to(target)
    (place / "plugin4").mkdir()
    before = set(place.iterdir())
    monkeypatch.chdir(place)
    addresses: list[str | Path] = [*before - {target}, place / "missing", "plugin1", "", "@abstract", "[::]:1", "a\0b"]
    for address in addresses:
        remove_leftovers(address)
    assert set(place.iterdir()) == before
