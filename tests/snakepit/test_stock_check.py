from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge import Adapter, tool
from bridge.loader import load_adapters
from bridge.stock.check import Report, check
from bridge.stock.source import read_source
from tests.snakepit import stock_adapters

HEAD = "from tests.snakepit.stock_tools import tool\n"


def look_at(folder: Path, source: str) -> Report:
    file = folder / "adapter_file.py"
    file.write_text(HEAD + source)
    return check(load_adapters(f"{file}:A")[0])


def topics(report: Report) -> dict[str, str]:
    """Topic and status of each note but that which all have."""
    found = {note.topic: note.status for note in report.notes}
    if found.get("execute_tool") == "differs":
        del found["execute_tool"]
    return found


EXECUTES = "    def execute_tool(self, tool_name, arguments, context):\n"

CASES: list[tuple[str, str, str, str]] = [
    ("nothing", "        return {}\n", "", ""),
    ("None", "        return None\n", "results", "nil"),
    ("an integer", "        return 1\n", "results", "integers"),
    ("a truth", "        return True\n", "", ""),
    ("a tuple", "        return 1, 2\n", "results", "tuples"),
    ("bytes", "        return {}\n    def other(self) -> 'bytes | None':\n        ...\n", "results", "bytes"),
    ("an array", "        return {}\n    def other(self) -> np.ndarray:\n        ...\n", "results", "arrays"),
    ("a frame", "        return {}\n    def other(self) -> pd.DataFrame:\n        ...\n", "results", "records"),
    (
        "an option",
        "        return {}\n    def other(self) -> Optional[tuple[int, str]]:\n        ...\n",
        "results",
        "nil",
    ),
    ("inside", "        def inner():\n            return 1\n        return {'a': inner()}\n", "", ""),
    ("hooks", "        return {}\n    def initialize(self) -> None:\n        return None\n", "", ""),
    (
        "registration",
        "        return {}\n    def register_with_session(self, a, b): ...\n",
        "registration",
        "not called",
    ),
    ("the stub", "        return context.stub.Ping('x')\n", "stub", "PYTHONPATH"),
    ("output", "        print('x')\n", "output", "log"),
    ("Elixir", "        return context.call_elixir_tool('x', a='b')\n", "Elixir tools", "text"),
    ("variables", "        return context.get_variable('x')\n", "variables", "--host"),
    ("threads", "        return {}\n    __thread_safe__ = True\n", "threads", "not needed"),
    ("pickle", "        import pickle\n        return {}\n", "pickle", "refused"),
    ("state", "        cache['x'] = 1\n        return {}\ncache = {}\n", "state", "cache"),
    ("a constant", "        return cache['x']\ncache = {}\n", "", ""),
]


@pytest.mark.parametrize(("body", "topic", "word"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_only_what_applies_is_said(tmp_path: Path, body: str, topic: str, word: str) -> None:
    annotations = "from __future__ import annotations\n" if "->" in body else ""
    file = tmp_path / "adapter_file.py"
    file.write_text(annotations + HEAD + "class A:\n" + EXECUTES + body)
    report = check(load_adapters(f"{file}:A")[0])
    assert report.works
    assert list(topics(report)) == ([topic] if topic else [])
    assert word in "".join(note.text for note in report.notes if note.topic == topic)


@pytest.mark.parametrize(
    ("source", "topic", "word"),
    [
        ("class A:\n    def execute_tool(self, name, args): ...\n", "execute_tool", "tool_name="),
        (f"class A:\n    def __init__(self, model): ...\n{EXECUTES}        return {{}}\n", "constructor", "without"),
    ],
)
def test_what_cannot_work_is_a_problem(tmp_path: Path, source: str, topic: str, word: str) -> None:
    report = look_at(tmp_path, source)
    assert not report.works
    (problem,) = [note for note in report.notes if note.status == "problem"]
    assert problem.topic == topic
    assert word in problem.text


def test_tools_that_execute_tool_knows_are_listed(tmp_path: Path) -> None:
    body = (
        "        if tool_name == 'one': return {}\n"
        "        if tool_name in ('two', 'three'): return {}\n"
        "        match tool_name:\n"
        "            case 'four' | 'five': return {}\n"
        "        return {}\n"
        "    @tool('Known')\n"
        "    def one(self, a, b=1): ...\n"
    )
    report = look_at(tmp_path, "class A:\n" + EXECUTES + body)
    assert [tool.name for tool in report.tools] == ["one", "five", "four", "three", "two"]
    assert [tool.declared for tool in report.tools] == [True, False, False, False, False]
    assert (report.tools[0].parameters, report.tools[0].description) == ("a, [b]", "Known")
    assert report.open_ended


def test_a_tool_that_yields_and_does_not_say_so_is_named(tmp_path: Path) -> None:
    quiet, loud = "    def quiet(self):\n        yield 1\n", "    def loud(self):\n        yield 1\n"
    source = f"class A:\n    @tool()\n{quiet}    @tool('', True)\n{loud}"
    report = look_at(tmp_path, source)
    (note,) = [note for note in report.notes if note.topic == "streams"]
    assert note.text.startswith("quiet: ")
    assert topics(report)["execute_tool"] == "ok"
    assert not report.open_ended


def test_what_is_inherited_is_looked_at_too(tmp_path: Path) -> None:
    base = f"class Base:\n{EXECUTES}        return self.run(context)\n"
    source = "class A(Base):\n    def run(self, ctx):\n        return ctx.stub\n"
    assert topics(look_at(tmp_path, base + source)) == {"stub": "differs"}


def test_a_class_without_source_is_still_listed() -> None:
    scope: dict[str, Any] = {"__name__": "nowhere"}
    exec("class A:\n" + EXECUTES + "        return None\n", scope)
    from bridge.stock import stock_adapter

    assert read_source(scope["A"]) is None
    report = check(stock_adapter(scope["A"]))
    assert report.works
    assert "source" in topics(report)


class Ours(Adapter):
    @tool
    def hello(self, name: str) -> str:
        return name


def test_an_adapter_of_the_bridge_has_nothing_that_differs() -> None:
    report = check(Ours)
    assert (report.stock, report.works, report.notes) == (False, True, ())
    assert [tool.name for tool in report.tools] == ["hello"]


# -- the command


def run(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bridge", "snakepit", *arguments]
    root = str(Path(__file__).parents[2])
    environ = {**os.environ, "PYTHONPATH": root}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=folder, env=environ)


def test_the_command_shows_tools_and_differences() -> None:
    done = run("check", f"{stock_adapters.__name__}.Plain")
    assert done.returncode == 0, done.stderr
    for text in ("echo", "value, [times]", "any other name", "bytes arrive", "It can be served as it is."):
        assert text in done.stdout


def test_the_command_fails_for_what_cannot_be_served(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class A:\n    def execute_tool(self): ...\n")
    done = run("check", "mine.A", "--json-output", folder=tmp_path)
    (report,) = json.loads(done.stdout)
    assert done.returncode == 1
    assert (report["works"], report["adapter"]) == (False, "mine:A")
    assert "cannot be served" in run("check", "mine.py:A", folder=tmp_path).stdout


def test_the_command_says_why_a_class_cannot_be_loaded(tmp_path: Path) -> None:
    done = run("check", "not_there.Adapter", folder=tmp_path)
    assert done.returncode == 3
    assert "not_there" in done.stderr


def test_the_path_of_the_script_is_printed() -> None:
    done = run("--print-path")
    assert done.returncode == 0
    script = Path(done.stdout.strip())
    assert (script.name, script.is_absolute(), script.is_file()) == ("grpc_server.py", True, True)
