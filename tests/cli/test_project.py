"""``bridge new``, ``bridge certs``, and what every command has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bridge import __version__
from bridge.cli.app import COMMANDS, GROUPS
from bridge.cli.exit_codes import ExitCode
from tests.cli.conftest import Command
from tests.cli.running import ADAPTER, LIMIT, bridge, environment, running


def test_new_adapter_has_a_test_that_passes(run: Command, tmp_path: Path) -> None:
    done = run("new", "my_adapter")
    assert done.code == 0
    assert "bridge serve my_adapter" in done.out
    # With the folder alone as its root, as outside of this project.
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "-c", "/dev/null", "."],
        cwd=tmp_path / "my_adapter",
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert tests.returncode == 0, tests.stdout
    assert "3 passed" in tests.stdout


def test_new_adapter_can_be_served_from_its_folder(run: Command, tmp_path: Path) -> None:
    assert run("new", "my_adapter", "--directory", str(tmp_path)).code == 0
    with running("serve", "my_adapter", "--listen", "127.0.0.1:0", cwd=tmp_path / "my_adapter") as server:
        done = run("call", "greet", "name=Ada", "--target", server.address())
        assert done.out == "Hello, Ada!\n"


@pytest.mark.parametrize(("name", "text"), [("1st", "letter first"), ("class", "word of Python")])
def test_new_with_a_bad_name_is_wrong_usage(run: Command, name: str, text: str) -> None:
    done = run("new", name)
    assert done.code == ExitCode.USAGE
    assert text in done.err


def test_new_touches_nothing_that_is_there(run: Command, tmp_path: Path) -> None:
    (tmp_path / "my_adapter").mkdir()
    done = run("new", "my_adapter")
    assert done.code == ExitCode.FAILED
    assert "choose another name" in done.err


def test_certs_are_all_that_a_secure_server_and_its_client_need(run: Command, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    made = run("certs", "secrets", "--host", "tools.example")
    assert made.code == 0
    assert "--tls-cert" in made.out
    files = tmp_path / "secrets"
    arguments = ["--tls-cert", files / "server.pem", "--tls-key", files / "server.key", "--tokens", files / "tokens"]
    listen = ["--listen", "0.0.0.0:0"]
    with running("serve", f"{ADAPTER}:Sample", *arguments, *listen, cwd=tmp_path) as server:
        target = server.address().replace("0.0.0.0", "127.0.0.1")
        with_token = run("call", "size", "data=abc", "--target", target, "--client-config", files / "client.json")
        assert (with_token.out, with_token.err) == ("3\n", "")
        by_options = ("--ca", files / "ca.pem", "--token-file", files / "client.token")
        assert run("call", "size", "data=abc", "--target", target, *by_options).out == "3\n"
        without = run("call", "size", "data=abc", "--target", target, "--ca", files / "ca.pem")
        assert without.code == ExitCode.FAILED
        assert "UNAUTHENTICATED" in without.err
        assert "--token-file" in without.err
        assert run("health", "--target", target, "--ca", files / "ca.pem").out == "SERVING\n"


def test_version_is_said(run: Command) -> None:
    assert run("--version").out == f"bridge {__version__}\n"


def test_no_command_shows_the_help_with_the_exit_codes(run: Command) -> None:
    done = run()
    assert done.code == ExitCode.USAGE
    text = " ".join((done.out + done.err).split())
    assert "Exit codes: 0 it worked" in text
    for name in (*COMMANDS, *GROUPS):
        assert f" {name} " in text


WRITTEN = [*COMMANDS, *(f"{group} {name}" for group, (_, _, commands) in GROUPS.items() for name in commands)]
"""Every command as it is written behind ``bridge``."""


@pytest.mark.parametrize("written", WRITTEN)
def test_every_command_has_help_and_takes_debug(run: Command, written: str) -> None:
    done = run(*written.split(), "--help")
    assert done.code == 0
    assert "--debug" in done.out


def test_unknown_command_is_wrong_usage(tmp_path: Path) -> None:
    done = bridge("sreve", cwd=tmp_path)
    assert done.code == ExitCode.USAGE
    assert "sreve" in done.err
    assert "bridge --help" in done.err


def test_documentation_has_every_command_and_exit_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text("utf-8")
    for written in WRITTEN:
        assert f"bridge {written}" in text
    for code in ExitCode:
        assert f"| {code.value} | {code.meaning} |" in text
