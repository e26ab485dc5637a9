"""``bridge var watch`` as a process of its own, against hosts that change, die and come back."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from bridge.cli.exit_codes import ExitCode
from bridge_client.sync import BridgeClient, Session
from tests.cli.running import Running, running


@pytest.fixture
def session(server: str) -> Iterator[Session]:
    with BridgeClient(server) as client, client.session() as session:
        yield session


@pytest.fixture
def watching(server: str, session: Session, tmp_path: Path) -> Any:
    """Starts ``bridge var watch`` in the session."""

    def watching(*arguments: str) -> AbstractContextManager[Running]:
        named = ("--session", session.session_id, "--target", server)
        return running("var", "watch", *arguments, *named, cwd=tmp_path)

    return watching


def _document(watch: Running) -> tuple[Any, ...]:
    """The next change, in short."""
    line = watch.out.next()
    assert line is not None, watch.err.rest()
    found = json.loads(line)
    return found["kind"], found["name"], found["version"], found["value"]


def test_changes_are_shown_as_they_come(session: Session, watching: Any) -> None:
    session.set("x", 1)
    with watching("x", "y", "--json-output") as watch:
        assert _document(watch) == ("initial", "x", 1, 1)
        watch.err.until("watching x, y")
        session.set("y", "a")
        assert _document(watch) == ("changed", "y", 1, "a")
        session.register("x", "float", 0.5)
        assert _document(watch) == ("registered", "x", 2, 0.5)
        session.delete("y")
        assert _document(watch) == ("deleted", "y", 2, None)
        session.set("other", 1)
        session.set("y", "b")
        assert _document(watch) == ("changed", "y", 3, "b")


def test_changes_are_lines_for_people(session: Session, watching: Any) -> None:
    session.set("x", "a\nb")
    with watching("x", "--count", "3") as watch:
        first = watch.out.next()
        assert first is not None
        assert first.endswith('  x  version 1  "a\\nb"  (initial)  by client')
        watch.err.until("watching")
        session.set("x", "c")
        session.delete("x")
        assert [line.partition("  ")[2] for line in watch.out.rest()] == [
            'x  version 2  "c"  by client',
            "x  version 3  deleted  by client",
        ]
        assert watch.wait() == ExitCode.OK


def test_interrupt_ends_with_the_command_that_goes_on(session: Session, watching: Any) -> None:
    session.set("x", 1)
    with watching("x", "y") as watch:
        assert "initial" in str(watch.out.next())
        watch.send(signal.SIGINT)
        assert watch.wait() == ExitCode.OK
        assert watch.err.until("to go on").endswith("bridge var watch x y --resume y=0 --resume x=1")
    session.set("x", 2)
    session.set("y", 1)
    with watching("x", "y", "--resume", "x=1", "--resume", "y=0", "--count", "2", "--json-output") as watch:
        assert sorted(map(_document, (watch, watch))) == [("changed", "x", 2, 2), ("changed", "y", 1, 1)]
        assert watch.wait() == ExitCode.OK


def test_without_initial_only_what_comes_is_shown(session: Session, watching: Any) -> None:
    session.set("x", 1)
    with watching("x", "--no-initial", "--json-output") as watch:
        watch.err.until("watching")
        session.set("x", 2)
        assert _document(watch) == ("changed", "x", 2, 2)


def test_deleted_variable_has_no_initial_value_and_its_past_is_not_shown(session: Session, watching: Any) -> None:
    session.set("x", 1)
    session.delete("x")
    with watching("x", "--json-output") as watch:
        watch.err.until("watching")
        session.set("x", 3)
        assert _document(watch) == ("changed", "x", 3, 3)


def test_end_of_the_session_ends_the_watch(session: Session, watching: Any) -> None:
    with watching("x") as watch:
        watch.err.until("watching")
        session.close()
        assert watch.wait() == ExitCode.FAILED
        rest = "\n".join(watch.err.rest())
        assert "SESSION_CLOSED" in rest
        assert "bridge session open" in rest
        assert "--resume" not in rest


def test_version_of_another_session_is_refused(session: Session, watching: Any) -> None:
    session.set("x", 1)
    with watching("x", "--resume", "x=7") as watch:
        assert watch.wait() == ExitCode.FAILED
        assert "WATCH_AHEAD" in watch.err.until("WATCH_AHEAD")


def _host(cwd: Path, *arguments: str) -> AbstractContextManager[Running]:
    return running("host", "--listen", "unix:host.sock", "--store", "sqlite:host.db", *arguments, cwd=cwd)


def _follow(cwd: Path, session_id: str, *arguments: str) -> AbstractContextManager[Running]:
    target = f"unix:{cwd / 'host.sock'}"
    return running("var", "watch", *arguments, "--session", session_id, "--target", target, cwd=cwd)


def _open(cwd: Path) -> str:
    """A session that outlives the client that opened it, and the host."""
    with running("session", "open", "--target", f"unix:{cwd / 'host.sock'}", cwd=cwd) as opened:
        session_id = opened.out.next()
    assert session_id
    return session_id


def _set(cwd: Path, session_id: str, *values: Any) -> None:
    with BridgeClient(f"unix:{cwd / 'host.sock'}") as client, client.session(session_id=session_id) as session:
        for value in values:
            session.set("x", value)


def test_watch_survives_the_death_of_the_host_and_misses_nothing(tmp_path: Path) -> None:
    with _host(tmp_path) as first:
        first.address()
        session_id = _open(tmp_path)
        watch_ = _follow(tmp_path, session_id, "x", "y", "--json-output")
        with watch_ as watch:
            watch.err.until("watching")
            _set(tmp_path, session_id, 1)
            assert _document(watch) == ("changed", "x", 1, 1)
            first.send(signal.SIGKILL)
            first.wait()
            watch.err.until("the host is gone")
            with _host(tmp_path) as second:
                second.address()
                _set(tmp_path, session_id, 2, 3)
                assert [_document(watch) for _ in range(2)] == [("changed", "x", 2, 2), ("changed", "x", 3, 3)]
                watch.err.until("the host is back")
                _set(tmp_path, session_id, 4)
                assert _document(watch) == ("changed", "x", 4, 4)


def test_watch_that_shall_not_reconnect_says_where_to_go_on(tmp_path: Path) -> None:
    with _host(tmp_path) as host:
        host.address()
        session_id = _open(tmp_path)
        _set(tmp_path, session_id, 1)
        with _follow(tmp_path, session_id, "x", "--no-reconnect") as watch:
            watch.out.until("initial")  # only what was shown is behind the watch
            host.send(signal.SIGKILL)
            assert watch.wait() == ExitCode.FAILED
            assert watch.err.until("to go on").endswith("--resume x=1")
            watch.err.until("UNAVAILABLE")


def test_what_is_not_kept_any_more_is_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    with _host(tmp_path, "--history-entries", "2") as host:
        host.address()
        session_id = _open(tmp_path)
        _set(tmp_path, session_id, *range(1, 9))
        with _follow(tmp_path, session_id, "x", "--resume", "x=2", "--json-output") as watch:
            watch.err.until("versions 3 to 5 of x were missed")
            assert [_document(watch)[2] for _ in range(3)] == [6, 7, 8]
            watch.send(signal.SIGINT)
            assert watch.wait() == ExitCode.OK
            assert not any("the host" in line for line in watch.err.rest())  # it was there all the time


def test_host_that_was_never_there_is_an_error(tmp_path: Path) -> None:
    with _follow(tmp_path, "0" * 32, "x") as watch:
        assert watch.wait() == ExitCode.FAILED
        watch.err.until("NOT_CONNECTED")
