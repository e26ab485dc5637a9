"""The one table of flags, read quickly and by typer."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from bridge.cli.flags import convert, parse, signature
from bridge.cli.serve import HOST_LISTEN, _configure
from bridge.config import SETTINGS, settle
from bridge.errors import BridgeError
from tests.cli.conftest import Command

FLAGS = [setting for setting in SETTINGS if setting.flag.startswith("--")]


def by_typer(arguments: list[str]) -> tuple[dict[str, Any], Path | None]:
    """What typer makes of the arguments."""
    found: dict[str, Any] = {}

    def run(**texts: Any) -> None:
        found.update(texts)

    run.__signature__ = inspect.Signature(signature())  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in signature()}
    app = typer.Typer(add_completion=False)
    app.command()(run)
    typer.main.get_command(app).main(args=arguments, prog_name="serve", standalone_mode=False)
    file = found.pop("config")
    return convert({key: text for key, text in found.items() if text is not None}), None if file is None else Path(file)


def words() -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="ascii", categories=("L", "N", "P")), min_size=1).filter(
        lambda text: not text.startswith("-")
    )


@st.composite
def written(draw: st.DrawFn) -> list[str]:
    """A command line in any order, repetitions included."""
    arguments: list[str] = []
    for setting in draw(st.lists(st.sampled_from([*FLAGS, None]), max_size=6)):
        if setting is None:
            arguments.append(draw(words()))
        elif setting.hint is bool:
            arguments.append(draw(st.sampled_from([setting.flag, "--no-" + setting.flag.removeprefix("--")])))
        else:
            value = draw(st.integers().map(abs).map(str) if setting.hint in (int, float) else words())
            arguments += draw(st.sampled_from([[setting.flag, value], [f"{setting.flag}={value}"]]))
    return arguments


@given(written())
def test_quick_reading_and_typer_agree(arguments: list[str]) -> None:
    assert parse(arguments) == by_typer(arguments)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--thread", "1"], ["--threads"], ["--threads", "-1"], ["--insecure=true"], ["--"], ["-x"]],
    ids=" ".join,
)
def test_what_is_not_plain_is_left_to_typer(arguments: list[str]) -> None:
    assert parse(["adapter", *arguments]) is None


def test_flags_win_over_environment_and_file(tmp_path: Path) -> None:
    file = tmp_path / "bridge.toml"
    file.write_text('[server]\nthreads = 1\nqueue_size = 1\ngrace = 1\nlisten = ["127.0.0.1:1"]\n')
    parsed = parse(["my:Tools", "--threads", "3", "--no-insecure", "--config", str(file)])
    assert parsed is not None
    flags, config = parsed
    environ = {"BRIDGE_THREADS": "2", "BRIDGE_QUEUE_SIZE": "2", "BRIDGE_INSECURE": "true"}
    settled = settle(config, environ, flags)
    server = settled.config
    assert (server.adapters, server.threads, server.queue_size, server.grace) == (("my:Tools",), 3, 2, 1.0)
    assert server.insecure is False
    assert str(settled.provenance["threads"]) == "--threads"


def test_host_has_a_port_of_its_own_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRIDGE_LISTEN", raising=False)
    assert _configure("host", {}, None).listen == (HOST_LISTEN,)
    assert _configure("host", {"listen": ["127.0.0.1:50051"]}, None).listen == ("127.0.0.1:50051",)
    monkeypatch.setenv("BRIDGE_LISTEN", "127.0.0.1:7")
    assert _configure("host", {}, None).listen == ("127.0.0.1:7",)


def test_number_that_is_none_is_refused_by_the_name_of_its_flag() -> None:
    with pytest.raises(BridgeError, match="--grace"):
        settle(None, {}, convert({"grace": "soon"}))


@pytest.mark.parametrize("command", ["serve", "host"])
def test_help_has_every_setting_under_its_section(run: Command, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    done = run(command, "--help")
    assert done.code == 0
    for setting in SETTINGS:
        assert setting.flag in done.out
        assert setting.section in done.out or setting.key == "adapters"
