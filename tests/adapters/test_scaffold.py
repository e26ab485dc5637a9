"""``bridge new``: what it writes works, and it never touches what is there."""

import ast
import builtins
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.adapter import inspect_adapter
from bridge.errors import BridgeError, Code
from bridge.loader import load_adapters
from bridge.scaffold import class_name_of, create

ROOT = Path(__file__).parents[2]
NOT_NAMES = ["", "1st", "my-adapter", "my adapter", "../up", "a/b", "a.b", "_hidden", "größe", "a\n", "x" * 65]
TAKEN_NAMES = ["class", "None", "json", "asyncio", "bridge", "bridge_client", "pytest", "test_me", "test", "conftest"]
# As on a machine where pytest is all there is.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients/python")]),
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
}


def test_scaffolded_test_passes_with_plain_pytest(tmp_path: Path) -> None:
    create("my_adapter", tmp_path)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error"],
        cwd=tmp_path / "my_adapter",
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 passed" in result.stdout


def test_scaffolded_files_are_listed_and_name_the_class(tmp_path: Path) -> None:
    files = create("my_adapter", tmp_path)
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        "my_adapter/my_adapter.py",
        "my_adapter/test_my_adapter.py",
        "my_adapter/README.md",
    ]
    assert all(file.is_file() for file in files)
    assert "bridge serve my_adapter:MyAdapter" in files[2].read_text(encoding="utf-8")


# Names whose class would hide `Adapter`, the context, a builtin, a name of the test, or be a word of Python.
@pytest.mark.parametrize(
    "name", ["adapter", "session_context", "value_error", "bridge_error", "none", "tools", "x", "a__b_"]
)
def test_scaffolded_module_has_its_adapter_whatever_the_name_could_hide(tmp_path: Path, name: str) -> None:
    module_file, test_file, _ = create(name, tmp_path)
    (adapter,) = load_adapters(str(module_file))
    assert sorted(inspect_adapter(adapter).tools) == ["countdown", "greet"]
    imported = {
        alias.name
        for node in ast.walk(ast.parse(test_file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {"BridgeError", "Code", "connect_sync", adapter.__name__}
    assert not hasattr(builtins, adapter.__name__)


@pytest.mark.parametrize(
    ("name", "class_name"),
    [("my_adapter", "MyAdapter"), ("text2sql", "Text2sql"), ("HTTPTools", "HTTPTools"), ("none", "NoneTools")],
)
def test_class_is_the_name_in_camel_case(name: str, class_name: str) -> None:
    assert class_name_of(name) == class_name


def test_taken_class_name_gets_another_end() -> None:
    assert class_name_of("adapter", frozenset({"Adapter"})) == "AdapterTools"


@pytest.mark.parametrize("name", [*NOT_NAMES, *TAKEN_NAMES])
def test_name_that_cannot_be_a_module_of_its_own_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BridgeError) as caught:
        create(name, tmp_path)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert [violation.field for violation in caught.value.violations] == ["name"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_exists_is_not_touched(tmp_path: Path, kind: str) -> None:
    taken = tmp_path / "my_adapter"
    if kind == "folder":
        taken.mkdir()
    else:
        taken.write_text("mine", encoding="utf-8")
    with pytest.raises(BridgeError, match="exists") as caught:
        create("my_adapter", tmp_path)
    assert caught.value.code is Code.ALREADY_EXISTS
    assert list(tmp_path.rglob("*")) == [taken]


def test_missing_directory_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match="cannot write") as caught:
        create("my_adapter", tmp_path / "nowhere")
    assert caught.value.code is Code.FAILED_PRECONDITION


def test_same_name_again_says_that_the_folder_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    create("my_adapter", tmp_path)
    with pytest.raises(BridgeError) as caught:
        create("my_adapter", tmp_path)
    assert caught.value.code is Code.ALREADY_EXISTS
