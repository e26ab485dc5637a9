"""The runtime is what any Python >= 3.9 can run by itself, under any name."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.interpreters import needed

RUNTIME = Path(__file__).parents[2] / "bridge" / "runtime"
FILES = [path.relative_to(RUNTIME).as_posix() for path in sorted(RUNTIME.rglob("*.py"))]

OPTIONAL = {"numpy", "pyarrow"}
"""What is used where it is installed, and imported only when it is needed."""


@pytest.mark.parametrize("name", FILES)
def test_nothing_but_the_standard_library_is_imported(name: str) -> None:
    tree = ast.parse((RUNTIME / name).read_text(), name, feature_version=(3, 9))
    for top, module in imported(tree):
        allowed = sys.stdlib_module_names if top else sys.stdlib_module_names | OPTIONAL
        assert module.partition(".")[0] in allowed, f"line {module}"


@pytest.mark.parametrize("name", [name for name in FILES if name != "bootstrap.py"])
def test_annotations_are_not_evaluated(name: str) -> None:
    tree = ast.parse((RUNTIME / name).read_text(), name)
    futures = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert len(tree.body) <= 1 or [alias.name for node in futures for alias in node.names] == ["annotations"]


@pytest.mark.parametrize("name", FILES)
def test_oldest_python_imports_it(name: str) -> None:
    """By itself, in an interpreter that has nothing; ``bootstrap`` is a program and does nothing then."""
    module = ".".join(["bridge", *Path(name).with_suffix("").parts]).removesuffix(".__init__")
    program = (
        "import importlib, sys\nfrom importlib import util\n"
        f"spec = util.spec_from_file_location('bridge', {str(RUNTIME / '__init__.py')!r}, "
        f"submodule_search_locations=[{str(RUNTIME)!r}])\n"
        "sys.modules['bridge'] = package = util.module_from_spec(spec)\n"
        "spec.loader.exec_module(package)\n"
        f"importlib.import_module({module!r})\n"
    )
    done = subprocess.run([needed("3.9"), "-S", "-c", program], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr


def imported(tree: ast.Module) -> Iterator[tuple[bool, str]]:
    """Whether an import is at the top, and its absolute name; relative ones stay inside."""
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield id(node) in top, alias.name
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield id(node) in top, node.module or ""
