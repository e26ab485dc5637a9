"""``bridge session`` against a real host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bridge.cli.exit_codes import ExitCode
from tests.cli.conftest import Command
from tests.cli.running import LIMIT, bridge, command, environment

UNKNOWN = "0" * 32


def test_open_prints_the_id_and_nothing_else(call: Command) -> None:
    done = call("session", "open")
    assert (done.code, done.err) == (0, "")
    assert len(done.out) == 33
    assert int(done.out, 16)


def test_opened_session_outlives_the_command(call: Command) -> None:
    opened = call("session", "open", "--ttl", "600", "--metadata", "who=me", "--metadata", "a=b=c", "--json-output")
    session = opened.document
    assert (session["ttl"], session["metadata"]) == (600.0, {"who": "me", "a": "b=c"})
    shown = call("session", "show", session["session_id"], "--json-output").document
    assert shown["created_at"] == session["created_at"]
    assert shown["variable_count"] == 0
    assert session["session_id"] in [one["session_id"] for one in call("session", "ls", "--json-output").document]


def test_sessions_are_listed_for_people_newest_first(call: Command) -> None:
    older, newer = (call("session", "open", "--metadata", f"n={n}").out.strip() for n in range(2))
    table = call("session", "ls").out
    assert table.index(newer) < table.index(older)
    assert [one["session_id"] for one in call("session", "ls", "--limit", "1", "--json-output").document] == [newer]


def test_session_is_shown_to_people(call: Command) -> None:
    opened = call("session", "open", "--ttl", "90", "--metadata", "who=me").out.strip()
    call("var", "set", "x", "1", "--session", opened)
    shown = call("session", "show", opened).out
    for text in (opened, "90 s after its last use", "who=me"):
        assert text in shown


def test_closed_session_is_gone(call: Command) -> None:
    opened = call("session", "open").out.strip()
    assert call("session", "close", opened).out == f"closed {opened}\n"
    again = call("session", "close", opened)
    assert again.code == ExitCode.FAILED
    assert "SESSION_NOT_FOUND" in again.err
    assert "bridge session open" in again.err


def test_environment_names_the_session(server: str, tmp_path: Path) -> None:
    opened = bridge("session", "open", cwd=tmp_path, BRIDGE_TARGET=server).out.strip()
    there = {"BRIDGE_TARGET": server, "BRIDGE_SESSION": opened}
    assert bridge("var", "set", "colour", "green", cwd=tmp_path, **there).code == 0
    assert bridge("call", "read_variable", "name=colour", cwd=tmp_path, **there).out == "green\n"
    assert bridge("session", "close", "--json-output", cwd=tmp_path, **there).document == {"closed": opened}


@pytest.mark.parametrize("command", ["close", "show"])
def test_empty_id_is_not_the_session_of_the_environment(command: str, server: str, tmp_path: Path) -> None:
    opened = bridge("session", "open", cwd=tmp_path, BRIDGE_TARGET=server).out.strip()
    there = {"BRIDGE_TARGET": server, "BRIDGE_SESSION": opened}
    done = bridge("session", command, "", cwd=tmp_path, **there)
    assert (done.code, done.out) == (ExitCode.USAGE, "")
    assert "which session?" in done.err
    assert bridge("session", "close", cwd=tmp_path, **there).code == ExitCode.OK


def test_nobody_has_a_session_on_a_host_that_has_none(call: Command) -> None:
    for one in call("session", "ls", "--json-output").document:
        call("session", "close", one["session_id"])
    assert "bridge session open" in call("session", "ls").out
    assert call("session", "ls", "--json-output").document == []


FAILURES = [
    (("show",), ExitCode.USAGE, "--session ID"),
    (("close",), ExitCode.USAGE, "BRIDGE_SESSION"),
    (("show", UNKNOWN), ExitCode.FAILED, "bridge session ls"),
    (("close", "short"), ExitCode.FAILED, "bridge session ls"),
    (("open", "--metadata", "who"), ExitCode.USAGE, "KEY=VALUE"),
    (("open", "--ttl", "0"), ExitCode.FAILED, "ttl"),
    (("open", "--ttl", "soon"), ExitCode.USAGE, "--ttl"),
    (("ls", "--limit", "-1"), ExitCode.FAILED, "limit"),
    (("reopen",), ExitCode.USAGE, "reopen"),
]


@pytest.mark.parametrize(("arguments", "code", "text"), FAILURES, ids=[" ".join(one[0]) for one in FAILURES])
def test_failure_says_what_next(call: Command, arguments: tuple[str, ...], code: ExitCode, text: str) -> None:
    done = call("session", *arguments)
    assert (done.code, done.out) == (code, "")
    assert text in done.err
    assert "Traceback" not in done.err


def test_group_without_a_command_shows_its_help(run: Command) -> None:
    for group, name in (("session", "close"), ("var", "rollback")):
        done = run(group)
        assert done.code == ExitCode.USAGE
        assert f" {name} " in done.out + done.err


def _on_a_terminal(*arguments: str, cwd: Path) -> str:
    master, slave = os.openpty()
    subprocess.run(command(*arguments), env=environment(TERM="dumb"), cwd=cwd, stdout=slave, timeout=LIMIT, check=True)
    os.close(slave)
    text = b""
    try:
        while data := os.read(master, 65536):
            text += data
    except OSError:
        pass  # how Linux says that the other end is closed
    os.close(master)
    return text.decode()


def test_terminal_is_told_what_to_do_with_the_id_unless_it_shall_be_quiet(server: str, tmp_path: Path) -> None:
    shown = _on_a_terminal("session", "open", "--target", server, cwd=tmp_path)
    assert f"export BRIDGE_SESSION={shown.split()[0]}" in shown
    quiet = _on_a_terminal("session", "open", "--quiet", "--target", server, cwd=tmp_path)
    assert len(quiet.strip()) == 32
