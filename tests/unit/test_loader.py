"""From what a user writes to adapter classes, and what they are told when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge import BridgeError, loader
from bridge.executors.process import adapter_spec
from bridge.loader import load_adapters
from bridge.registry import Registry
from bridge.runtime.loading import load_class

GOOD = """
from bridge import Adapter, tool

class First(Adapter):
    @tool
    async def one(self) -> int:
        return 1

class Second(First):
    pass

class Helper:
    pass
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my-tools.py"
    path.write_text(GOOD)
    return path


def test_a_class_of_a_module_is_loaded() -> None:
    (cls,) = load_adapters("tests.support.probes:Inline")
    assert cls.__name__ == "Inline"


def test_a_class_of_a_file_is_loaded(file: Path) -> None:
    (cls,) = load_adapters(f"{file}:First")
    assert cls.__name__ == "First"


def test_a_file_without_a_class_stands_for_all_its_adapters(file: Path) -> None:
    assert {cls.__name__ for cls in load_adapters(str(file))} == {"First", "Second"}


def test_a_package_stands_for_what_it_lists() -> None:
    assert {cls.__name__ for cls in load_adapters("adapters.showcase")} >= {"TextTools", "TableTools"}


@pytest.mark.parametrize(
    ("spec", "reason", "says"),
    [
        ("no_such_module_at_all:X", "MODULE_NOT_FOUND", "no_such_module_at_all"),
        ("bridge.no_such_part:X", "MODULE_NOT_FOUND", "no_such_part"),
        ("tests.support.probes:Nobody", "CLASS_NOT_FOUND", "Inline"),
        ("tests.support.probes:Journal", "NOT_AN_ADAPTER", "bridge.Adapter"),
        ("tests.support.probes:journal.counts", "NOT_AN_ADAPTER", "bridge.Adapter"),
        ("json:loads", "NOT_AN_ADAPTER", "bridge.Adapter"),
        ("/no/such/file.py:X", "MODULE_NOT_FOUND", "/no/such/file.py"),
        ("../../etc/passwd", "MODULE_NOT_FOUND", "passwd"),
        ("os; import sys", "MODULE_NOT_FOUND", "package.module:Class"),
        ("", "MODULE_NOT_FOUND", "package.module:Class"),
        ("json", "CLASS_NOT_FOUND", "no adapters"),
    ],
)
def test_what_cannot_be_loaded_says_why(spec: str, reason: str, says: str) -> None:
    with pytest.raises(BridgeError) as caught:
        load_adapters(spec)
    assert caught.value.reason == reason
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import no_such_dependency", "no_such_dependency"),
        ("1 / 0", "ZeroDivisionError"),
        ("def f(:", "SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit"),
    ],
)
def test_a_module_that_fails_says_where(tmp_path: Path, source: str, says: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(source)
    with pytest.raises(BridgeError) as caught:
        load_adapters(f"{path}:X")
    assert caught.value.reason == "IMPORT_FAILED"
    assert says in caught.value.message
    assert "broken.py" in caught.value.message


def test_plain_tools_run_where_the_server_says_unless_they_say_themselves() -> None:
    adapters = load_adapters("tests.support.probes:Threaded")
    assert {tool.isolation for tool in Registry(adapters).tools} == {"thread"}
    assert {tool.isolation for tool in Registry(adapters, "inline").tools} == {"inline"}
    assert {tool.isolation for tool in Registry(load_adapters("tests.support.probes:Inline"), "thread").tools} == {
        "inline"
    }


def test_two_adapters_with_one_tool_name_are_refused(file: Path) -> None:
    with pytest.raises(BridgeError) as caught:
        Registry(load_adapters(str(file)))
    assert caught.value.reason == "DUPLICATE_TOOL"
    assert "First" in caught.value.message
    assert "Second" in caught.value.message


def test_an_entry_point_of_an_installed_package_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = tmp_path / "some_tools-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: some-tools\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[tool_bridge.adapters]\nsome-tools = tests.support.probes:Inline\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (cls,) = load_adapters("some-tools")
    assert cls.__name__ == "Inline"
    with pytest.raises(BridgeError, match="some-tools"):
        load_adapters("other-tools")


@pytest.mark.parametrize("class_name", ["", ":First"])
def test_a_path_is_not_looked_up_among_installed_packages(
    file: Path, class_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "_entry_point", lambda name: pytest.fail(f"looked up {name}"))
    assert load_adapters(f"{file}{class_name}")[0].__name__ == "First"


def test_a_file_is_loaded_once_by_whatever_path(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = load_adapters(f"{file}:First")
    link = file.with_name("link.py")
    link.symlink_to(file)
    monkeypatch.chdir(file.parent)
    (again,) = load_adapters(f"{link}:First")
    (second,) = load_adapters(f"./{file.name}:Second")
    assert again is first
    assert issubclass(second, first)


def test_files_of_one_name_are_different_modules(file: Path) -> None:
    other = file.parent / "other" / file.name
    other.parent.mkdir()
    other.write_text(GOOD)
    (first,), (second,) = load_adapters(f"{file}:First"), load_adapters(f"{other}:First")
    assert first is not second
    assert adapter_spec(first) == f"{file}:First"
    assert adapter_spec(second) == f"{other}:First"


def test_plugins_have_the_names_of_the_server(file: Path) -> None:
    (cls,) = load_adapters(f"{file}:First")
    assert load_class(f"{file}:First") is cls


def test_nothing_is_left_of_a_file_that_fails(file: Path) -> None:
    file.write_text("1 / 0")
    with pytest.raises(BridgeError, match="ZeroDivisionError"):
        load_adapters(f"{file}:First")
    file.write_text(GOOD)
    (cls,) = load_adapters(f"{file}:First")
    assert cls.__name__ == "First"
