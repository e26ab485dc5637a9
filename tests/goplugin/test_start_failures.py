"""What keeps a plugin from being served is an error in its host's log: hosts in Go hide lines without a level."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.goplugin.log_entries import LogState, parse_line
from bridge.goplugin.tools import HANDSHAKE
from tests.cli.running import command, environment

BASIC = "from bridge.goplugin import HandshakeConfig, Plugin, protect_stdout, serve\nprotect_stdout()\n"
SERVE = 'serve(handshake=HandshakeConfig(magic_cookie_key="BASIC_PLUGIN", magic_cookie_value="hello"), plugins='
HOST = {
    "PLUGIN_PROTOCOL_VERSIONS": "1",
    "BASIC_PLUGIN": "hello",
    HANDSHAKE.magic_cookie_key: HANDSHAKE.magic_cookie_value,
}


def started(folder: Path, *arguments: str, host: bool = True) -> str:
    """Stderr of a plugin that must not come about."""
    env = environment(TMPDIR=str(folder), **(HOST if host else {}))
    done = subprocess.run(arguments, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode != 0, done.stdout) == (True, ""), done.stderr
    return done.stderr


def errors(stderr: str) -> list[str]:
    """What a host logs as errors."""
    state = LogState()
    entries = [parse_line(line.encode(), state) for line in stderr.splitlines()]
    return [entry.message for entry in entries if entry.level == logging.ERROR]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import nothing_there", "an exception ended the plugin: ModuleNotFoundError: No module named 'nothing_there'"),
        ("raise ValueError('two\\nlines')", "an exception ended the plugin: ValueError: two lines"),
        (SERVE + "{})", "the plugin cannot be served: plugins: "),
        (
            "class Broken(Plugin):\n    def register(self, server, broker):\n        raise LookupError('no table')\n"
            + SERVE
            + '{"a": Broken()})',
            "an exception ended the plugin: LookupError: no table",
        ),
    ],
    ids=["import", "lines", "settings", "register"],
)
def test_what_a_script_fails_with_is_an_error_in_the_hosts_log(tmp_path: Path, script: str, said: str) -> None:
    (tmp_path / "broken.py").write_text(f"{BASIC}{script}\n", "utf-8")
    (error,) = errors(started(tmp_path, sys.executable, "broken.py"))
    assert said in error


def test_who_starts_a_broken_script_by_hand_sees_its_traceback_only(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(f"{BASIC}import nothing_there\n", "utf-8")
    stderr = started(tmp_path, sys.executable, "broken.py", host=False)
    assert stderr.startswith("Traceback")
    assert errors(stderr) == []


@pytest.mark.parametrize(
    ("adapter", "said"),
    [("broken.py", "No module named 'nothing_there'"), ("missing.py", "there is no file 'missing.py'")],
)
def test_what_an_adapter_fails_with_is_an_error_in_the_hosts_log(tmp_path: Path, adapter: str, said: str) -> None:
    (tmp_path / "broken.py").write_text("import nothing_there\n", "utf-8")
    (error,) = errors(started(tmp_path, *command("plugin", adapter)))
    assert said in error
